import json
import resource
import shutil
import signal

import jax
import numpy as np
import pytest
from etils import epath

from jaxsep import models, sharding
from jaxsep.data.records import DatasetError
from jaxsep.data.tfrecord import DataCorruptionError
from jaxsep.models import files
from jaxsep.models.files import ModelError
from jaxsep.models.load import load_model
from jaxsep.preparation.prepare import prepare
from jaxsep.separation.separator import Separator
from jaxsep.training import checkpoints, loop
from jaxsep.training.config_checks import ConfigError
from jaxsep.training.log import TrainLog
from jaxsep.training.loop import DivergenceError, train_and_evaluate
from jaxsep.training.losses import LOSSES
from jaxsep.training.validation import Scores
from jaxsep.training.workdir import WorkdirError, lock
from tests.helpers import raise_at_step, restored, tiny_band, tiny_config, tiny_settings


@pytest.fixture(scope="module")
def whole_training(tiny_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train_and_evaluate(tiny_config(tiny_dataset), folder)
    return restored(folder, 6)


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


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_is_restored_predicts_as_what_was_trained(tiny_dataset, tmp_path, bidirectional):
    config = tiny_config(tiny_dataset, **{"model.bidirectional": bidirectional})
    workdir = epath.Path(tmp_path)
    summary = train_and_evaluate(config, workdir)
    assert load_model(workdir).info.scores["sdr"] == pytest.approx(summary["sdr"], abs=1e-4)


@pytest.mark.parametrize("how", ["one Ctrl-C", "two Ctrl-C", "crash"])
@pytest.mark.parametrize("moment", [1, 3, 5, 6])
def test_an_interrupted_training_ends_with_the_same_parameters(
    whole_training, tiny_dataset, tmp_path, monkeypatch, how, moment
):
    assemble, calls = sharding.to_global_batch, []

    def disturb(batch, mesh):
        calls.append(batch)
        if len(calls) == moment:  # before a step is done, or in the validation after step 3
            if how == "crash":
                raise RuntimeError("killed")
            for _ in range(1 if how == "one Ctrl-C" else 2):
                signal.raise_signal(signal.SIGINT)
        return assemble(batch, mesh)

    # A shell's background jobs ignore Ctrl-C.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(sharding, "to_global_batch", disturb)
        if how == "one Ctrl-C":
            summary = train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
            assert summary["ended"] == "SIGINT" and summary["steps"] <= moment + 2
        else:
            with pytest.raises(RuntimeError if how == "crash" else KeyboardInterrupt):
                train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    signal.signal(signal.SIGINT, previous)
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, whole_training, restored(tmp_path, 6))


ALL_FEATURES = {
    "ema_decay": 0.9,
    "compute_dtype": "bfloat16",
    "grad_accum_steps": 2,
    "schedule": "constant",
    "plateau_patience": 1,
    "eval_every_steps": 1,
}


@pytest.mark.slow
def test_average_bfloat16_accumulation_and_plateau_survive_a_crash(
    tiny_dataset, tmp_path, monkeypatch
):
    config = tiny_config(tiny_dataset, learning_rate=0.3, **ALL_FEATURES)
    train_and_evaluate(config, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(sharding, "to_global_batch", raise_at_step(13))
        train_and_evaluate(config, tmp_path / "crashed")
    summary = train_and_evaluate(config, tmp_path / "crashed")
    whole, crashed = (restored(tmp_path / name, 6) for name in ("whole", "crashed"))
    jax.tree.map(np.testing.assert_array_equal, whole, crashed)
    assert summary["sdr"] == json.loads((tmp_path / "whole" / "summary.json").read_text())["sdr"]
    lines = (tmp_path / "crashed" / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line).get("train/learning_rate") for line in lines]
    assert min(rate for rate in rates if rate) < 0.3 - 1e-6  # there was a plateau


def scored(sdr: float) -> Scores:
    return Scores({"vocals": sdr}, {"vocals": 0.0})


def test_who_asks_hears_of_each_validation(tiny_dataset, tmp_path):
    config = tiny_config(tiny_dataset, "mlp", num_train_steps=5, eval_every_steps=2)
    heard = []
    train_and_evaluate(
        config, tmp_path, on_validation=lambda state, step: heard.append((int(state.step), step))
    )
    assert heard == [(2, 2), (4, 4), (5, 5)]


