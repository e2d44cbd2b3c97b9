"""What voice and instruments share: harmonic tones, filtered noise, placing sounds on a track."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

TIMING_SECONDS = 0.006  # standard deviation of a player's onsets
ALIAS_DECAY = np.log(10 ** (50 / 20))  # of harmonics at the Nyquist frequency, in nepers


def hertz(pitch: NDArray | float) -> NDArray | float:
    """Frequency of a MIDI pitch."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def harmonics(phase: NDArray, ratio: NDArray) -> NDArray:
    """Sum over k >= 1 of ratio**k sin(2 pi k phase), scaled to the same RMS for every ratio.

    The closed form of the series costs one sine and one cosine however many harmonics sound.
    """
    half = (phase % 1.0).astype(np.float32) * np.float32(np.pi)
    sine = np.sin(half)
    scale = 2 * np.sqrt(1 - ratio**2)
    return scale * sine * np.cos(half) / ((1 - ratio) ** 2 + 4 * ratio * sine**2)


def band_pass(audio: NDArray, low: float, high: float, sample_rate: int) -> NDArray:
    """Band-pass along the first axis, its edges (Hz) kept below the Nyquist frequency."""
    edges = min(low, 0.3 * sample_rate), min(high, 0.48 * sample_rate)
    sections = butter(2, edges, "bandpass", fs=sample_rate, output="sos")
    return np.asarray(sosfilt(sections, audio, axis=0))


def pan(audio: NDArray, place: float) -> NDArray:
    """Places mono [samples] between left (-1) and right (1): stereo [samples, 2], equal power."""
    angle = (place + 1) * np.pi / 4
    return np.outer(audio, (np.cos(angle), np.sin(angle))).astype(np.float32)


def add(track: NDArray, audio: NDArray, seconds: float, sample_rate: int) -> None:
    """Adds `audio` to `track` in place from `seconds` on, cut off at the track's end."""
    first = max(0, int(seconds * sample_rate))
    audio = audio[: max(0, len(track) - first)]
    track[first : first + len(audio)] += audio
