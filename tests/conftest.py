"""Small data sets that several tests share."""

import os
import shutil
import sys
import tempfile
import types
import warnings
from pathlib import Path

import jax
import pytest
from etils import epath

from jaxsep import models
from jaxsep.collections.built_in_band import BuiltInBand
from jaxsep.preparation.prepare import prepare
from jaxsep.training.loop import train_and_evaluate
from tests.helpers import (
    TinyComplexMasker,
    Tones,
    prepare_waveforms,
    tiny_band,
    tiny_config,
    tiny_settings,
)

CACHE = "JAX_COMPILATION_CACHE_DIR"
# Most of the tests' time goes to compiling programs that run once.
COMPILE_QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def pytest_configure(config: pytest.Config) -> None:
    """Lets the tests, and the programs that they start, share what JAX compiles: half the time.

    But for the many small ones: with a limit, JAX looks at all that is kept before it adds to it.
    """
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers find the first one's
        os.environ[CACHE] = tempfile.mkdtemp(prefix="jaxsep-tests-")
        os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)  # with a limit, JAX locks it
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {COMPILE_QUICKLY}".strip()
        # An axis too few is a mistake more often than it is meant.
        os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
    jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
    jax.config.update("jax_compilation_cache_max_size", 2**30)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[CACHE], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def complex_masker():
    """A masker with complex masks, for all that must take any masker."""
    models.MASKERS["tiny_complex"] = TinyComplexMasker


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory):
    """Four songs of 5 seconds at 8 kHz: two train, one validates, one tests."""
    folder = tmp_path_factory.mktemp("band")
    return prepare(tiny_band(), folder / "data", tiny_settings(), workers=1)


@pytest.fixture(scope="session")
def magnitude_sets(tiny_dataset, tmp_path_factory: pytest.TempPathFactory):
    """Two data sets with different stems beside the vocals, and segments of other lengths."""
    settings = tiny_settings(targets=("vocals", "drums", "bass"), segment_frames=100)
    folder = tmp_path_factory.mktemp("magnitudes") / "data"
    other = BuiltInBand(4, seed=2, duration=5.0, sample_rate=8000)
    return tiny_dataset, prepare(other, folder, settings, workers=1)


@pytest.fixture(scope="session")
def waveform_sets(tmp_path_factory: pytest.TempPathFactory):
    """Two data sets with different stems beside the vocals, and segments of other lengths."""
    folder, stems = tmp_path_factory.mktemp("waveforms"), ("vocals", "drums", "bass")
    longer = tiny_settings(representation="waveform", targets=stems, segment_frames=150)
    other = Tones(stems, name="more", held_out="2", licence="CC0")
    return (
        prepare_waveforms(Tones(), folder / "one"),
        prepare(other, folder / "other", longer, workers=1),
    )


@pytest.fixture(scope="session")
def tiny_workdir(tiny_dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of two steps."""
    folder = tmp_path_factory.mktemp("training")
    train_and_evaluate(tiny_config(tiny_dataset, num_train_steps=2), epath.Path(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real music beside the checkout, where there is any."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real music at {folder}")
    return folder


@pytest.fixture
def openunmix_package(monkeypatch):
    """The package, with its PyTorch."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    # It is imported for reading files and for resampling.
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("openunmix.model", reason="openunmix is not installed")
