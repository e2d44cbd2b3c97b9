"""What `jaxsep health` reads and prints."""

import json
import math

import pytest
from etils import epath

from jaxsep.training import health_report
from jaxsep.training.health_report import NoMetricsError, layers_at, read_metrics


def test_of_a_step_that_was_repeated_the_last_number_counts(tmp_path):
    lines = [{"step": 1, "a": 1.0, "b": 2.0}, {"step": 2, "a": 3.0}, {"step": 1, "a": None}]
    cut_off = '{"step": 3, "a'
    text = "\n".join([*map(json.dumps, lines[:2]), "[]", '{"a": 1}', json.dumps(lines[2]), cut_off])
    (tmp_path / "metrics.jsonl").write_text(text)
    found = read_metrics(epath.Path(tmp_path))
    assert math.isnan(found[1].pop("a")) and found == {1: {"b": 2.0}, 2: {"a": 3.0}}
    with pytest.raises(NoMetricsError, match=r"no metrics\.jsonl in it; give the workdir"):
        read_metrics(epath.Path(tmp_path / "elsewhere"))


def test_numbers_belong_to_their_layer_in_order():
    numbers = {"health/b/in_max": 1.0, "train/loss": 9.0, "health/a/dead": 0.5, "health/b/dead": 0}
    found = layers_at(numbers)
    assert list(found.items()) == [("b", {"in_max": 1.0, "dead": 0}), ("a", {"dead": 0.5})]
    assert layers_at({"train/loss": 9.0}) == {}


def test_the_latest_step_and_the_best_score_are_told(capsys):
    last = {"loss": 0.25, "grad_norm": 1.5, "learning_rate": 1e-3, "clipped": 0.5, "skipped": 0.0}
    steps = {
        1: {"train/loss": 0.5, "validation/sdr": 3.0},
        30: {"validation/sdr": 2.0},
        20: {f"train/{name}": value for name, value in last.items()},
    }
    health_report.print_metrics(steps)
    assert capsys.readouterr().out.splitlines() == [
        "step 20: loss 0.25, gradient norm 1.5, learning rate 0.001;"
        " since the line before: clipped 50.0%, skipped 0.0%",
        "validation: 2.00 dB SDR at step 30, best 3.00 dB at step 1",
    ]
    health_report.print_metrics({1: {"health/a/dead": 0.5}})
    assert not capsys.readouterr().out


def test_layers_are_rows_and_what_is_conspicuous_is_said_below(capsys):
    sound = {"in_rms": 1.0, "in_max": 2.0, "grad_norm": 1.0, "param_norm": 30.0}
    sick = {"dead": 0.75, "saturated": 0.95, "update_ratio": 0.5, "grad_norm": 0.0}
    health_report.print_layers({"dense_1": {**sound, "dead": 0.5}}, "step 1")
    shown = capsys.readouterr().out
    assert shown.startswith("step 1") and "conspicuous" not in shown
    [row] = [line.split() for line in shown.splitlines() if "dense_1" in line]
    assert row == ["dense_1", "1", "/", "2", "50%", "1", "30"]
    health_report.print_layers({"dense_1": sound, "mask": sick}, "step 1")
    *_, last = capsys.readouterr().out.splitlines()
    found = "most ReLUs dead, saturated, updates too large, no gradient"
    assert last == f"  mask: {found}"
    health_report.print_layers({"mask": {"out_max": math.inf}}, "step 1")
    assert capsys.readouterr().out.splitlines()[-1] == "  mask: not finite"
