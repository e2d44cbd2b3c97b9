"""The short-time Fourier transform and its inverse, in JAX."""

import functools

import jax
import jax.numpy as jnp

from jaxsep.stft_config import StftConfig


def analyse(signal: jax.Array, config: StftConfig) -> jax.Array:
    """Transforms all frames that lie within a signal.

    Args:
      signal: `[..., (frames - 1) * hop_length + n_fft, channels]`.

    Returns:
      complex64 `[..., frames, channels, bins]`.
    """
    overlap = config.n_fft // config.hop_length
    signal = jnp.swapaxes(signal, -2, -1)
    hops = signal.reshape(*signal.shape[:-1], -1, config.hop_length)
    num_frames = hops.shape[-2] - overlap + 1
    frames = jnp.concatenate([hops[..., k : k + num_frames, :] for k in range(overlap)], axis=-1)
    return jnp.swapaxes(jnp.fft.rfft(frames * config.window()), -3, -2)


def synthesise(spectrogram: jax.Array, config: StftConfig) -> jax.Array:
    """Adds up the windowed inverse transforms of all frames.

    Where all overlapping frames are present this is the signal, as the least squares have it.

    Args:
      spectrogram: `[..., frames, channels, bins]`.

    Returns:
      float32 `[..., (frames - 1) * hop_length + n_fft, channels]`.

    Reference: Griffin and Lim, Signal estimation from modified short-time Fourier transform, 1984.
    """
    frames = jnp.fft.irfft(jnp.swapaxes(spectrogram, -3, -2), n=config.n_fft)
    return jnp.swapaxes(_overlap_add(frames * config.synthesis_window(), config), -2, -1)


def _overlap_add(frames: jax.Array, config: StftConfig) -> jax.Array:
    """Adds `[..., frames, n_fft]` up to `[..., (frames - 1) * hop_length + n_fft]`."""
    overlap = config.n_fft // config.hop_length
    parts = frames.reshape(*frames.shape[:-1], overlap, config.hop_length)
    leading = [(0, 0)] * (frames.ndim - 2)
    shifted = [
        jnp.pad(parts[..., k, :], [*leading, (k, overlap - 1 - k), (0, 0)]) for k in range(overlap)
    ]
    return functools.reduce(jnp.add, shifted).reshape(*frames.shape[:-2], -1)


def stft(waveform: jax.Array, config: StftConfig) -> jax.Array:
    """Transforms a waveform, with frames centred on multiples of the hop.

    Args:
      waveform: `[..., samples, channels]`.

    Returns:
      complex64 `[..., frames, channels, bins]` with `frames = 1 + samples // hop_length`.
    """
    samples, half = waveform.shape[-2], config.n_fft // 2
    padded_length = (config.num_frames(samples) - 1) * config.hop_length + config.n_fft
    leading = [(0, 0)] * (waveform.ndim - 2)
    padding = [*leading, (half, padded_length - samples - half), (0, 0)]
    return analyse(jnp.pad(waveform, padding), config)


def istft(spectrogram: jax.Array, config: StftConfig, *, length: int) -> jax.Array:
    """Inverts `stft`, by `synthesise`; fewer frames overlap near both ends of the signal.

    Args:
      spectrogram: `[..., frames, channels, bins]`.
      length: samples of the waveform, as `stft` was given it.

    Returns:
      float32 `[..., length, channels]`.

    Raises:
      ValueError: if `frames` doesn't fit `length`; or if frames overlap by half and the last
        samples are under the foot of one alone.
    """
    num_frames = config.num_frames(length)
    if spectrogram.shape[-3] != num_frames:
        raise ValueError(
            f"{spectrogram.shape[-3]} frames don't make {length} samples: {num_frames} would"
        )
    if config.n_fft == 2 * config.hop_length and length % config.hop_length:
        raise ValueError(
            f"length={length} must be a multiple of hop_length={config.hop_length}, which is half a"
            " frame; put silence behind the waveform"
        )
    inside = slice(config.n_fft // 2, config.n_fft // 2 + length)
    products = config.window() * config.synthesis_window()
    weights = _overlap_add(jnp.broadcast_to(products, (num_frames, config.n_fft)), config)
    return synthesise(spectrogram, config)[..., inside, :] / weights[inside, None]
