"""Whoever reads the output may leave; that is no reason for a traceback."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arguments", [["stream", "--model={}"], ["health", "{}"]])
def test_a_closed_pipe_gives_code_1(tiny_workdir, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "jaxsep.cli"]
    command += [argument.format(tiny_workdir) for argument in arguments]
    samples = np.zeros((2 * 44_100, 2), np.float32).tobytes() if "stream" in arguments else b""
    try:
        result = subprocess.run(
            command, input=samples, stdout=writing, stderr=subprocess.PIPE, timeout=300
        )
    finally:
        os.close(writing)
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr and b"Exception ignored" not in result.stderr
