"""Voices taken apart by WORLD: into pitch, spectral envelope and aperiodicity, and into syllables.

Reference: M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis
system for real-time applications", IEICE Transactions E99-D, 2016.
"""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import warnings
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from recipes.melody import FRAME
from recipes.sources import RATE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about how it finds out its version
    import pyworld

LOWEST, HIGHEST = 70.0, 700.0  # Hz, of a speaking voice
ONSET, CODA = 40, 30  # frames that a consonant takes at most
MIN_NUCLEUS = 6  # frames of a vowel
QUIET = 1e-12  # power: what nothing is floored to


class Voice(NamedTuple):
    """Frames of 5 ms.

    Attributes:
      f0: Hz `[frames]`, 0 where there is no voice.
      envelope: log power, float32 `[frames, bins]`, bins from 0 Hz to half of 44.1 kHz.
      aperiodicity: share of noise, float32 `[frames, bins]`.
    """

    f0: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray


class Syllable(NamedTuple):
    """A part of a voice: consonants around a vowel, whose frames are `[start, end)` in it."""

    voice: Voice
    start: int
    end: int


def analyse(waveform: np.ndarray) -> Voice:
    """Takes a voice apart.

    Args:
      waveform: float `[samples]` at 44.1 kHz.
    """
    x = np.ascontiguousarray(waveform, np.float64)
    f0, times = pyworld.dio(x, RATE, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=1000 * FRAME)
    f0 = pyworld.stonemask(x, f0, times, RATE)
    envelope = pyworld.cheaptrick(x, f0, times, RATE)
    aperiodicity = pyworld.d4c(x, f0, times, RATE)
    log = np.log(np.maximum(envelope, QUIET)).astype(np.float32)
    return Voice(f0, log, aperiodicity.astype(np.float32))


def synthesise(voice: Voice) -> np.ndarray:
    """Puts a voice together: float `[samples]` at 44.1 kHz."""
    parts = (voice.f0, np.exp(voice.envelope), np.clip(voice.aperiodicity, 0, 1))
    f0, envelope, aperiodicity = (np.ascontiguousarray(part, np.float64) for part in parts)
    return pyworld.synthesize(f0, envelope, aperiodicity, RATE, 1000 * FRAME)


def frequencies(voice: Voice) -> np.ndarray:
    """Returns the frequencies of the bins, in Hz."""
    return np.linspace(0, RATE / 2, voice.envelope.shape[1])


def levels(voice: Voice) -> np.ndarray:
    """Returns the frames' power between 150 and 5000 Hz, in dB."""
    f = frequencies(voice)
    band = np.exp(voice.envelope[:, (f > 150) & (f < 5000)])
    return 10 * np.log10(band.mean(axis=1) + QUIET)


def cut(voice: Voice) -> list[Syllable]:
    """Finds the syllables: voiced peaks of loudness, parted where it is softest in between."""
    level = gaussian_filter1d(levels(voice), 2)
    loud = np.percentile(level, 95)
    peaks, _ = find_peaks(level, height=loud - 25, prominence=3, distance=14)
    vowel = (voice.f0 > 0) & (level > loud - 35)
    syllables, previous = [], 0
    for i, peak in enumerate(peaks):
        following = peaks[i + 1] if i + 1 < len(peaks) else len(level)
        end = (
            peak + 1 + int(np.argmin(level[peak + 1 : following]))
            if peak + 1 < following
            else following
        )
        same = vowel & (level > level[peak] - 7)
        left = peak - int(np.argmin(np.r_[same[previous : peak + 1][::-1], False])) + 1
        right = peak + int(np.argmin(np.r_[same[peak:end], False]))
        if right - left >= MIN_NUCLEUS:
            first, last = max(previous, left - ONSET), min(end, right + CODA)
            part = Voice(*(track[first:last] for track in voice))
            syllables.append(Syllable(part, left - first, right - first))
        previous = end
    return syllables


def stretch(syllable: Syllable, frames: int) -> np.ndarray:
    """Chooses for each frame of a note the frame of the syllable that it sounds like.

    Consonants keep their length while the vowel is held; a note that is too short for them is
    sung faster as a whole.

    Returns:
      Positions in the syllable, float `[frames]`.
    """
    total = len(syllable.voice.f0)
    held = frames - (total - (syllable.end - syllable.start))
    if held < MIN_NUCLEUS:
        return np.linspace(0, total - 1, frames)
    vowel = np.linspace(syllable.start, syllable.end - 1, held)
    return np.concatenate([np.arange(syllable.start), vowel, np.arange(syllable.end, total)])


def take(voice: Voice, positions: np.ndarray) -> Voice:
    """Reads a voice at positions between its frames."""
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, len(voice.f0) - 1)
    share = (positions - low).astype(np.float32)[:, None]
    envelope, aperiodicity = (
        (1 - share) * track[low] + share * track[high]
        for track in (voice.envelope, voice.aperiodicity)
    )
    return Voice(voice.f0[np.rint(positions).astype(int)], envelope, aperiodicity)


def warp(voice: Voice, factor: float) -> Voice:
    """Moves the formants up (factor above 1: a shorter vocal tract) or down."""
    bins = np.arange(voice.envelope.shape[1])
    source = np.clip(bins / factor, 0, bins[-1])
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, bins[-1])
    share = (source - low).astype(np.float32)
    tracks = (voice.envelope, voice.aperiodicity)
    return Voice(
        voice.f0, *((1 - share) * track[:, low] + share * track[:, high] for track in tracks)
    )


def widen(voice: Voice) -> Voice:
    """Continues the spectrum of a band-limited recording up to half of 44.1 kHz.

    A model that only heard such voices would take nothing above their limit for voice. Above it
    the level falls by 9 dB per octave from that of the two thirds of an octave below; 5 for
    consonants without voice. Most of it is noise, as it is in a voice up there.
    """
    f = frequencies(voice)
    loud = levels(voice)
    mean = 4.343 * np.log(np.exp(voice.envelope[loud > np.percentile(loud, 60)]).mean(axis=0))
    speech = mean[(f > 2500) & (f < 3500)].mean()
    audible = np.flatnonzero(gaussian_filter1d(mean, 4) > speech - 38)
    limit = 0.93 * f[audible[-1]]
    if limit > 14000 or limit < 3000:
        return voice
    edge = voice.envelope[:, (f > 0.63 * limit) & (f < limit)].mean(axis=1, keepdims=True)
    slope = np.where(voice.f0 > 0, 9, 5)[:, None] / 4.343
    above = edge - slope * np.log2(np.maximum(f, limit) / (0.8 * limit))
    share = np.clip((f - 0.93 * limit) / (0.07 * limit), 0, 1)
    envelope = (1 - share) * voice.envelope + share * above
    aperiodicity = np.maximum(voice.aperiodicity, share * np.where(voice.f0 > 0, 0.8, 1)[:, None])
    return Voice(voice.f0, envelope.astype(np.float32), aperiodicity.astype(np.float32))
