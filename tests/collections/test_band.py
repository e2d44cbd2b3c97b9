from itertools import pairwise

import numpy as np
import pytest

from jaxsep.collections.band import STEMS, VOCALS_DB, render_song

SECONDS = 12.0
RATE = 16000  # keeps the tests fast; the songs are the same but for their highest octave


@pytest.fixture(scope="module")
def songs() -> list[dict[str, np.ndarray]]:
    return [render_song(seed, duration=SECONDS, sample_rate=RATE) for seed in range(4)]


def loudness(stem: np.ndarray, seconds: float) -> np.ndarray:
    """RMS in consecutive windows."""
    size = int(seconds * RATE)
    windows = stem[: len(stem) // size * size].reshape(-1, size * stem.shape[1])
    return np.sqrt(np.mean(np.square(windows, dtype=np.float64), axis=1))


def test_same_seed_same_bytes(songs):
    again = render_song(1, duration=SECONDS, sample_rate=RATE)
    assert all(again[name].tobytes() == songs[1][name].tobytes() for name in STEMS)


def test_different_seeds_differ(songs):
    for name in STEMS:
        for a, b in pairwise(songs):
            assert abs(np.corrcoef(a[name][:, 0], b[name][:, 0])[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("duration", "sample_rate"), [(1.0, 8000), (2.37, 44100), (3.001, 16000), (5.5, 22050)]
)
def test_any_duration_and_sample_rate(duration, sample_rate):
    song = render_song(7, duration=duration, sample_rate=sample_rate)
    assert tuple(sorted(song)) == tuple(sorted(STEMS))
    for stem in song.values():
        assert stem.shape == (round(duration * sample_rate), 2)
        assert stem.dtype == np.float32
        assert np.isfinite(stem).all()


def test_mix_does_not_clip(songs):
    for song in songs:
        assert 0.4 < np.abs(sum(song.values())).max() <= 0.9 + 1e-6


def test_every_stem_sounds(songs):
    for song in songs:
        for stem in song.values():
            assert np.sqrt(np.mean(stem**2)) > 1e-3
            assert abs(stem.mean()) < 1e-2


def test_voice_rests_in_the_intro_and_sings_most_of_the_song(songs):
    for song in songs:
        level = loudness(song["vocals"], 0.05)
        assert level[:20].max() < 1e-3 * level.max()
        assert np.mean(level > 0.05 * level.max()) > 0.4


def test_vocals_are_as_loud_as_in_a_mix(songs):
    for song in songs:
        rest = song["drums"] + song["bass"] + song["other"]
        ratio = 10 * np.log10(np.sum(song["vocals"] ** 2.0) / np.sum(rest**2.0))
        assert VOCALS_DB[0] - 0.1 < ratio < VOCALS_DB[1] + 0.1


def test_drums_and_consonants_reach_twelve_kilohertz():
    song = render_song(0, duration=8.0)
    for name in ("vocals", "drums"):
        power = np.abs(np.fft.rfft(song[name][:, 0])) ** 2
        f = np.fft.rfftfreq(len(song[name]), 1 / 44100)
        assert power[(f > 10000) & (f < 12000)].sum() > 1e-5 * power.sum()
