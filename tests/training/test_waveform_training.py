import jax
import numpy as np
import pytest
from etils import epath

from jaxsep.data.records import DatasetError
from jaxsep.preparation.prepare import prepare
from jaxsep.training.config_checks import ConfigError
from jaxsep.training.loop import train_and_evaluate
from tests.helpers import (
    Tones,
    prepare_waveforms,
    raise_at_step,
    restored,
    tiny_band,
    tiny_config,
    tiny_settings,
)


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    return prepare_waveforms(tiny_band(), tmp_path_factory.mktemp("band") / "data")


def test_an_interrupted_training_on_waveforms_ends_with_the_same_parameters(
    band, tmp_path, monkeypatch
):
    config = tiny_config(band, health_every_steps=2, checkpoint_every_steps=2)
    summary = train_and_evaluate(config, epath.Path(tmp_path / "whole"))
    assert np.isfinite(summary["sdr"]) and (tmp_path / "whole" / "spectrograms.png").exists()
    with monkeypatch.context() as patch:
        patch.setattr("jaxsep.sharding.to_global_batch", raise_at_step(6))
        with pytest.raises(RuntimeError, match="killed"):
            train_and_evaluate(config, epath.Path(tmp_path / "cut"))
    train_and_evaluate(config, epath.Path(tmp_path / "cut"))
    found = [restored(tmp_path / name, 6) for name in ("whole", "cut")]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_validation_without_vocals_is_refused_before_the_first_step(tmp_path):
    dataset = prepare_waveforms(Tones(held_out="accompaniment-3"), tmp_path / "data")
    with pytest.raises(DatasetError, match="nothing in validation has the stem 'vocals'"):
        train_and_evaluate(tiny_config(dataset), epath.Path(tmp_path / "workdir"))
    assert not (tmp_path / "workdir" / "metrics.jsonl").exists()


@pytest.mark.parametrize(("field", "value"), [("speed", 3.0), ("paired", 1.5), ("max_db", -20.0)])
def test_mixing_that_makes_no_sense_is_refused(band, tmp_path, field, value):
    config = tiny_config(band)
    config.mixing[field] = value
    with pytest.raises(ConfigError, match=f"mixing.{field}"):
        train_and_evaluate(config, epath.Path(tmp_path))


@pytest.mark.slow
def test_training_is_the_same_with_stems_in_the_memory_of_the_device(band, tmp_path):
    config = tiny_config(band)
    for name, on_device in (("files", False), ("memory", True)):
        config.mix_on_device = on_device
        train_and_evaluate(config, epath.Path(tmp_path / name))
    found = [restored(tmp_path / name, 6)["params"] for name in ("files", "memory")]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), *found)


def test_magnitudes_cannot_be_mixed_on_the_device(tmp_path):
    dataset = prepare(tiny_band(), tmp_path / "data", tiny_settings(), workers=1)
    with pytest.raises(ConfigError, match="mix_on_device needs a data set made with"):
        train_and_evaluate(tiny_config(dataset, mix_on_device=True), epath.Path(tmp_path / "w"))
