import importlib
import json

import jax
import numpy as np
import pytest
from etils import epath

from jaxsep import checkpoints, train_lib
from jaxsep.input_pipeline import eval_batches, train_batches
from jaxsep.separator import Separator
from jaxsep.tfrecord import DataCorruptionError
from jaxsep.train_lib import TrainingError, train_and_evaluate


def tiny_config(dataset, recipe: str = "lstm", **changes):
    config = importlib.import_module(f"configs.{recipe}").get_config()
    config.update(
        data_dir=str(dataset.path), num_train_steps=6, batch_size=2, crop_frames=32, warmup_steps=1
    )
    config.update(eval_every_steps=3, log_every_steps=1)
    config.model.hidden_size = 8
    config.update_from_flattened_dict(changes)
    return config


def restored(workdir, step: int):
    masker, variables = checkpoints.restore_masker(workdir / "checkpoints" / str(step))
    del masker
    return jax.tree.map(np.asarray, variables)


@pytest.mark.parametrize("recipe", ["mlp", "lstm"])
def test_training_leaves_all_that_separation_needs(tiny_dataset, tmp_path, recipe):
    workdir = epath.Path(tmp_path)
    summary = train_and_evaluate(tiny_config(tiny_dataset, recipe), workdir)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 6 and np.isfinite(summary["sdr"] + summary["sdr_mixture"])
    assert (tmp_path / "spectrograms.png").stat().st_size > 10_000
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines if "validation/sdr" in line} == {3, 6}
    assert any("train/loss" in line for line in lines)
    separator = Separator.restore(workdir)
    assert separator(np.zeros((800, 2), np.float32), 8000)["vocals"].shape == (800, 2)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_is_restored_predicts_as_what_was_trained(tiny_dataset, tmp_path, bidirectional):
    config = tiny_config(tiny_dataset, **{"model.bidirectional": bidirectional})
    workdir = epath.Path(tmp_path)
    summary = train_and_evaluate(config, workdir)
    best = checkpoints.find_checkpoint(workdir)
    assert checkpoints.read_metadata(best)["sdr"] == pytest.approx(summary["sdr"], abs=1e-4)


def test_an_interrupted_training_ends_with_the_same_parameters(tiny_dataset, tmp_path, monkeypatch):
    whole, parts = epath.Path(tmp_path / "whole"), epath.Path(tmp_path / "parts")
    train_and_evaluate(tiny_config(tiny_dataset), whole)
    report = train_lib._report

    def interrupt(step, *args):
        report(step, *args)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_lib, "_report", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(tiny_config(tiny_dataset), parts)
    train_and_evaluate(tiny_config(tiny_dataset), parts)
    jax.tree.map(np.testing.assert_array_equal, restored(whole, 6), restored(parts, 6))


def test_a_finished_training_is_not_trained_again(tiny_dataset, tmp_path):
    first = train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    assert train_and_evaluate(tiny_config(tiny_dataset), tmp_path) == first


def test_a_workdir_of_another_training_is_refused(tiny_dataset, tmp_path):
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    with pytest.raises(TrainingError, match=r"learning_rate 0.001, not 0.1"):
        train_and_evaluate(tiny_config(tiny_dataset, learning_rate=0.1), tmp_path)


def test_gradients_that_are_not_finite_leave_the_parameters_and_stop_the_run(
    tiny_dataset, tmp_path
):
    config = tiny_config(tiny_dataset, learning_rate=1e30, max_skipped_in_row=2)
    config.grad_clip_norm = float("inf")
    config.num_train_steps = 40
    with pytest.raises(TrainingError, match="not finite 2 steps in a row"):
        train_and_evaluate(config, tmp_path)
    for step in (tmp_path / "checkpoints").iterdir():
        leaves = jax.tree.leaves(restored(epath.Path(tmp_path), int(step.name)))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_a_batch_that_devices_cannot_share_is_refused(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(ValueError, match="use a multiple of 8"):
        train_and_evaluate(tiny_config(tiny_dataset), tmp_path)


def first_batches(dataset, **changes):
    fields = {"batch_size": 4, "crop_frames": 40, "gain_db": 6.0, "seed": 0, **changes}
    batches = train_batches(dataset, **fields)
    return [next(batches) for _ in range(3)]


def test_two_processes_share_the_batches_of_one(tiny_dataset):
    whole = first_batches(tiny_dataset)
    shares = [first_batches(tiny_dataset, process_index=i, process_count=2) for i in range(2)]
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
    names, frames = [], 0
    for tracks, batch in eval_batches(tiny_dataset, "validation", batch_size=2):
        names += tracks
        frames += int(batch["num_frames"].sum())
    assert len(names) == 4 and names.count("") == 1
    assert frames == tiny_dataset.stft.num_frames(5 * 8000)


def test_a_damaged_shard_stops_the_training_with_its_name(tiny_dataset, tmp_path):
    copy = tmp_path / "data"
    copy.mkdir()
    for file in epath.Path(tiny_dataset.path).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    shard = next(copy.glob("*train*"))
    content = bytearray(shard.read_bytes())
    for position in range(1000, len(content), 200_000):
        content[position] ^= 1
    shard.write_bytes(content)
    config = tiny_config(tiny_dataset, data_dir=str(copy))
    with pytest.raises(DataCorruptionError, match=shard.name):
        train_and_evaluate(config, tmp_path / "workdir")
