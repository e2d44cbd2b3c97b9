"""`train.py` as a user types it."""

import subprocess
import sys

import pytest
from etils import epath

from jaxsep.cli import train


def run_train(*arguments: str):
    command = [sys.executable, "train.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_data_set_that_is_not_there_is_an_error_of_one_line(tmp_path):
    result = run_train("--config=configs/mlp.py", f"--config.data_dir={tmp_path / 'nothing'}")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "no prepared data set" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config"),
        (("--config=configs/nothing.py",), "configs/nothing.py"),
        (("--config=configs/lstm.py:piano",), "configs/lstm.py:piano is unknown"),
        (("--config=configs/lstm.py", "--config.batchsize=3"), "batch_size"),
        (("--config=configs/lstm.py", "--config.batch_size=three"), "three"),
        (("--config=configs/lstm.py", "--config.batch_size=0"), "batch_size=0 must be"),
        (("--config=configs/lstm.py", "--config.loss=l3"), "loss='l3' is unknown"),
        (("--config=configs/mlp.py", "--config.model.hidden_size=-4"), "hidden_size=-4 must be"),
        (("--config=configs/mlp.py", "--config.seed=-1"), "seed=-1 must be from 0 to"),
        (("--config=configs/mlp.py", "--num_processes=2"), "belong together"),
        (("--config=configs/lstm.py", "song.mp3"), "song.mp3"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(tiny_dataset, tmp_path, arguments, message):
    data_dir = [f"--config.data_dir={tiny_dataset.path}"] if arguments else []
    result = run_train(*arguments, *data_dir, f"--workdir={tmp_path / 'workdir'}")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr
    assert not (tmp_path / "workdir").exists()


def test_names_are_safe_to_show(capsys):
    assert train.fail(2, "a\n\x1b[31m\udcff: no such folder") == 2
    assert capsys.readouterr().err == "train.py: a\\n\\x1b[31m\\udcff: no such folder\n"
    summary = dict.fromkeys(("seconds", "examples_per_second", "data_wait", "clipped"), 0.0)
    summary |= dict.fromkeys(("sdr", "sdr_mixture", "checkpoint"))
    summary |= {"ended": "finished", "steps": 1, "num_train_steps": 1, "skipped_steps": 0}
    summary["targets"] = ["vocals"]
    *_, picture = train.describe(summary, epath.Path("a\x1b\nb")).splitlines()
    assert picture == "picture: a\\x1b\\nb/spectrograms.png"
