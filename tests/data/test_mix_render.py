import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import soxr

from jaxsep import sharding
from jaxsep.data.input_pipeline import eval_batches, train_batches
from jaxsep.data.mix_plan import SPEED_STEPS
from jaxsep.data.mix_render import render
from jaxsep.data.mixing import UNVARIED, Mixing
from jaxsep.data.mixtures import Mixtures
from jaxsep.data.records import DatasetError
from jaxsep.data.training_data import TrainingData
from jaxsep.models.mlp import MLPMasker
from jaxsep.training.step import to_parts
from tests.helpers import RATE, TINY_STFT, Tones, prepare_waveforms, tiny_band

MESH = sharding.make_mesh()


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    return prepare_waveforms(tiny_band(), tmp_path_factory.mktemp("band") / "data")


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return prepare_waveforms(Tones(), tmp_path_factory.mktemp("tones") / "data")


def planned(dataset, mixing: Mixing, frames: int, count: int, **changes):
    """Draws mixtures; returns what they are made of, and the plans with their stems as a batch."""
    fields = {"targets": ["vocals"], "frames": frames, "mixing": mixing, "mesh": MESH, **changes}
    mixes = Mixtures(TrainingData((dataset,)), "train", **fields)
    rng = np.random.default_rng(0)
    plans = [mixes.load(mixes.leads[0][n % len(mixes.leads[0])], rng) for n in range(count)]
    return mixes, {name: np.stack([plan[name] for plan in plans]) for name in plans[0]}


def mixtures(dataset, mixing: Mixing, frames: int = 60, count: int = 20, **changes):
    mixes, plans = planned(dataset, mixing, frames, count, **changes)
    batch = jax.device_get(mixes.render(plans))
    return [{name: value[number] for name, value in batch.items()} for number in range(count)]


