"""The numbers of a training, written with a clock that the tests turn."""

import json
import types
from pathlib import Path

import pytest
from etils import epath
from tensorboardX.proto import event_pb2

from jaxsep.training import log as log_module
from jaxsep.training.log import METRICS, Totals, TrainLog


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=1000.0, monotonic=lambda: clock.now, time=lambda: clock.now)
    monkeypatch.setattr(log_module, "time", clock)
    return clock


def make(folder, totals=None, **changes) -> TrainLog:
    fields = {"step": 0, "num_steps": 10, "batch_size": 4, "every": 2, "active": True, **changes}
    return TrainLog(epath.Path(folder), totals or Totals(), **fields)


def numbers(clipped=0.0, skipped=0.0, loss=0.5):
    names = {"loss": loss, "grad_norm": 2.0, "learning_rate": 0.1}
    return {**names, "clipped": clipped, "skipped": skipped, "failed_in_row": 0}


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / METRICS).read_text().splitlines()]


def test_a_line_tells_the_shares_since_the_line_before(tmp_path, clock):
    log = make(tmp_path)
    for step in range(1, 5):
        with log.waiting():
            clock.now += 0.5
        clock.now += 1.5
        log.add(step, numbers(clipped=step > 2, skipped=step == 3, loss=step / 4))
    log.close()
    first, second, third = lines(tmp_path)
    assert [line["step"] for line in (first, second, third)] == [1, 2, 4]
    assert "train/examples_per_second" not in first  # the first step of a run compiles
    assert (second["train/examples_per_second"], second["train/data_wait"]) == (2.0, 0.25)
    assert (second["train/clipped"], second["train/skipped"]) == (0.0, 0.0)
    assert (third["train/clipped"], third["train/skipped"]) == (1.0, 0.5)
    names = ("loss", "grad_norm", "learning_rate", "examples_per_second", "data_wait")
    assert [third[f"train/{name}"] for name in names] == [1.0, 2.0, 0.1, 2.0, 0.25]
    totals = log.totals
    assert (totals.clipped, totals.skipped, totals.timed_steps) == (2, 1, 3)
    assert (totals.step_seconds, totals.data_wait_seconds) == (6.0, 1.5)


def test_what_is_no_step_takes_no_time_of_the_steps(tmp_path, clock):
    log = make(tmp_path)
    log.add(1, numbers())
    with log.paused():
        clock.now += 100
    clock.now += 1
    log.add(2, numbers())
    log.close()
    assert log.totals.step_seconds == 1.0
    log.count_seconds()
    assert log.totals.seconds == 101.0


def test_a_later_run_goes_on_counting(tmp_path, clock):
    totals = Totals(seconds=50.0, timed_steps=7, step_seconds=9.0, clipped=3, skipped=2)
    log = make(tmp_path, totals, step=8)
    clock.now += 5
    log.add(9, numbers(clipped=1.0))
    clock.now += 2
    log.add(10, numbers())
    log.count_seconds()
    log.close()
    assert totals == Totals(seconds=57.0, timed_steps=8, step_seconds=11.0, clipped=4, skipped=2)
    [line] = lines(tmp_path)
    assert (line["step"], line["train/clipped"]) == (10, 0.5)


def test_what_is_not_finite_is_null(tmp_path, clock):
    log = make(tmp_path)
    log.write(3, {"a": float("nan"), "b": float("inf"), "c": 1})
    log.write_health(4, {"dense_1": {"in_max": 2.0}, "mask": {"dead": 0.5}})
    log.close()
    assert lines(tmp_path) == [
        {"step": 3, "a": None, "b": None, "c": 1.0},
        {"step": 4, "health/dense_1/in_max": 2.0, "health/mask/dead": 0.5},
    ]


def events(folder) -> list[tuple[int, str, float]]:
    """Reads what TensorBoard would show."""
    found = []
    for file in Path(folder).glob("events*"):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            data = data[16 + size :]
    return found


def test_tensorboard_has_what_was_written_after_half_a_minute_or_when_asked(tmp_path, clock):
    log = make(tmp_path)
    log.write(1, {"a": 0.5})
    assert not events(tmp_path)
    clock.now += 31
    log.write(2, {"a": 0.25})
    assert events(tmp_path) == [(1, "a", 0.5), (2, "a", 0.25)]
    log.write(3, {"a": 2.0})
    log.sync()
    assert events(tmp_path)[2:] == [(3, "a", 2.0)]
    log.close()


def test_other_processes_write_nothing(tmp_path, clock):
    log = make(tmp_path, active=False)
    log.add(1, numbers(skipped=1.0))
    log.sync()
    log.close()
    assert not list(tmp_path.iterdir()) and log.totals.skipped == 1


def test_on_a_bucket_the_lines_of_earlier_runs_stay(tmp_path, clock, monkeypatch):
    bucket, local = tmp_path / "bucket", tmp_path / "local"
    bucket.mkdir()
    monkeypatch.setattr(log_module, "is_remote", lambda path: path == epath.Path(bucket))
    monkeypatch.setattr(log_module.tempfile, "mkdtemp", lambda: local.mkdir() or str(local))
    for step in (1, 2):
        log = make(bucket)
        log.write(step, {"a": step})
        assert len(lines(bucket) if (bucket / METRICS).exists() else []) == step - 1
        log.sync()
        assert [line["step"] for line in lines(bucket)] == [1, 2][:step]
        log.close()
        assert not local.exists()
    assert (2, "a", 2.0) in events(bucket)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, clock, monkeypatch):
    log = make(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._board, "write_event", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.jsonl'"):
        log.write(1, {"a": 1.0})
    monkeypatch.undo()
    log.close()
