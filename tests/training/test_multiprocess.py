"""One device, eight devices, two processes: the same training (`train.py` as a user starts it)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from jaxsep.models.load import load_model
from jaxsep.preparation.prepare import prepare
from tests.helpers import tiny_band, tiny_settings

pytestmark = pytest.mark.slow

DEVICES = "--xla_force_host_platform_device_count"


def start(
    dataset, workdir, *, devices: int = 1, processes: int = 1, recipe: str = "lstm", **fields
):
    """Starts a training and returns its processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    fields = {"num_train_steps": 50, "batch_size": 8, "log_every_steps": 1, **fields}
    fields |= {"data_dir": dataset.path, "model.hidden_size": 16, "crop_frames": 40}
    command = [sys.executable, "train.py", f"--config=configs/{recipe}.py", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{DEVICES}={devices}"}
    cluster = [f"--coordinator_address=localhost:{port}", f"--num_processes={processes}"]
    return [
        subprocess.Popen(
            command + ([*cluster, f"--process_id={i}"] if processes > 1 else []),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(processes)
    ]


def finish(processes) -> list[str]:
    """Waits for a training and returns what its processes printed."""
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    return printed


def logged(workdir, name: str = "train/loss") -> dict[int, float]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[name] for line in lines if name in line}


def arrays(workdir, step: int):
    variables = load_model(workdir / "checkpoints" / str(step)).variables
    return jax.tree.map(np.asarray, variables)


@pytest.fixture(scope="module")
def alone(tiny_dataset, tmp_path_factory):
    """50 steps of one process with one device."""
    workdir = tmp_path_factory.mktemp("alone")
    finish(start(tiny_dataset, workdir))
    return workdir


HARDWARE = [{"devices": 8}, {"devices": 2, "processes": 2, "grad_accum_steps": 2}]


@pytest.mark.parametrize("hardware", HARDWARE, ids=str)
def test_other_hardware_gives_the_same_losses(alone, tiny_dataset, tmp_path, hardware):
    finish(start(tiny_dataset, tmp_path, **hardware))
    one, other = logged(alone), logged(tmp_path)
    assert list(one) == list(other) == list(range(1, 51))
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-5)
    scores = [logged(workdir, "validation/sdr")[50] for workdir in (alone, tmp_path)]
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_eight_devices_draw_the_same_from_several_data_sets(tiny_dataset, tmp_path):
    settings = tiny_settings(targets=("vocals", "drums"))
    other = prepare(tiny_band(2), tmp_path / "other", settings, workers=1)
    data = types.SimpleNamespace(path=f"{tiny_dataset.path}:2,{other.path}:1")
    for devices in (1, 8):
        finish(start(data, tmp_path / f"{devices}", devices=devices, num_train_steps=10))
    one, other = (logged(tmp_path / name) for name in "18")
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-5)


def test_eight_devices_normalise_by_the_whole_batch_and_drop_the_same(tiny_dataset, tmp_path):
    fields = {"recipe": "openunmix", "num_train_steps": 10, "model.low_bins": 100}
    for devices in (1, 8):
        finish(start(tiny_dataset, tmp_path / f"{devices}", devices=devices, **fields))
    one, other = (logged(tmp_path / name) for name in "18")
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-5)


def wait_for_step(workdir, step: int) -> None:
    deadline = time.monotonic() + 300
    while not (workdir / "metrics.jsonl").exists() or step not in logged(workdir):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_preemption_of_one_process_stops_both_at_one_step_and_one_process_goes_on(
    alone, tiny_dataset, tmp_path
):
    processes = start(tiny_dataset, tmp_path, processes=2)
    wait_for_step(tmp_path, 5)
    processes[1].send_signal(signal.SIGTERM)
    printed, _ = finish(processes)
    saved = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert len(saved) == 1 and 5 <= saved[0] < 50
    assert f"SIGTERM after {saved[0]} of 50 steps" in printed

    stopped = arrays(tmp_path, saved[0])
    [printed] = finish(start(tiny_dataset, tmp_path, num_train_steps=50))
    assert f"going on at step {saved[0]}" in printed
    assert "2 process(es) with 2 device(s) left them; now 1 and 1" in printed
    jax.tree.map(np.testing.assert_array_equal, stopped, arrays(tmp_path, saved[0]))
    one, other = logged(alone), logged(tmp_path)
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-5)
