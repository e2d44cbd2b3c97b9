"""Small data sets that several tests share."""

import importlib
import os
import shutil
import tempfile
from pathlib import Path

import jax
import pytest
from etils import epath

from data_prep.segments import Settings
from data_prep.synthetic import BuiltInBand
from data_prep.write_dataset import prepare
from jaxsep.stft_config import StftConfig
from jaxsep.train_lib import train_and_evaluate

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """Lets the tests, and the programs that they start, share what JAX compiles: half the time.

    But for the many small ones: with a limit, JAX looks at all that is kept before it adds to it.
    """
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers find the first one's
        os.environ[CACHE] = tempfile.mkdtemp(prefix="jaxsep-tests-")
        os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)  # with a limit, JAX locks it
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
    jax.config.update("jax_compilation_cache_max_size", 2**30)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[CACHE], ignore_errors=True)


TINY_STFT = StftConfig(sample_rate=8000, channels=2, n_fft=256, hop_length=64)


def tiny_band(num_tracks: int = 4) -> BuiltInBand:
    return BuiltInBand(num_tracks, seed=1, duration=5.0, sample_rate=8000)


def tiny_settings(**changes) -> Settings:
    fields = {
        "stft": TINY_STFT,
        "targets": ("vocals", "accompaniment"),
        "segment_frames": TINY_STFT.frames_in(2.0),
        "remixes": 0,
        "seed": 0,
    }
    return Settings(**{**fields, **changes})


def tiny_config(dataset, recipe: str = "lstm", **changes):
    config = importlib.import_module(f"configs.{recipe}").get_config()
    config.update(
        data_dir=str(dataset.path), num_train_steps=6, batch_size=2, crop_frames=32, warmup_steps=1
    )
    config.update(eval_every_steps=3, log_every_steps=1)
    config.model.hidden_size = 8
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory):
    """Four songs of 5 seconds at 8 kHz: two train, one validates, one tests."""
    folder = tmp_path_factory.mktemp("band")
    return prepare(tiny_band(), folder / "data", tiny_settings(), workers=1)


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
