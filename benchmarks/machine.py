"""The machine that a benchmark runs on, in words."""

import os
import platform
import re
from pathlib import Path


def describe_machine() -> str:
    """Returns the processor's name and the number of its cores that can be used."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"
