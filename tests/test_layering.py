"""Imports point one way, and light parts stay light."""

import subprocess
import sys

import pytest

LIGHT = ("jaxsep", "jaxsep.cli", "jaxsep.records", "jaxsep.tfrecord", "jaxsep.audio_reader")
PREPARATION = ("musdb18", "stems_folder", "mir1k", "synthetic")


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


@pytest.mark.parametrize("module", [*LIGHT, *(f"data_prep.{name}" for name in PREPARATION)])
def test_it_needs_no_jax(module):
    assert "jax" not in modules_after(f"import {module}")


def test_nothing_below_train_lib_sees_a_config():
    names = "models, losses, optimizer, checkpoints, separator, input_pipeline, train_step"
    assert "ml_collections" not in modules_after(f"from jaxsep import {names}")


def test_importing_touches_no_device():
    statement = "import jaxsep.train_lib, jaxsep.separator, jax._src.xla_bridge as bridge"
    assert modules_after(f"{statement}; assert not bridge._backends")
