"""The mix of a made band: effects for each group of instruments, balance, and a record's level."""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

import numpy as np
from numpy.random import Generator
from pedalboard import (
    Chorus,
    Compressor,
    Delay,
    Distortion,
    HighpassFilter,
    HighShelfFilter,
    LowpassFilter,
    LowShelfFilter,
    PeakFilter,
    Pedalboard,
    Phaser,
    Reverb,
)
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from recipes.arranger import DRUMS
from recipes.effects import pan
from recipes.sources import RATE

# dB of loudness: of each group, about.
LEVELS = {"drums": 0.0, "bass": -2.0, "driven": -3.0, "clean": -6.0, "keys": -6.0, "lead": -3.5}
BLOCK = int(0.4 * RATE)
CEILING = 0.95  # of full scale, of the loudest peaks


def group(program: int) -> str:
    """Returns which of `LEVELS` a program belongs to."""
    if program == DRUMS:
        return "drums"
    if 32 <= program < 40:
        return "bass"
    if 24 <= program < 32:
        return "driven" if program in (29, 30) else "clean"
    return "keys"


def mix(tracks: dict[str, list[np.ndarray]], rng: Generator) -> np.ndarray:
    """Mixes a song.

    Args:
      tracks: of each group, float `[samples, 2]`; two of what is played twice.
      rng: decides.

    Returns:
      Float `[samples, 2]`, at -20 to -9 dB of full scale (RMS).
    """
    total = np.zeros((max(len(x) for parts in tracks.values() for x in parts), 2), np.float32)
    room = rng.uniform(0.0, 1.0)  # how wet the whole is
    for name, parts in tracks.items():
        chain = _effects(name, rng)  # the same for both guitars
        sound = _place(name, [_process(chain, part) for part in parts], rng)
        if room > 0.3 or name == "lead":
            sound = _process([_reverb(name, room, rng)], sound)
        level = LEVELS[name] + rng.uniform(-2.5, 2.5) - _loudness(sound)
        total[: len(sound)] += 0.1 * 10 ** (level / 20) * sound
    return _master(total, rng)


def _effects(name: str, rng: Generator) -> list:
    """Draws the effects of a group."""
    squeeze = Compressor(rng.uniform(-30, -15), rng.uniform(2, 6), rng.uniform(2, 30), 120)
    body = PeakFilter(rng.uniform(250, 4000), gain_db=rng.uniform(-4, 4), q=rng.uniform(0.5, 1.5))
    if name == "drums":
        chain = [LowShelfFilter(90, rng.uniform(-2, 3)), body, squeeze]
        if rng.random() < 0.2:
            chain.append(Distortion(rng.uniform(3, 12)))
        return [*chain, HighShelfFilter(7000, rng.uniform(-4, 4))]
    if name == "bass":
        chain = [HighpassFilter(30), LowShelfFilter(110, rng.uniform(-3, 3)), squeeze]
        if rng.random() < 0.35:
            chain.append(Distortion(rng.uniform(3, 15)))
        return [*chain, LowpassFilter(rng.uniform(1500, 8000))]
    if name == "driven":  # through a cabinet
        cabinet = [LowpassFilter(rng.uniform(4000, 7500)), LowpassFilter(rng.uniform(4500, 8000))]
        return [
            HighpassFilter(rng.uniform(70, 130)),
            Distortion(rng.uniform(6, 26)),
            body,
            *cabinet,
        ]
    chain = [HighpassFilter(rng.uniform(60, 180)), body]
    if rng.random() < 0.4:
        chain.append(squeeze)
    if name in ("clean", "lead") and rng.random() < 0.3:
        chain.append(Distortion(rng.uniform(3, 14)))
    if rng.random() < 0.3:
        chain.append(Chorus(rate_hz=rng.uniform(0.4, 2), mix=rng.uniform(0.2, 0.5)))
    elif rng.random() < 0.1:
        chain.append(Phaser(rate_hz=rng.uniform(0.2, 1), mix=rng.uniform(0.3, 0.5)))
    if name != "keys" and rng.random() < 0.35:
        chain.append(Delay(rng.uniform(0.15, 0.5), rng.uniform(0, 0.4), rng.uniform(0.1, 0.3)))
    return chain


def _place(name: str, parts: list[np.ndarray], rng: Generator) -> np.ndarray:
    """Places a group between left and right."""
    if len(parts) == 2:
        wide = rng.uniform(0.5, 1.0)
        left, right = (part.mean(axis=1) for part in parts)
        size = min(len(left), len(right))
        return pan(left[:size], -wide) + pan(right[:size], wide)
    if name in ("drums", "keys"):
        return widen(parts[0], rng.uniform(0.3, 1.6))
    place = {"bass": 0.05, "lead": 0.3}.get(name, 0.8)
    return pan(parts[0].mean(axis=1), rng.uniform(-place, place))


def widen(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Scales the difference of the channels of `[samples, 2]`."""
    middle = waveform.mean(axis=1, keepdims=True)
    return middle + factor * (waveform - middle)


def _reverb(name: str, room: float, rng: Generator) -> Reverb:
    """Draws a room; drums and bass stay rather dry."""
    wet = room * rng.uniform(0.03, 0.25) * {"drums": 0.5, "bass": 0.15}.get(name, 1.0)
    return Reverb(rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.8), wet, 1 - wet, rng.uniform(0.5, 1))


def _loudness(waveform: np.ndarray) -> float:
    """Returns the level of where a group plays, in dB: softer blocks by 20 dB are rests."""
    power = np.square(waveform[: len(waveform) // BLOCK * BLOCK], dtype=np.float64).mean(axis=1)
    blocks = power.reshape(-1, BLOCK).mean(axis=1) + 1e-12
    return 10 * np.log10(blocks[blocks > blocks.max() / 100].mean())


def _master(waveform: np.ndarray, rng: Generator) -> np.ndarray:
    """Gives the whole its tone, its density and its level."""
    tilt = rng.uniform(-3, 3)
    chain = [LowShelfFilter(200, -tilt + rng.uniform(-1, 2)), HighShelfFilter(4000, tilt)]
    if rng.random() < 0.7:
        chain.append(Compressor(rng.uniform(-24, -12), rng.uniform(1.5, 3), 20, 200))
    waveform = _process(chain, waveform)
    if rng.random() < 0.15:
        waveform = _process([Distortion(rng.uniform(1, 5))], waveform)
    goal = -min(20.0, max(9.0, rng.normal(13.5, 3)))
    gain = 10 ** ((goal - _loudness(waveform)) / 20)
    return limit(gain * waveform, rng.uniform(0.02, 0.1))


def limit(waveform: np.ndarray, seconds: float) -> np.ndarray:
    """Turns down what is too loud, from some time before a peak to as long after it."""
    size = int(seconds * RATE)
    peaks = maximum_filter1d(np.abs(waveform).max(axis=1), 2 * size + 1)
    gain = uniform_filter1d(CEILING / np.maximum(peaks, CEILING), 2 * size + 1)
    return waveform * gain[:, None]


def _process(chain: list, waveform: np.ndarray) -> np.ndarray:
    # A C-contiguous copy, whose first axis pedalboard takes for the channels.
    return Pedalboard(chain)(np.ascontiguousarray(waveform.T, np.float32), RATE).T
