"""The desk: rooms, levels, and the stems of the finished song."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from jaxsep.collections.band import sound
from jaxsep.collections.band.drums import drums
from jaxsep.collections.band.instruments import bass, other
from jaxsep.collections.band.score import compose
from jaxsep.collections.band.voice import vocals

STEMS = ("vocals", "drums", "bass", "other")
VOCALS_DB = (-8.0, -3.5)  # range of the energy of the vocals relative to the rest of the band
FADE_SECONDS = 0.05  # at the end of a song, which is cut wherever `duration` falls


def render_song(
    seed: int, *, duration: float = 30.0, sample_rate: int = 44100
) -> dict[str, NDArray]:
    """Writes, plays and mixes one song.

    Args:
      seed: The song, a nonnegative integer. The same seed gives the same bytes on one machine.
      duration: Length in seconds. Part of the composition: a longer song has longer sections.
      sample_rate: In Hz.

    Returns:
      The stems by name (`STEMS`), float32 of shape [samples, 2] in full scale 1. Their sum is the
      mix; its peak is at most 0.9, and the vocals are 3.5 to 8 dB below the other stems together.
    """
    score, desk, *rngs = np.random.default_rng(seed).spawn(2 + len(STEMS))
    song = compose(duration, sample_rate, score)
    left = song.samples - np.arange(song.samples)[:, None]
    fade = np.minimum(left / (FADE_SECONDS * sample_rate), 1)
    decibels = desk.uniform((0, 0, -4, -3), (0, 0, 1, 3))
    wetness = desk.uniform((0.05, 0, 0, 0.05), (0.35, 0.2, 0, 0.4))
    stems = {}
    for i, play in enumerate((vocals, drums, bass, other)):
        stem = fade * _reverberate(play(song, rngs[i]), wetness[i], sample_rate, rngs[i])
        energy = np.sum(stem**2) + 1e-9  # more than zero for silence
        stems[STEMS[i]] = stem * 10 ** (decibels[i] / 20) / np.sqrt(energy)
    band = stems["drums"] + stems["bass"] + stems["other"]
    level = 10 ** (desk.uniform(*VOCALS_DB) / 10)  # the vocals' energy is 1 so far, or 0
    stems["vocals"] *= np.sqrt(level * (np.sum(band**2) + 1e-9))
    gain = desk.uniform(0.5, 0.9) / np.max(np.abs(band + stems["vocals"]))
    return {name: (gain * stem).astype(np.float32) for name, stem in stems.items()}


def _reverberate(stem: NDArray, wet: float, sample_rate: int, rng: Generator) -> NDArray:
    """Adds a diffuse room with 0.3 to 1.4 s of reverberation: stereo [samples, 2]."""
    seconds = rng.uniform(0.3, 1.4)
    time = np.arange(int(seconds * sample_rate))[:, None] / sample_rate
    predelayed = np.clip(time / 0.02 - 0.5, 0, 1)
    room = rng.standard_normal((len(time), 2)) * predelayed * 10 ** (-3 * time / seconds)
    room = sound.band_pass(room, 200, rng.uniform(3000, 8000), sample_rate).astype(np.float32)
    room *= wet / np.linalg.norm(room, axis=0)
    return stem + oaconvolve(stem.mean(axis=1, keepdims=True), room, axes=0)[: len(stem)]
