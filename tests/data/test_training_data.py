"""Several data sets at once: how they are named, what they must share, and whose turn it is."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from jaxsep import sharding
from jaxsep.data import bin_statistics
from jaxsep.data.input_pipeline import eval_batches, train_batches
from jaxsep.data.mix_plan import NOTHING
from jaxsep.data.mixing import Mixing
from jaxsep.data.mixtures import Mixtures
from jaxsep.data.records import CHECKSUM, MANIFEST, DatasetError
from jaxsep.data.training_data import (
    LONGEST_ROUND,
    Rounds,
    TrainingData,
    load_training_data,
    parse_data_dir,
)
from tests.helpers import TINY_STFT

MESH = sharding.make_mesh()
BATCH = {"targets": ["vocals"], "batch_size": 6, "mesh": MESH}


@pytest.fixture
def waveforms(waveform_sets):
    return TrainingData(waveform_sets, (1, 2))


@pytest.fixture
def magnitudes(magnitude_sets):
    return TrainingData(magnitude_sets, (1, 2))


@pytest.fixture(params=["magnitudes", "waveforms", "memory"])
def drawn(request):
    """Data sets and a function from a batch's number to the batches from it on."""
    in_memory = request.param == "memory"
    data = request.getfixturevalue("waveforms" if in_memory else request.param)

    def batches(first_batch: int = 0, data=data, **changes):
        fields = {**BATCH, "crop_frames": 40, "seed": 3, **changes}
        fields |= {"first_batch": first_batch, "mix_on_device": in_memory}
        for batch in train_batches(data, **fields):
            yield {name: np.asarray(value) for name, value in batch.items()}

    return data, batches


