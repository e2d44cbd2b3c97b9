"""Ctrl-C while a program is still being imported."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Interrupts the import of one module.
INTERRUPTED = """
import runpy, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.argv = ["program"]
{run}
"""
PROGRAMS = {
    "jaxsep": ("jaxsep.cli.options", "import jaxsep.cli.main"),
    "train.py": ("jaxsep.cli.train", "runpy.run_path('train.py', run_name='__main__')"),
    "data_prep.musdb18": (
        "jaxsep.preparation.command",
        "runpy.run_module('data_prep.musdb18', run_name='__main__')",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="other exit codes")
@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_a_program_is_imported_is_one_line(program):
    module, run = PROGRAMS[program]
    code = INTERRUPTED.format(module=module, run=run)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr == "interrupted\n"
    assert ended.returncode == -signal.SIGINT  # shells say 130
