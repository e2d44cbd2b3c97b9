"""`train.py` as a user types it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest


def losses(dataset, workdir, devices: int) -> list[float]:
    command = [sys.executable, "train.py", "--config=configs/lstm.py", f"--workdir={workdir}"]
    command += [f"--config.data_dir={dataset.path}", "--config.batch_size=8"]
    command += ["--config.num_train_steps=5", "--config.log_every_steps=1"]
    command += ["--config.model.hidden_size=16", "--config.crop_frames=40"]
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **flags}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    return [line["train/loss"] for line in values if "train/loss" in line]


def test_one_and_eight_devices_give_the_same_losses(tiny_dataset, tmp_path):
    one, eight = (losses(tiny_dataset, tmp_path / str(n), n) for n in (1, 8))
    assert len(one) == 5
    np.testing.assert_allclose(one, eight, rtol=1e-5)


def run_train(*arguments: str):
    command = [sys.executable, "train.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_data_set_that_is_not_there_is_an_error_of_one_line(tmp_path):
    result = run_train("--config=configs/mlp.py", f"--config.data_dir={tmp_path / 'nothing'}")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "no prepared data set" in result.stderr


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
        (("--config=configs/lstm.py", "song.mp3"), "song.mp3"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(tiny_dataset, tmp_path, arguments, message):
    data_dir = [f"--config.data_dir={tiny_dataset.path}"] if arguments else []
    result = run_train(*arguments, *data_dir, f"--workdir={tmp_path / 'workdir'}")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr
    assert not (tmp_path / "workdir").exists()
