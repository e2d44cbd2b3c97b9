"""The short-time Fourier transform and its inverse, in JAX."""

import functools

import jax
import jax.numpy as jnp

from jaxsep.stft_config import StftConfig


def frame(signal: jax.Array, config: StftConfig) -> jax.Array:
    """Cuts a signal into overlapping frames.

    Args:
      signal: `[..., (frames - 1) * hop_length + n_fft]`, time last.

    Returns:
      `[..., frames, n_fft]`.
    """
    overlap = config.n_fft // config.hop_length
    hops = signal.reshape(*signal.shape[:-1], -1, config.hop_length)
    frames = hops.shape[-2] - overlap + 1
    parts = [hops[..., k : k + frames, :] for k in range(overlap)]
    return jnp.concatenate(parts, axis=-1)


def overlap_add(frames: jax.Array, config: StftConfig) -> jax.Array:
    """Adds overlapping frames up: the transpose of `frame`.

    Args:
      frames: `[..., frames, n_fft]`.

    Returns:
      `[..., (frames - 1) * hop_length + n_fft]`.
    """
    overlap = config.n_fft // config.hop_length
    parts = frames.reshape(*frames.shape[:-1], overlap, config.hop_length)
    leading = [(0, 0)] * (frames.ndim - 2)
    shifted = [
        jnp.pad(parts[..., k, :], [*leading, (k, overlap - 1 - k), (0, 0)]) for k in range(overlap)
    ]
    hops = functools.reduce(jnp.add, shifted)
    return hops.reshape(*frames.shape[:-2], -1)


def stft(waveform: jax.Array, config: StftConfig) -> jax.Array:
    """Transforms a waveform, with frames centred on multiples of the hop.

    Args:
      waveform: `[..., samples, channels]`.

    Returns:
      complex64 `[..., frames, channels, bins]` with `frames = 1 + samples // hop_length`.
    """
    samples = waveform.shape[-2]
    half = config.n_fft // 2
    padded_length = (config.num_frames(samples) - 1) * config.hop_length + config.n_fft
    signal = jnp.moveaxis(waveform, -1, -2)
    leading = [(0, 0)] * (signal.ndim - 1)
    signal = jnp.pad(signal, [*leading, (half, padded_length - samples - half)])
    windowed = frame(signal, config) * config.window()
    return jnp.swapaxes(jnp.fft.rfft(windowed), -3, -2)


def istft(spectrogram: jax.Array, config: StftConfig, *, length: int) -> jax.Array:
    """Inverts `stft` by weighted overlap-add: the least-squares inverse.

    Args:
      spectrogram: `[..., frames, channels, bins]`.
      length: samples of the waveform, as `stft` was given it.

    Returns:
      float32 `[..., length, channels]`.

    Raises:
      ValueError: if `frames` doesn't fit `length`.

    Reference: Griffin and Lim, Signal estimation from modified short-time Fourier transform, 1984.
    """
    num_frames = config.num_frames(length)
    if spectrogram.shape[-3] != num_frames:
        raise ValueError(
            f"{spectrogram.shape[-3]} frames don't make {length} samples: {num_frames} would"
        )
    frames = jnp.fft.irfft(jnp.swapaxes(spectrogram, -3, -2), n=config.n_fft) * config.window()
    weights = jnp.broadcast_to(jnp.square(config.window()), (num_frames, config.n_fft))
    inside = slice(config.n_fft // 2, config.n_fft // 2 + length)
    signal = overlap_add(frames, config)[..., inside] / overlap_add(weights, config)[inside]
    return jnp.moveaxis(signal, -2, -1)