def test_training_stops_early_and_stays_stopped(tiny_dataset, tmp_path, monkeypatch):
    scores = iter([5.0, 4.0, 3.0])
    monkeypatch.setattr(loop, "validate", lambda *_, **__: scored(next(scores, 5.0)))
    config = tiny_config(tiny_dataset, "mlp", num_train_steps=9, early_stopping_patience=2)
    config.eval_every_steps = 1
    for _ in range(2):
        summary = train_and_evaluate(config, tmp_path)
        assert (summary["ended"], summary["steps"]) == ("stopped early", 3)
        assert summary["checkpoint"].endswith("checkpoints/1")


@pytest.mark.slow
def test_a_data_set_that_vanishes_stops_the_training_and_leaves_its_checkpoints(
    tiny_dataset, tmp_path, monkeypatch
):
    data, shard = copy_of(tiny_dataset, tmp_path / "data")
    assemble, calls = sharding.to_global_batch, []

    def vanish(batch, mesh):
        calls.append(batch)
        if len(calls) == 4:
            shard.unlink()
        return assemble(batch, mesh)

    monkeypatch.setattr(sharding, "to_global_batch", vanish)
    config = tiny_config(tiny_dataset, data_dir=str(data), num_train_steps=60)
    with pytest.raises(OSError, match=shard.name):
        train_and_evaluate(config, tmp_path / "workdir")
    assert load_model(tmp_path / "workdir").info.step == 3


@pytest.mark.slow
def test_a_full_disk_stops_the_training_and_leaves_its_checkpoints(
    whole_training, tiny_dataset, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(sharding, "to_global_batch", raise_at_step(7))
        train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # of each file
    try:
        with pytest.raises(OSError, match=r"metrics.jsonl|a checkpoint can't be saved"):
            train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, whole_training, restored(tmp_path, 6))


