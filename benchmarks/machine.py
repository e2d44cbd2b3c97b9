"""The machine that a benchmark runs on, in words, and what a program takes of it."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """What a program took: time, and that of all its threads; its peak of memory, in bytes."""

    seconds: float
    cpu_seconds: float
    peak_memory: int


def run_module(*arguments: str) -> Usage:
    """Runs `python -m` in a process of its own; see `run_program`."""
    return run_program(sys.executable, "-m", *arguments)


def run_program(*command: str) -> Usage:
    """Runs a program, and waits for it and for the processes that it waits for.

    Raises:
      SystemExit: if it fails.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, process.returncode = time.perf_counter() - begun, os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed; run it by itself")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def clock(function: Callable[..., Any], *args: Any) -> float:
    """Returns the seconds that a call takes."""
    begun = time.perf_counter()
    function(*args)
    return time.perf_counter() - begun


def describe_machine() -> str:
    """Returns the processor's name and the number of its cores that can be used."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"