@pytest.mark.parametrize(
    ("data_dir", "found"),
    [
        ("a", [("a", 1)]),
        ("a:5", [("a", 1)]),
        ("a,b", [("a", 1), ("b", 1)]),
        ("a:2,b", [("a", 2), ("b", 1)]),
        ("a:4,b:2", [("a", 2), ("b", 1)]),
        ("a:0.75,b:.5,c:0.25", [("a", 3), ("b:.5", 4), ("c", 1)]),
        ("gs://x/a:2,gs://x/b:1", [("gs://x/a", 2), ("gs://x/b", 1)]),
        ("gs://x/a", [("gs://x/a", 1)]),
        (r"C:\a,D:\b:3", [(r"C:\a", 1), (r"D:\b", 3)]),
        ("C:/a", [("C:/a", 1)]),
        ("a:b:2,c:1e3", [("a:b", 2), ("c:1e3", 1)]),
        ("there:2", [("there:2", 1)]),
        ("there,2:1,a:3", [("there", 1), ("2", 1), ("a", 3)]),
        ("there,2:1", [("there,2:1", 1)]),
        ("there:2:3,a:2", [("there:2", 3), ("a", 2)]),
        ("there:2,a:2", [("there:2", 1), ("a", 2)]),
    ],
)
def test_folders_and_weights_are_told_apart(tmp_path, monkeypatch, data_dir, found):
    for name in ("there:2", "there,2:1"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_data_dir(data_dir) == found


@pytest.mark.parametrize(
    ("data_dir", "words"),
    [
        ("a:0,b:1", "data_dir=a:0,b:1: each weight must be more than 0"),
        ("a:1,", "data_dir=a:1,: a folder has no name; join them as in A:2,B:1"),
        ("a:0.0001,b:1.3", "come to 13,001 in whole numbers, more than 10,000; use rounder ones"),
    ],
)
def test_impossible_weights_are_one_line(data_dir, words):
    with pytest.raises(DatasetError, match=words) as error:
        load_training_data(data_dir)
    assert "\n" not in str(error.value)


def test_each_round_has_the_weights_and_leaves_no_example_out():
    rng = np.random.default_rng(0)
    for _ in range(20):
        weights = rng.integers(1, 20, rng.integers(1, 6)).tolist()
        rounds, length = Rounds(weights, [50 * weight for weight in weights]), sum(weights)
        assert len(rounds) == 50 * length
        taken = [rounds[place] for place in range(len(rounds))]
        for start in range(0, len(taken), length):
            numbers = [number for number, _ in taken[start : start + length]]
            assert np.bincount(numbers).tolist() == weights
        for number, weight in enumerate(weights):
            places = [place for of, place in taken if of == number]
            assert places == list(range(50 * weight))
            done = np.cumsum([of == number for of, _ in taken])
            even = np.arange(1, len(taken) + 1) * weight / length
            assert np.abs(done - even).max() <= len(weights)  # spread over the round


def test_the_longest_round_is_allowed():
    assert sum(dict(parse_data_dir(f"a:1,b:{LONGEST_ROUND - 1}")).values()) == LONGEST_ROUND


def test_the_weights_are_the_shares_of_the_examples(drawn):
    data, batches = drawn
    first, second = data.records("train")
    found = batches()
    for _ in range(8):
        records = next(found)["record"].tolist()
        assert [sum(record in part for record in records) for part in (first, second)] == [2, 4]


def test_a_batch_depends_on_the_seed_and_its_number_alone(drawn):
    _, batches = drawn
    whole = batches()
    for number in range(3):
        expected, found = next(whole), next(batches(number))
        other = next(batches(number, seed=4))
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        name = "stems" if "stems" in expected else "mixture"
        assert (expected[name] != other[name]).any()


def test_one_data_set_is_read_as_in_a_mix_of_one(drawn):
    data, batches = drawn
    alone, weighted = (
        next(batches(data=TrainingData(data.sets[:1], weights))) for weights in ((1,), (7,))
    )
    for name, value in alone.items():
        np.testing.assert_array_equal(weighted[name], value)


def test_data_sets_are_crossed_nowhere(waveforms):
    mixing = Mixing(paired=0.2, second=0.5, second_rest=0.5, silent=0.0, alone=0.0)
    fields = {"targets": ["vocals"], "frames": 40, "mixing": mixing, "mesh": MESH}
    mixes, rng = Mixtures(waveforms, "train", **fields), np.random.default_rng(0)
    heard = np.zeros(2)
    for number, records in enumerate(waveforms.records("train")):
        for lead in mixes.leads[number] * 10:
            plan = mixes.load(lead, rng)
            sounding = plan["records"][plan["records"] != NOTHING]
            assert set(sounding) <= set(records)
            heard[number] = max(heard[number], (plan["records"][:, 0] != NOTHING).sum())
            assert not plan["waveforms"][plan["records"] == NOTHING].any()
    assert heard.tolist() == [2, 3]  # vocals and accompaniment; vocals, drums and bass


def test_magnitudes_of_any_data_set_are_those_that_are_stored(magnitudes):
    batch = next(train_batches(magnitudes, crop_frames=99, seed=0, **BATCH))
    for place, record in enumerate(np.asarray(batch["record"]).tolist()):
        number = int(record in magnitudes.records("train")[1])
        dataset, first = magnitudes.sets[number], magnitudes.records("train")[number].start
        alone = TrainingData((dataset,))
        examples = train_batches(alone, crop_frames=dataset.segment_frames, seed=0, **BATCH)
        while record - first not in (whole := next(examples))["record"]:
            pass
        found = np.flatnonzero(np.asarray(whole["record"]) == record - first)[0]
        for name in ("mixture", "targets", "rests"):
            start, frames = int(batch["first_frame"][place]), int(batch["num_frames"][place])
            stored = np.asarray(whole[name][found])[..., start : start + frames, :, :]
            if whole["swapped"][found] != batch["swapped"][place]:
                stored = stored[..., ::-1, :]
            np.testing.assert_array_equal(batch[name][place][..., :frames, :, :], stored)


@pytest.mark.parametrize("kind", ["magnitudes", "waveforms"])
def test_evaluation_goes_through_one_data_set_after_the_other(request, kind):
    data = request.getfixturevalue(kind)
    whole = list(eval_batches(data, "validation", **BATCH))
    parts = [list(eval_batches(TrainingData((d,)), "validation", **BATCH)) for d in data.sets]
    assert len(whole) == sum(map(len, parts))
    num_tracks = len(data.sets[0].track_names("validation"))
    shifted = [batch["track"] + np.where(batch["track"] < 0, 0, num_tracks) for batch in parts[1]]
    tracks = [batch["track"] for batch in parts[0]] + shifted
    for batch, part, track in zip(whole, parts[0] + parts[1], tracks, strict=True):
        np.testing.assert_array_equal(batch["track"], track)
        np.testing.assert_array_equal(batch["num_frames"], part["num_frames"])
    assert int(max(map(np.max, tracks))) < len(data.track_names("validation"))


def test_statistics_are_those_of_frames_drawn_by_weights():
    rng, parts = np.random.default_rng(0), []
    for scale in (1.0, 5.0):
        counted = bin_statistics.BinStatistics(TINY_STFT)
        counted.add(rng.gamma(2.0, scale, (500, TINY_STFT.bins)))
        parts.append(counted.sums())
    one, other = (as_arrays(bin_statistics.merge([part])) for part in parts)
    expected = bin_statistics.merge([parts[0], parts[1], parts[1]])
    found = bin_statistics.average([one, other], [1, 2])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4)
    for name, value in bin_statistics.average([one], [7]).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, one[name])


