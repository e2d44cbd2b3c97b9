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

    Where all overlapping frames are present this is the signal times `overlap_weight`.

    Args:
      spectrogram: `[..., frames, channels, bins]`.

    Returns:
      float32 `[..., (frames - 1) * hop_length + n_fft, channels]`.
    """
    frames = jnp.fft.irfft(jnp.swapaxes(spectrogram, -3, -2), n=config.n_fft) * config.window()
    return jnp.swapaxes(_overlap_add(frames, config), -2, -1)


def overlap_weight(config: StftConfig) -> float:
    """Returns what the squared windows of all overlapping frames add up to: a constant."""
    return 0.375 * config.n_fft / config.hop_length  # the mean of a squared Hann window is 3/8


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
    inside = slice(config.n_fft // 2, config.n_fft // 2 + length)
    squares = jnp.broadcast_to(jnp.square(config.window()), (num_frames, config.n_fft))
    weights = _overlap_add(squares, config)[inside, None]
    return synthesise(spectrogram, config)[..., inside, :] / weights
