"""The short-time Fourier transform and its inverse, in JAX."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxsep.stft_config import StftConfig

# Share of the windows' products, at a signal's last sample, below which it can't be inverted.
LEAST_WEIGHT = 1e-4


def analyse(
    signal: Float[Array, "*batch samples channels"], config: StftConfig
) -> Complex[Array, "*batch frames channels bins"]:
    """Transforms all frames that lie within a signal of `config.num_samples(frames)` samples."""
    signal = jnp.swapaxes(signal, -2, -1)
    hop, overlap = config.hop_length, config.overlap
    missing = -signal.shape[-1] % hop
    hops = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])
    hops = hops.reshape(*signal.shape[:-1], -1, hop)
    num_frames = hops.shape[-2] - overlap + 1
    frames = jnp.concatenate([hops[..., k : k + num_frames, :] for k in range(overlap)], axis=-1)
    frames = frames[..., : config.n_fft]
    windowed = frames * jnp.broadcast_to(config.window(), frames.shape)
    return jnp.swapaxes(jnp.fft.rfft(windowed), -3, -2)


def synthesise(
    spectrogram: Complex[Array, "*batch frames channels bins"], config: StftConfig
) -> Float[Array, "*batch samples channels"]:
    """Adds up the windowed inverse transforms of all frames.

    Where all overlapping frames are present this is the signal, as the least squares have it.

    Returns:
      `config.num_samples(frames)` samples.

    Reference: Griffin and Lim, Signal estimation from modified short-time Fourier transform, 1984.
    """
    frames = jnp.fft.irfft(jnp.swapaxes(spectrogram, -3, -2), n=config.n_fft)
    windowed = frames * jnp.broadcast_to(config.synthesis_window(), frames.shape)
    return jnp.swapaxes(_overlap_add(windowed, config), -2, -1)


def _overlap_add(frames: jax.Array, config: StftConfig) -> jax.Array:
    """Adds `[..., frames, n_fft]` up to `[..., samples]`."""
    hop, overlap = config.hop_length, config.overlap
    leading = [(0, 0)] * (frames.ndim - 2)
    parts = jnp.pad(frames, [*leading, (0, 0), (0, overlap * hop - config.n_fft)])
    parts = parts.reshape(*frames.shape[:-1], overlap, hop)
    shifted = [
        jnp.pad(parts[..., k, :], [*leading, (k, overlap - 1 - k), (0, 0)]) for k in range(overlap)
    ]
    added = functools.reduce(jnp.add, shifted).reshape(*frames.shape[:-2], -1)
    return added[..., : config.num_samples(frames.shape[-2])]


def stft(
    waveform: Float[Array, "*batch samples channels"], config: StftConfig
) -> Complex[Array, "*batch frames channels bins"]:
    """Transforms a waveform into its `config.num_frames(samples)` frames, see `StftConfig`."""
    samples, half = waveform.shape[-2], config.n_fft // 2
    behind = config.num_samples(config.num_frames(samples)) - samples - half
    padding = [*[(0, 0)] * (waveform.ndim - 2), (half, behind), (0, 0)]
    mode = "reflect" if config.padding == "reflect" else "constant"
    return analyse(jnp.pad(waveform, padding, mode), config)


def istft(
    spectrogram: Complex[Array, "*batch frames channels bins"], config: StftConfig, *, length: int
) -> Float[Array, "*batch length channels"]:
    """Inverts `stft`, by `synthesise`; fewer frames overlap near both ends of the signal.

    Args:
      spectrogram: Spectrum of `config.num_frames(length)` frames.
      config: Transform that made it.
      length: Samples of the waveform that `stft` was given.

    Raises:
      ValueError: If the number of frames doesn't fit `length`; or if the last samples are under the
        foot of one window alone, as can be where frames overlap by little more than half.
    """
    num_frames, half, hop = config.num_frames(length), config.n_fft // 2, config.hop_length
    if spectrogram.shape[-3] != num_frames:
        raise ValueError(
            f"{spectrogram.shape[-3]} frames don't make {length} samples: {num_frames} would"
        )
    products = config.window() * config.synthesis_window()
    if length and products[half + length % hop - 1] < LEAST_WEIGHT:
        raise ValueError(
            f"length={length} must be a multiple of hop_length={hop}, which is half a window or"
            " nearly that; put silence behind the waveform"
        )
    inside = slice(half, half + length)
    weights = _overlap_add(jnp.broadcast_to(products, (num_frames, config.n_fft)), config)
    waveform = synthesise(spectrogram, config)[..., inside, :]
    return waveform / jnp.broadcast_to(weights[inside, None], waveform.shape)
