import itertools

import numpy as np

from jaxsep.collections.source import Song, Track
from jaxsep.data.tfrecord import RecordSource
from jaxsep.preparation.examples import remix_magnitudes, to_format
from jaxsep.preparation.prepare import prepare
from tests.helpers import RATE, TINY_STFT, tiny_band, tiny_settings


def waveforms(samples: int = 9000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    stems = {
        name: rng.uniform(-0.2, 0.2, (samples, 2)).astype(np.float32)
        for name in ("vocals", "drums", "bass", "other")
    }
    return to_format(Song(stems, None, RATE), tiny_settings())


class Pitches:
    """Four tracks whose accompaniments are tones an octave apart; the vocals are silent."""

    root, licence, name = None, "free", "pitches"

    def tracks(self) -> list[Track]:
        return [Track(f"{number}", "train", 2.0) for number in range(4)]

    def load(self, track: Track) -> Song:
        times = np.arange(2 * RATE) / RATE
        tone = 0.1 * np.sin(2 * np.pi * 300 * 2 ** int(track.name) * times)
        stems = {"vocals": np.zeros_like(tone), "accompaniment": tone}
        return Song({n: w[:, None].astype(np.float32) for n, w in stems.items()}, None, RATE)


def test_each_track_is_the_partner_of_another_one_in_each_pass(tmp_path):
    dataset = prepare(Pitches(), tmp_path / "data", tiny_settings(remixes=3), workers=1)
    source = RecordSource(dataset.shards("train"))
    examples = [dataset.codec.decode(source[number]) for number in range(len(source))]
    partners = []
    for track, segments in itertools.groupby(examples, key=lambda example: example["track"]):
        loudest = next(segments)["accompaniment"].astype(np.float32).sum(axis=(0, 1)).argmax()
        octave = np.log2(loudest * RATE / TINY_STFT.n_fft / 300)
        partners.append((int(track), round(octave)))
    songs, *passes = (partners[first : first + 4] for first in range(0, len(partners), 4))
    assert all(track == partner for track, partner in songs) and len(passes) == 3
    for remixes in passes:
        assert sorted(partner for _, partner in remixes) == [0, 1, 2, 3]
        assert all(track != partner for track, partner in remixes)


def test_remixes_do_not_enter_the_statistics(tmp_path):
    for remixes in (0, 2):
        settings = tiny_settings(remixes=remixes)
        prepare(tiny_band(), tmp_path / f"{remixes}", settings, workers=1)
    texts = [(tmp_path / name / "statistics.json").read_text() for name in "02"]
    assert texts[0] == texts[1]


def test_a_remix_takes_the_accompaniment_from_the_partner_alone():
    settings = tiny_settings()
    track, partner = (waveforms() for _ in range(2))
    silent = {name: np.zeros_like(wave) for name, wave in partner.items()}
    for _, magnitudes in remix_magnitudes(track, silent, "key", settings):
        np.testing.assert_array_equal(magnitudes["mixture"], magnitudes["vocals"])
    track = {**track, "vocals": silent["vocals"]}
    for _, magnitudes in remix_magnitudes(track, partner, "key", settings):
        np.testing.assert_array_equal(magnitudes["mixture"], magnitudes["accompaniment"])
        assert magnitudes["mixture"].max() > 0


def test_remixes_repeat_with_their_key_and_differ_without():
    settings = tiny_settings()
    track = waveforms()

    def first(key):
        return next(remix_magnitudes(track, track, key, settings))[1]["mixture"]

    np.testing.assert_array_equal(first("a"), first("a"))
    frames = min(len(first("a")), len(first("b")))
    assert np.abs(first("a")[:frames] - first("b")[:frames]).max() > 0.1


def test_vocals_and_accompaniment_are_swapped_and_inverted_independently():
    left = np.float32([0.1, 0.0]) * np.ones((9000, 1), np.float32)
    track = {"mixture": 2 * left, "vocals": left, "accompaniment": left}
    seen = set()
    for key in "abcdef":
        for _, magnitudes in remix_magnitudes(track, track, key, tiny_settings(segment_frames=10)):
            if len(magnitudes["mixture"]) == 10:
                parts = (magnitudes[name][5, :, 0] for name in ("vocals", "accompaniment"))
                (vocals, accompaniment), mixture = parts, magnitudes["mixture"][5, :, 0]
                swaps = bool(vocals[1] > vocals[0]), bool(accompaniment[1] > accompaniment[0])
                # On the same side they add up, or one is taken from the other.
                adds_up = mixture.max() > max(vocals.max(), accompaniment.max())
                seen.add((*swaps, bool(adds_up) if len(set(swaps)) == 1 else None))
    both = (False, True)
    beside = {(side, side, adds_up) for side in both for adds_up in both}
    assert seen == beside | {(side, not side, None) for side in both}


def test_remixes_play_vocals_and_accompaniment_at_other_speeds():
    settings = tiny_settings()
    time = np.arange(3 * settings.stft.sample_rate)[:, None] / settings.stft.sample_rate
    sine = np.sin(2 * np.pi * 1000 * time).repeat(2, axis=1).astype(np.float32)
    track = {"mixture": 2 * sine, "vocals": sine, "accompaniment": sine}
    bin_width = settings.stft.sample_rate / settings.stft.n_fft
    pitches = {}
    for key in map(str, range(30)):
        _, magnitudes = next(remix_magnitudes(track, track, key, settings))
        for stem in ("vocals", "accompaniment"):
            peak = int(magnitudes[stem][20].mean(axis=0).argmax())
            pitches.setdefault(stem, []).append(peak * bin_width)
    for heard in pitches.values():
        assert 1000 / 1.25 - bin_width < min(heard) < 900 and 1100 < max(heard) < 1250 + bin_width
    assert pitches["vocals"] != pitches["accompaniment"]
