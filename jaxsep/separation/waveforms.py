"""What is checked of the sound that goes into a model and comes out of it."""

import numbers
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxsep.audio.track import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from jaxsep.models.files import ModelError

Waveform = Float[np.ndarray, "samples channels"]
Ready = Float[np.ndarray, "ready channels"]  # as many samples as are ready

# What a stream or an array may claim to be; beyond it lies a mistake, or memory without end.
SAMPLE_RATES = (LOWEST_RATE, HIGHEST_RATE)  # Hz
CHANNELS = (1, MOST_CHANNELS)
BLOCK_FRAMES = (1, 1024)

# Times full scale. Less than `LOUDEST`, for a stream would remember a click for minutes.
LOUDEST_IN_STREAM = 1e2


def check_format(*, sample_rate: float, channels: int, block_frames: int) -> None:
    """Checks what a waveform claims to be.

    Args:
      sample_rate: Samples per second, in Hz.
      channels: Number of channels.
      block_frames: Frames that the model is given at a time.

    Raises:
      ValueError: If a number isn't whole or is out of its range.
    """
    limits = {"sample_rate": SAMPLE_RATES, "channels": CHANNELS, "block_frames": BLOCK_FRAMES}
    values = {"sample_rate": sample_rate, "channels": channels, "block_frames": block_frames}
    for name, value in values.items():
        low, high = limits[name]
        if not isinstance(value, numbers.Real) or not (low <= value <= high and value % 1 == 0):
            raise ValueError(f"{name}={value} must be a whole number from {low:,} to {high:,}")


def check_waveform(waveform: Any, channels: int | None = None) -> Waveform:
    """Checks a waveform.

    Args:
      waveform: An array, float `[samples, channels]`, full scale +-1.
      channels: Number of channels that it must have; None takes any from 1 to 64.

    Returns:
      The waveform as a NumPy array.

    Raises:
      ValueError: If it isn't such an array.
    """
    waveform = np.asarray(waveform)
    if waveform.dtype.kind != "f":
        hint = f"; divide by {2 ** (8 * waveform.dtype.itemsize - 1)}"
        raise ValueError(
            f"the waveform holds {waveform.dtype}, which isn't float with full scale +-1"
            + (hint if waveform.dtype.kind == "i" else "")
        )
    if waveform.ndim != 2 or waveform.shape[1] == 0 or channels not in (None, waveform.shape[1]):
        wanted = f" of {channels} channels" if channels else ""
        raise ValueError(f"a waveform of shape {waveform.shape} isn't [samples, channels]{wanted}")
    if waveform.shape[1] > CHANNELS[1]:
        raise ValueError(
            f"a waveform of shape {waveform.shape} isn't [samples, channels]: at most"
            f" {CHANNELS[1]} channels; transpose it if it is [channels, samples]"
        )
    return waveform


def make_finite(block: Waveform, loudest: float) -> tuple[Waveform, int]:
    """Makes silence of samples that are no sound: NaN, infinite, or absurdly loud.

    Args:
      block: Part of a waveform.
      loudest: Largest magnitude that stays.

    Returns:
      The block, and how many samples became silence.
    """
    is_sound = np.abs(block) <= np.float64(loudest)  # False for NaN
    if is_sound.all():
        return block, 0
    return np.where(is_sound, block, block.dtype.type(0)), int(np.count_nonzero(~is_sound))


def describe_silenced(number: int) -> str:
    """Says how many samples `make_finite` replaced."""
    return f"{number:,} samples were NaN, infinite or absurdly loud; they became silence"


def check_estimates(
    mixture: Waveform, estimates: dict[str, Waveform]
) -> tuple[Waveform, dict[str, Waveform]]:
    """Checks what a model found in a mixture, and returns both.

    Raises:
      ModelError: If it isn't finite.
    """
    for name, estimate in estimates.items():
        if not np.isfinite(estimate).all():
            raise ModelError(
                f"the model's {name} are NaN or infinite; its weights are damaged or its training"
                " diverged: use another --model"
            )
    return mixture, estimates