def as_arrays(statistics):
    return {name: np.array(values, np.float32) for name, values in statistics.items()}


def changed(dataset, folder, **changes):
    """Copies a data set and changes its settings."""
    shutil.copytree(dataset.path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest[CHECKSUM]
    stft = manifest["settings"]["stft"]
    manifest["settings"] |= {"stft": {**stft, **changes.pop("stft", {})}, **changes}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stft": {"channels": 1}}, "other holds 8000 Hz and 1 channels, not 8000 and 2; prepare"),
        ({"stft": {"sample_rate": 4000}}, "other holds 4000 Hz and 2 channels, not 8000 and 2;"),
        ({"stft": {"hop_length": 32}}, "other holds magnitudes of .*hop_length=32.*, not of .*=64"),
        ({"representation": "waveform"}, "other holds waveforms, .*/data magnitudes; prepare one"),
        ({}, None),
    ],
)
def test_data_sets_that_differ_in_format_are_refused(tiny_dataset, tmp_path, changes, words):
    changed(tiny_dataset, tmp_path / "other", **changes, comment="")
    data_dir = f"{tiny_dataset.path}:2,{tmp_path / 'other'}"
    if words is None:
        assert load_training_data(data_dir).weights == (2, 1)
        return
    with pytest.raises(DatasetError, match=words) as error:
        load_training_data(data_dir)
    assert "\n" not in str(error.value)


def test_waveforms_may_have_been_prepared_with_different_transforms(waveforms, tmp_path):
    one, other = (dataset.path for dataset in waveforms.sets)
    changed(waveforms.sets[1], tmp_path / "other", stft={"hop_length": 32})
    assert load_training_data(f"{one},{other}").stft == TINY_STFT
    data = load_training_data(f"{one},{tmp_path / 'other'}")
    assert {dataset.stft for dataset in data.sets} == {TINY_STFT}


def test_a_whole_example_is_as_long_as_all_data_sets_have_them(waveforms, magnitudes):
    assert (waveforms.segment_frames, magnitudes.segment_frames) == (125, 100)
    denser = dataclasses.replace(TINY_STFT, hop_length=32)
    assert waveforms.with_stft(denser).segment_frames == 250


def test_a_data_set_is_named_once(tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset.path, tmp_path / "copy")
    with pytest.raises(DatasetError, match="copy are the same data set; name it once, with the"):
        load_training_data(f"{tiny_dataset.path}:2,{tmp_path / 'copy'}:1")


def test_a_data_set_without_a_target_is_named(waveforms):
    waveforms.check_targets(["vocals"])
    with pytest.raises(DatasetError, match="one can't train 'drums', but vocals, accompaniment;"):
        waveforms.check_targets(["vocals", "drums"])
