"""Whoever reads the output may leave; that is no reason for a traceback."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def run_into_closed_pipe(command: list[str], sound: bytes = b"") -> subprocess.CompletedProcess:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, *command],
            input=sound,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=300,
        )
    finally:
        os.close(writing)


def test_a_stream_into_a_closed_pipe_gives_code_1(tiny_workdir):
    samples = np.zeros((2 * 44_100, 2), np.float32).tobytes()
    command = ["-m", "jaxsep.cli", "stream", f"--model={tiny_workdir}"]
    result = run_into_closed_pipe(command, samples)
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr and b"Exception ignored" not in result.stderr


def test_a_report_into_a_closed_pipe_gives_code_1():
    program = "from jaxsep.cli import main; main._run = print; raise SystemExit(main.main(['x']))"
    result = run_into_closed_pipe(["-c", program])
    assert (result.returncode, result.stderr) == (1, b"")