def test_stems_are_rendered_as_planned(band):
    mixing = Mixing(paired=0.3, second=0.5, second_rest=0.5, mono=0.3, reverb=0.0)
    mixes, plans = planned(band, mixing, frames=200, count=40)
    batch = jax.device_get(mixes.render(plans))
    for number, stems in enumerate(batch["stems"]):
        plan = {name: value[number] for name, value in plans.items()}
        expected = np.stack([reference_stem(plan, stem, stems.shape[1]) for stem in range(2)])
        if not plan["paired"]:
            vocals, accompaniment = (reference_level(stem) for stem in expected)
            expected[0] *= accompaniment / vocals * 10 ** (plan["levels_db"][0] / 20)
        expected *= plan["heard"][:, None, None]
        if plan["mono"]:
            expected[:] = expected.mean(axis=2, keepdims=True)
        # The resamplers differ most in what the renderer's lets alias.
        spectra = np.fft.rfft(np.stack([expected, stems]), axis=2)
        spectra = spectra[:, :, : spectra.shape[2] * 3 // 4]
        error = np.sum(np.abs(spectra[0] - spectra[1]) ** 2) / np.sum(np.abs(spectra[0]) ** 2)
        assert error < 1e-3


def reference_stem(plan, stem: int, samples: int) -> np.ndarray:
    """Plays a stem as SoX's resampler does."""
    total = np.zeros((samples, 2))
    for waveform, matrix in zip(plan["waveforms"][stem], plan["matrices"][stem], strict=True):
        played = soxr.resample(waveform / 2**15, plan["speeds"][stem], SPEED_STEPS)[:samples]
        total[: len(played)] += played @ matrix.T
    return total


def reference_level(waveform: np.ndarray) -> float:
    frames = np.square(waveform[: len(waveform) // 4096 * 4096]).reshape(-1, 4096 * 2).mean(axis=1)
    return max(0.01, float(np.sqrt(frames[frames > 1e-3 * frames.max()].mean())))


@pytest.mark.parametrize("mixing", [UNVARIED, Mixing(second=0.5, mono=0.3)])
def test_stems_in_memory_give_the_mixtures_of_those_on_disk(band, mixing):
    disk, memory = (mixtures(band, mixing, in_memory=in_memory) for in_memory in (False, True))
    for one, other in zip(disk, memory, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_an_example_is_named_by_what_it_plays(band):
    mixing = Mixing(silent=0.5, alone=0.2, speed=1.0, pan_db=0.0, flip=False, reverb=0.0)
    _, plans = planned(band, mixing, frames=60, count=40)
    for number, record in enumerate(plans["record"]):
        stem = int(not plans["heard"][number, 0])
        assert record == plans["records"][number, stem, 0]
        assert plans["first_frame"][number] * 64 == plans["starts"][number, stem, 0]


def test_paired_stems_begin_together(band):
    _, plans = planned(band, dataclasses.replace(UNVARIED, speed=1.1), frames=40, count=40)
    assert plans["paired"].all() and len(np.unique(plans["starts"])) > 10
    np.testing.assert_array_equal(plans["starts"][:, 0], plans["starts"][:, 1])
    np.testing.assert_array_equal(plans["speeds"][:, 0], plans["speeds"][:, 1])


def test_a_room_is_fading_noise_at_the_planned_level():
    plan = {
        "records": np.zeros((1, 2, 1), np.int32),
        "starts": np.zeros((1, 2, 1), np.int32),
        "waveforms": np.zeros((1, 2, 1, 2 * RATE, 2), np.int16),
        "matrices": np.broadcast_to(np.eye(2, dtype=np.float32), (1, 2, 1, 2, 2)),
        "paired": np.array([True]),
        "levels_db": np.zeros((1, 1), np.float32),
        "heard": np.array([[True, True]]),
        "reverb_seconds": np.array([[0.6]], np.float32),
        "reverb_db": np.array([[-10.0]], np.float32),
        "reverb_seed": np.array([[3]], np.uint32),
    }
    plan["waveforms"][:, :, :, 0] = 2**14
    sizes = {"samples": 2 * RATE, "chunk": 2 * RATE, "num_targets": 1}
    batch = render(plan, **sizes, sample_rate=RATE, mesh=MESH)
    vocals, accompaniment = np.asarray(batch["stems"][0])
    tail = 2 * vocals
    tail[0] -= 1
    np.testing.assert_allclose(np.square(tail).sum(axis=0), 0.1, rtol=0.01)  # -10 dB
    assert not accompaniment[1:].any()  # the room is the vocals' alone
    thirds = np.square(tail[: int(0.6 * RATE)]).reshape(3, -1).sum(axis=1)
    decibels = 10 * np.log10(thirds / thirds[0])
    np.testing.assert_allclose(decibels, [0, -20, -40], atol=1)  # 60 dB in all
    assert np.square(tail[int(0.6 * RATE) + 1 :]).sum() < 1e-9


def test_the_device_sees_librosas_magnitudes_of_the_equalised_stems(band):
    example = mixtures(band, Mixing(), count=1)[0]
    parts = to_parts(jax.tree.map(lambda x: jnp.asarray(x)[None], example), MLPMasker(TINY_STFT))
    spectra = [
        librosa.stft(stem.T, n_fft=256, hop_length=64, center=False).transpose(2, 0, 1) * gains
        for stem, gains in zip(example["stems"], example["gains"], strict=True)
    ]
    assert parts.valid.all() and parts.mixture.shape == (1, 1, 60, 2, 129)
    expected = {"targets": spectra[0], "rests": spectra[1], "mixture": sum(spectra)}
    for name, spectrum in expected.items():
        np.testing.assert_allclose(getattr(parts, name)[0, 0], spectrum, atol=1e-4)


def test_unvaried_songs_keep_their_own_accompaniment(band):
    source = tiny_band()
    songs = [source.load(track).stems for track in source.tracks() if track.split == "train"]
    for example in mixtures(band, UNVARIED, frames=122, count=8):
        stems = example["stems"]
        vocals, length = stems[0], stems.shape[1]
        fits = [
            np.abs(song["vocals"][first : first + length] - vocals).max() < 1e-3
            and np.abs(mixture[first : first + length] - stems.sum(axis=0)).max() < 1e-3
            for song, mixture in zip(songs, map(sum, map(dict.values, songs)), strict=True)
            for first in range(0, 5 * RATE, RATE)
        ]
        assert any(fits)


@pytest.mark.slow
def test_strangers_are_mixed_at_the_levels_asked_for(tones):
    mixing = dataclasses.replace(UNVARIED, min_db=-9.0, max_db=-3.0)
    levels = []
    for example in mixtures(tones, mixing):
        vocals, accompaniment = np.sqrt(np.square(example["stems"]).mean(axis=(1, 2)))
        levels.append(20 * np.log10(vocals / accompaniment))
    assert -9.1 < min(levels) < -7 and -5 < max(levels) < -2.9


@pytest.mark.slow
def test_what_is_no_more_than_noise_is_not_raised_to_a_voice(tmp_path):
    dataset = prepare_waveforms(Tones(vocals_gain=0.02), tmp_path / "data")
    mixing = dataclasses.replace(UNVARIED, min_db=0.0, max_db=0.0)
    for example in mixtures(dataset, mixing):
        level = np.sqrt(np.square(example["stems"][0]).mean())
        assert level < 0.02  # a voice would have that of its accompaniment, 0.07


def test_speed_changes_the_pitch_within_its_limits(tones):
    mixing = dataclasses.replace(UNVARIED, speed=1.25)
    heard = set()
    for example in mixtures(tones, mixing, count=40):
        spectrum = np.abs(np.fft.rfft(example["stems"][0, :, 0]))
        heard.add(spectrum.argmax() * RATE / example["stems"].shape[1])
    ratios = np.array(sorted(heard))[:, None] / [300, 600, 900]
    nearest = ratios[np.arange(len(ratios)), np.abs(np.log(ratios)).argmin(axis=1)]
    assert 0.78 < nearest.min() < 0.9 and 1.1 < nearest.max() < 1.28


@pytest.mark.parametrize(("share", "silent"), [("silent", 0), ("alone", 1)])
def test_a_share_of_the_mixtures_lacks_a_stem(tones, share, silent):
    examples = mixtures(tones, dataclasses.replace(UNVARIED, **{share: 0.5}), count=40)
    silences = [not example["stems"][silent].any() for example in examples]
    assert 10 < sum(silences) < 30
    assert all(example["stems"][1 - silent].any() for example in examples)


def test_a_room_adds_a_tail_below_the_voice(tones):
    dry = mixtures(tones, dataclasses.replace(UNVARIED, alone=1.0), frames=250)
    wet = mixtures(tones, dataclasses.replace(UNVARIED, alone=1.0, reverb=1.0), frames=250)
    for before, after in zip(dry, wet, strict=True):
        # Behind the end of a record, a second long, there is silence or the tail.
        is_silent = np.abs(before["stems"][0]).max(axis=1) == 0
        tail, voice = after["stems"][0][is_silent], after["stems"][0][~is_silent]
        assert tail.any() and np.square(tail).mean() < np.square(voice).mean()


@pytest.mark.slow
def test_each_part_of_a_drum_set_is_drawn_by_itself(tmp_path):
    dataset = prepare_waveforms(
        Tones(stems=("vocals", "drums", "bass")),
        tmp_path / "data",
        targets=("vocals", "drums", "bass"),
    )
    examples = mixtures(dataset, UNVARIED)
    assert examples[0]["stems"].shape[0] == examples[0]["gains"].shape[0] == 3
    pitches = [
        np.abs(np.fft.rfft(example["stems"][1:, :, 0])).argmax(axis=1) for example in examples
    ]
    assert {drums == bass for drums, bass in pitches} == {False, True}
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], examples[0])
    rests = to_parts(batch, MLPMasker(TINY_STFT)).rests
    total = examples[0]["stems"][1:].sum(axis=0)
    expected = librosa.stft(total.T, n_fft=256, hop_length=64, center=False)
    np.testing.assert_allclose(rests[0, 0], expected.transpose(2, 0, 1), atol=1e-4)


def test_the_channels_of_mono_mixtures_are_alike(band):
    for share in (0.0, 1.0):
        for example in mixtures(band, Mixing(mono=share), count=5):
            left, right = np.moveaxis(example["stems"], 2, 0)
            assert np.array_equal(left, right) == bool(share)


def test_second_takes_are_heard_beside_the_first(tones):
    mixing = dataclasses.replace(UNVARIED, second=0.5, second_rest=0.5)
    heard = []
    for example in mixtures(tones, mixing, count=40):
        spectra = np.abs(np.fft.rfft(example["stems"][:, :, 0]))
        peaks = [
            sum(
                spectrum[k - 2 : k + 3].max() > 0.1 * spectrum.max()
                for k in (example["stems"].shape[1] * tone // RATE for tone in (300, 600, 900))
            )
            for spectrum in spectra
        ]
        heard.append(peaks)
    shares = (np.array(heard) == 2).mean(axis=0)
    assert (shares > 0.1).all() and (shares < 0.7).all()


def test_validation_hears_the_same_mixtures_each_time(tones):
    fields = {"targets": ["vocals"], "batch_size": 2, "mesh": MESH}
    data = TrainingData((tones,))
    first, second = (list(eval_batches(data, "validation", **fields)) for _ in range(2))
    assert [batch["track"].tolist() for batch in first] == [[0, 0], [0, -1]]
    assert first[-1]["num_frames"].tolist() == [125, 0]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["stems"], other["stems"])


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_later_batch_is_the_same_when_begun_with(tones, in_memory):
    def batches(**changes):
        sizes = {"batch_size": 4, "crop_frames": 40, "seed": 0}
        fields = {"targets": ["vocals"], "mesh": MESH, **sizes, **changes}
        found = train_batches(TrainingData((tones,)), mix_on_device=in_memory, **fields)
        return [np.asarray(next(found)["stems"]) for _ in range(3)]

    np.testing.assert_array_equal(batches()[2], batches(first_batch=2)[0])


def test_a_data_set_without_vocals_is_refused(tmp_path):
    dataset = prepare_waveforms(Tones(stems=("accompaniment",)), tmp_path / "data")
    with pytest.raises(DatasetError, match="nothing in train has the stem 'vocals'"):
        fields = {"batch_size": 2, "crop_frames": 40, "seed": 0}
        train_batches(TrainingData((dataset,)), targets=["vocals"], **fields, mesh=MESH)