def test_a_line_cut_off_by_a_kill_is_ended(tiny_dataset, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/lo')
    train_and_evaluate(tiny_config(tiny_dataset, "mlp"), tmp_path)
    cut_off, *lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert cut_off == '{"step": 1, "train/lo' and json.loads(lines[0])["step"] == 1


def test_relative_workdirs_work(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_and_evaluate(tiny_config(tiny_dataset, "mlp"), "workdirs/mine")
    assert Separator.restore("workdirs/mine").stft == tiny_dataset.stft


def test_a_data_set_without_validation_trains_without_a_score(tmp_path):
    dataset = prepare(tiny_band(1), tmp_path / "data", tiny_settings(), workers=1)
    summary = train_and_evaluate(tiny_config(dataset, "mlp"), tmp_path / "workdir")
    assert summary["sdr"] is None and summary["validation_tracks"] == 0
    assert summary["checkpoint"].endswith("/6")
    assert load_model(tmp_path / "workdir").info.step == 6
    assert not (tmp_path / "workdir" / "model").exists()  # there is no best one
    assert (tmp_path / "workdir" / "spectrograms.png").exists()


def test_a_finished_training_is_not_trained_again(tiny_dataset, tmp_path):
    first = train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    assert train_and_evaluate(tiny_config(tiny_dataset), tmp_path) == first


def test_the_seconds_of_earlier_runs_count(tiny_dataset, tmp_path, monkeypatch):
    config = tiny_config(tiny_dataset, "mlp")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(TrainLog, "count_seconds", lambda log: setattr(log.totals, "seconds", 1e6))
        patch.setattr(sharding, "to_global_batch", raise_at_step(7))
        train_and_evaluate(config, tmp_path)
    assert 1e6 < train_and_evaluate(config, tmp_path)["seconds"] < 1e6 + 600


def test_a_workdir_of_another_training_is_refused(tiny_dataset, tmp_path):
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    with pytest.raises(WorkdirError, match=r"learning_rate 0\.001, not 0\.1"):
        train_and_evaluate(tiny_config(tiny_dataset, learning_rate=0.1), tmp_path)
    with pytest.raises(WorkdirError, match=r"\(model.hidden_size 8, not 16\)"):
        train_and_evaluate(tiny_config(tiny_dataset, **{"model.hidden_size": 16}), tmp_path)


def test_a_training_of_another_version_is_refused_and_still_separates(
    tiny_dataset, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", 1)
        train_and_evaluate(tiny_config(tiny_dataset, "mlp"), tmp_path)
    with pytest.raises(ModelError, match="another version of jaxsep began this training"):
        train_and_evaluate(tiny_config(tiny_dataset, "mlp"), tmp_path)
    assert load_model(tmp_path / "checkpoints" / "6").info.step == 6


def test_two_trainings_in_one_workdir_are_noticed(tiny_dataset, tmp_path):
    train_and_evaluate(tiny_config(tiny_dataset, "mlp"), tmp_path)
    with lock(epath.Path(tmp_path)), pytest.raises(WorkdirError, match="another training"):
        train_and_evaluate(tiny_config(tiny_dataset, "mlp"), tmp_path)
    train_and_evaluate(
        tiny_config(tiny_dataset, "mlp"), tmp_path
    )  # the lock is gone with its owner


def test_no_part_of_a_workdirs_path_is_taken_for_a_pattern(whole_training, tiny_dataset, tmp_path):
    workdir = tmp_path / "run[1]" / "{a,b}*?[!c]"
    train_and_evaluate(tiny_config(tiny_dataset), workdir)
    jax.tree.map(np.testing.assert_array_equal, whole_training, restored(workdir, 6))
    summary = train_and_evaluate(tiny_config(tiny_dataset), workdir)  # goes on from the end
    assert summary["steps"] == 6 and not list(workdir.glob("damaged-*"))


def test_a_training_starts_from_what_another_found(tiny_dataset, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    train_and_evaluate(tiny_config(tiny_dataset), first)
    config = tiny_config(tiny_dataset, start_from=str(first), learning_rate=1e-12)
    train_and_evaluate(config, second)
    found, kept = (load_model(path).variables for path in (first, second))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), kept, found)


def test_a_training_starts_from_the_same_masker_alone(tiny_dataset, tmp_path):
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path / "first")
    wider = {"start_from": str(tmp_path / "first"), "model.hidden_size": 16}
    with pytest.raises(ConfigError, match=r"another masker: params\..* has shape .*8.*, not .*16"):
        train_and_evaluate(tiny_config(tiny_dataset, **wider), tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_gradients_that_are_not_finite_leave_the_parameters_alone(
    tiny_dataset, tmp_path, monkeypatch
):
    monkeypatch.setitem(LOSSES, "broken", lambda masks, parts: masks.mean((2, 3, 4)) * np.nan)
    config = tiny_config(tiny_dataset, "mlp", loss="broken")
    train_and_evaluate(config, tmp_path)
    masker, trained, _ = load_model(tmp_path / "checkpoints" / "6")
    fresh = models.init(masker, jax.random.key(config.seed))
    jax.tree.map(np.testing.assert_array_equal, trained["params"], fresh["params"])


def test_gradients_that_stay_non_finite_stop_the_run(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(LOSSES, "broken", lambda masks, parts: masks.mean((2, 3, 4)) * np.inf)
    config = tiny_config(tiny_dataset, "mlp", loss="broken", max_failed_in_row=2)
    with pytest.raises(
        DivergenceError, match="2 updates failed in a row, until step 2: forward, the loss is not"
    ):
        train_and_evaluate(config, tmp_path)


def test_a_batch_that_devices_cannot_share_is_refused(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(ConfigError, match="use a multiple of 8"):
        train_and_evaluate(tiny_config(tiny_dataset), tmp_path)


def copy_of(dataset, folder):
    shutil.copytree(dataset.path, folder)
    return folder, next(folder.glob("*train*"))


def test_a_damaged_shard_stops_the_training_with_its_name(tiny_dataset, tmp_path):
    data, shard = copy_of(tiny_dataset, tmp_path / "data")
    content = bytearray(shard.read_bytes())
    for position in range(1000, len(content), 200_000):
        content[position] ^= 1
    shard.write_bytes(content)
    config = tiny_config(tiny_dataset, data_dir=str(data))
    with pytest.raises(DataCorruptionError, match=shard.name):
        train_and_evaluate(config, tmp_path / "workdir")


@pytest.mark.parametrize("size", [0, 1000])
def test_a_cut_off_shard_is_refused(tiny_dataset, tmp_path, size):
    data, shard = copy_of(tiny_dataset, tmp_path / "data")
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(DatasetError, match=f"{shard.name}: missing or cut off"):
        train_and_evaluate(tiny_config(tiny_dataset, data_dir=str(data)), tmp_path / "workdir")


def flip_a_byte(checkpoint):
    largest = max(checkpoint.rglob("d/*"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def cut_off(checkpoint):
    for file in checkpoint.rglob("training/**/d/*"):
        file.write_bytes(file.read_bytes()[:100])


def lose_half(checkpoint):
    shutil.rmtree(checkpoint / "model")


def change_a_digit(checkpoint):
    metadata = checkpoint / "metadata" / "metadata"
    metadata.write_text(metadata.read_text().replace('"clipped": ', '"clipped": 1'))


def empty_metadata(checkpoint):
    (checkpoint / "metadata" / "metadata").write_text("")


DAMAGES = [flip_a_byte, cut_off, lose_half, change_a_digit, empty_metadata]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    whole_training, tiny_dataset, tmp_path, caplog, damage
):
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    damage(tmp_path / "checkpoints" / "6")
    (tmp_path / "damaged-6" / "of an earlier time").mkdir(parents=True)
    caplog.clear()
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    assert "checkpoints/6" in caplog.text and "going on at step 3" in caplog.text
    assert (tmp_path / "damaged-6").is_dir()
    jax.tree.map(np.testing.assert_array_equal, whole_training, restored(tmp_path, 6))


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_across_interruptions(tiny_dataset, tmp_path, monkeypatch):
    scores = iter([5.0, 9.0, 7.0, 6.0, 8.0])
    monkeypatch.setattr(loop, "validate", lambda *_, **__: scored(next(scores)))
    config = tiny_config(tiny_dataset, "mlp", num_train_steps=8, eval_every_steps=2)
    monkeypatch.setattr(sharding, "to_global_batch", raise_at_step(7))
    with pytest.raises(RuntimeError):
        train_and_evaluate(config, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "validate", lambda *_, **__: scored(6.0))
    train_and_evaluate(config, tmp_path)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"4", "6", "8"}
    for source in ("", "model", "checkpoints/4"):
        model = load_model(tmp_path / source)
        assert (model.info.step, model.info.scores) == (4, {"sdr": 9.0})


@pytest.mark.parametrize("moment", ["in the first model", "in a model", "before its checkpoint"])
def test_a_kill_between_model_and_checkpoint_leaves_the_best_and_the_training_goes_on(
    whole_training, tiny_dataset, tmp_path, monkeypatch, caplog, moment
):
    scores = iter([5.0, 9.0])
    monkeypatch.setattr(loop, "validate", lambda *_, **__: scored(next(scores, 9.0)))
    killed_at = 3 if moment == "in the first model" else 6

    def save_and_die(folder, info, variables):
        if info.step < killed_at:
            files.save_model(folder, info, variables)
            return
        with monkeypatch.context() as patch:
            if moment != "before its checkpoint":
                patch.setattr(files, "write_json", lambda *_: None)
            files.save_model(folder, info, variables)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "save_model", save_and_die)
        train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    if moment == "in the first model":
        with pytest.raises(ModelError, match="model: no model in it"):
            load_model(tmp_path)
    elif moment == "in a model":
        assert load_model(tmp_path).info.step == 3
        assert "fails its checksum" in caplog.text and "checkpoints/3" in caplog.text
    else:
        assert load_model(tmp_path).info.scores == {"sdr": 9.0}
    scores = iter([5.0, 9.0] if killed_at == 3 else [9.0])
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    model = load_model(tmp_path / "model")
    assert (model.info.step, model.info.scores) == (6, {"sdr": 9.0})
    jax.tree.map(np.testing.assert_array_equal, model.variables, whole_training)


def test_without_any_sound_checkpoint_nothing_is_overwritten(tiny_dataset, tmp_path):
    train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    for checkpoint in (tmp_path / "checkpoints").iterdir():
        flip_a_byte(checkpoint)
    with pytest.raises(ModelError, match=r"6: .*3: .*no sound one is left"):
        train_and_evaluate(tiny_config(tiny_dataset), tmp_path)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"3", "6"}
