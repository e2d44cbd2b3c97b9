import types

import jax
import numpy as np

from jaxsep import sharding
from jaxsep.data.input_pipeline import eval_batches, train_batches
from jaxsep.data.tfrecord import RecordSource
from jaxsep.data.training_data import TrainingData

MESH = sharding.make_mesh()


def first_batches(dataset, **changes):
    fields = {
        "targets": ["vocals"],
        "batch_size": 4,
        "crop_frames": 40,
        "seed": 0,
        "mesh": MESH,
        **changes,
    }
    batches = train_batches(TrainingData((dataset,)), **fields)
    return [jax.device_get(next(batches)) for _ in range(3)]


def test_two_processes_share_the_batches_of_one(tiny_dataset, monkeypatch):
    whole = first_batches(tiny_dataset)
    devices = [types.SimpleNamespace(process_index=index) for index in range(2)]
    mesh = types.SimpleNamespace(devices=np.array(devices))
    monkeypatch.setattr(sharding, "to_global_batch", lambda share, mesh: share)
    shares = []
    for index in range(2):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(first_batches(tiny_dataset, mesh=mesh))
    for batch, *parts in zip(whole, *shares, strict=True):
        for name in batch:
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, batch[name])


def test_the_seed_decides_the_batches(tiny_dataset):
    one, same, other = (first_batches(tiny_dataset, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[2]["mixture"], same[2]["mixture"])
    assert np.abs(one[2]["mixture"] - other[2]["mixture"]).max() > 0


def test_short_segments_are_padded_and_counted(tiny_dataset):
    frames = tiny_dataset.manifest["settings"]["segment_frames"]
    batches = first_batches(tiny_dataset, crop_frames=frames, batch_size=6)
    counts = np.concatenate([batch["num_frames"] for batch in batches])
    assert counts.min() < counts.max() == frames
    for batch in batches:
        for magnitude, count in zip(batch["mixture"], batch["num_frames"], strict=True):
            assert not magnitude[count:].any()


def test_evaluation_sees_each_segment_once(tiny_dataset):
    tracks, frames = [], 0
    fields = {"targets": ["vocals"], "batch_size": 2, "mesh": MESH}
    for batch in eval_batches(TrainingData((tiny_dataset,)), "validation", **fields):
        tracks += batch["track"].tolist()
        frames += int(batch["num_frames"].sum())
    assert tracks == [0, 0, 0, -1]
    assert frames == tiny_dataset.stft.num_frames(5 * 8000)


def test_the_batches_go_on_anywhere(tiny_dataset):
    whole, later = first_batches(tiny_dataset), first_batches(tiny_dataset, first_batch=2)
    for name, value in whole[2].items():
        np.testing.assert_array_equal(later[0][name], value)


def test_the_second_pass_has_the_same_records_in_another_order(tiny_dataset):
    size = len(RecordSource(tiny_dataset.shards("train")))
    first, second, _ = first_batches(tiny_dataset, batch_size=size)
    assert sorted(first["record"]) == sorted(second["record"]) == list(range(size))
    assert first["record"].tolist() != second["record"].tolist()


def test_a_crop_is_the_stored_frames_with_channels_swapped_where_it_says_so(tiny_dataset):
    source = RecordSource(tiny_dataset.shards("train"))
    whole = tiny_dataset.manifest["settings"]["segment_frames"]
    seen = set()
    for batch in first_batches(tiny_dataset, batch_size=24, crop_frames=whole - 2):
        for number, record in enumerate(batch["record"].tolist()):
            stored = tiny_dataset.codec.decode(source[record])
            first, frames = batch["first_frame"][number], batch["num_frames"][number]
            is_swapped = bool(batch["swapped"][number])
            mixture, target, rest = (
                batch[name][number] for name in ("mixture", "targets", "rests")
            )
            found = {"mixture": mixture, "vocals": target[0], "accompaniment": rest[0]}
            for stem, magnitude in found.items():
                expected = stored[stem][first : first + frames]
                expected = expected[:, ::-1] if is_swapped else expected
                np.testing.assert_array_equal(magnitude[:frames], expected)
            is_whole = len(stored["mixture"]) == whole
            assert frames == (whole - 2 if is_whole else len(stored["mixture"]))
            seen.add((is_whole, int(first), is_swapped))
    firsts = [(True, 0), (True, 1), (True, 2), (False, 0)]
    assert seen == {(*first, is_swapped) for first in firsts for is_swapped in (False, True)}
