"""The studio: effects that a voice has on records."""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

import numpy as np
import pyloudnorm
from numpy.random import Generator
from pedalboard import (
    Chorus,
    Compressor,
    Delay,
    Distortion,
    HighpassFilter,
    HighShelfFilter,
    PeakFilter,
    Pedalboard,
    PitchShift,
    Reverb,
)

from recipes.sources import PEAK, RATE

LOUDNESS = -20.0  # LUFS


def pan(waveform: np.ndarray, place: float) -> np.ndarray:
    """Places `[samples]` between left (-1) and right (1), at the same power: `[samples, 2]`."""
    angle = np.pi / 4 * (1 + place)
    return waveform[:, None] * np.array([np.cos(angle), np.sin(angle)])


def treat(waveform: np.ndarray, rng: Generator) -> np.ndarray:
    """Sends a voice through equaliser, compressor, delay and room, each drawn anew or left out.

    Args:
      waveform: float `[samples, 2]` at 44.1 kHz.
      rng: decides.
    """
    chain = [
        HighpassFilter(rng.uniform(60, 140)),
        PeakFilter(rng.uniform(250, 4000), gain_db=rng.uniform(-4, 4), q=rng.uniform(0.5, 1.5)),
        HighShelfFilter(rng.uniform(5000, 9000), gain_db=rng.uniform(-3, 5)),
        Compressor(
            rng.uniform(-32, -18), rng.uniform(2, 6), rng.uniform(2, 15), rng.uniform(50, 200)
        ),
    ]
    if rng.random() < 0.12:
        chain.append(Distortion(rng.uniform(4, 14)))
    if rng.random() < 0.12:
        chain.append(Chorus(rate_hz=rng.uniform(0.5, 2), mix=rng.uniform(0.2, 0.4)))
    if rng.random() < 0.25:
        chain.append(Delay(rng.uniform(0.09, 0.5), rng.uniform(0, 0.4), rng.uniform(0.05, 0.25)))
    if rng.random() < 0.75:
        wet = rng.uniform(0.03, 0.3)
        chain.append(
            Reverb(rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.8), wet, 1 - wet, rng.uniform(0.5, 1))
        )
    return _process(chain, waveform)


def transpose(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Shifts the pitch of `[samples, 2]`, formants included."""
    return _process([PitchShift(semitones)], waveform)


def _process(chain: list, waveform: np.ndarray) -> np.ndarray:
    # A C-contiguous copy, whose first axis pedalboard takes for the channels.
    return Pedalboard(chain)(np.ascontiguousarray(waveform.T, np.float32), RATE).T


def normalise(waveform: np.ndarray) -> np.ndarray:
    """Brings `[samples, 2]` to -20 LUFS (ITU-R BS.1770), or to less if it would clip."""
    loudness = pyloudnorm.Meter(RATE).integrated_loudness(waveform)
    if not np.isfinite(loudness):
        return waveform
    gain = 10 ** ((LOUDNESS - loudness) / 20)
    return waveform * min(gain, PEAK / np.max(np.abs(waveform)))
