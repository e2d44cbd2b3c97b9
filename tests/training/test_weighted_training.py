"""Trainings on several data sets: one way for magnitudes and waveforms, interrupted or not."""

import json

import jax
import numpy as np
import pytest

from jaxsep import models, sharding
from jaxsep.cli import train
from jaxsep.data.records import DatasetError
from jaxsep.data.tfrecord import RecordSource
from jaxsep.data.training_data import TrainingData
from jaxsep.models.load import load_model
from jaxsep.training import failed_steps
from jaxsep.training.loop import train_and_evaluate
from jaxsep.training.setup import set_up
from jaxsep.training.statistics import mixture_statistics
from jaxsep.training.workdir import WorkdirError, claim
from tests.helpers import (
    TINY_STFT,
    raise_at_step,
    restored,
    tiny_config,
)


def weighted_config(sets, weights=(2, 1), recipe="lstm", **changes):
    named = [f"{dataset.path}:{weight}" for dataset, weight in zip(sets, weights, strict=True)]
    return tiny_config(sets[0], recipe, **{"data_dir": ",".join(named), **changes})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("magnitude_sets", {}),
        ("waveform_sets", {}),
        pytest.param(
            "waveform_sets",
            {"mix_on_device": True, "stft.hop_length": 32},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_training_ends_with_the_same_parameters(
    request, tmp_path, monkeypatch, kind, changes
):
    sets = request.getfixturevalue(kind)
    config = weighted_config(sets, checkpoint_every_steps=2, **changes)
    train_and_evaluate(config, tmp_path / "whole")
    batches = 0
    if "stft.hop_length" in changes:  # the first batches are those of the statistics
        records = [record for dataset in sets for record in dataset.stem_records("train")]
        batches = sum(record.stem == "vocals" for record in records)
    with monkeypatch.context() as patch:
        patch.setattr(sharding, "to_global_batch", raise_at_step(batches + 5))
        with pytest.raises(RuntimeError, match="killed"):
            train_and_evaluate(config, tmp_path / "cut")
    summary = train_and_evaluate(config, tmp_path / "cut")
    whole, cut = (restored(tmp_path / name, 6) for name in ("whole", "cut"))
    jax.tree.map(np.testing.assert_array_equal, whole, cut)
    assert np.isfinite(summary["sdr"])
    assert summary["validation_tracks"] == sum(one.num_tracks("validation") for one in sets)


def test_a_model_names_all_that_it_was_trained_on(waveform_sets, tmp_path):
    summary = train_and_evaluate(weighted_config(waveform_sets, num_train_steps=1), tmp_path)
    assert summary["data_set"] == "tones:2,more:1"
    info = load_model(tmp_path).info
    assert info.data_set["name"] == "tones:2,more:1"
    for place, dataset in enumerate(waveform_sets):
        named = {"name": ("tones", "more")[place], "licence": ("free", "CC0")[place]}
        named |= {"manifest_sha256": dataset.manifest_sha256, "weight": (2, 1)[place]}
        assert info.data_set["sets"][place] == named
    assert info.training["data_dir"] == "one:2,other:1"


def test_a_workdir_is_that_of_its_data_sets_and_weights(waveform_sets, tmp_path):
    def identity(sets, *weights):
        return set_up(weighted_config(sets, weights, "mlp")).identity

    claim(tmp_path, identity(waveform_sets, 2, 1))
    claim(tmp_path, identity(waveform_sets, 4, 2))
    with pytest.raises(WorkdirError, match=r"data_set_weights \[2, 1\], not \[1, 1\]\)"):
        claim(tmp_path, identity(waveform_sets, 1, 1))
    with pytest.raises(WorkdirError, match="data_set_sha256"):
        claim(tmp_path, identity(waveform_sets[::-1], 2, 1))
    alone = set_up(tiny_config(waveform_sets[0], "mlp")).identity
    assert alone["data_set_sha256"] == waveform_sets[0].manifest_sha256
    assert identity(waveform_sets[:1], 2) == alone  # as ever, for workdirs of before


def test_statistics_are_the_weighted_mean(waveform_sets, magnitude_sets):
    masker = models.create("mlp", TINY_STFT, targets=["vocals"])
    for sets in (waveform_sets, magnitude_sets):
        one, other = (dataset.statistics()["mean"] for dataset in sets)
        found = mixture_statistics(TrainingData(sets, (3, 1)), masker)
        np.testing.assert_allclose(found["mean"], 0.75 * one + 0.25 * other, rtol=1e-6)
        for name, value in mixture_statistics(TrainingData(sets[:1]), masker).items():
            np.testing.assert_array_equal(value, sets[0].statistics()[name])


@pytest.mark.parametrize("kind", ["magnitude_sets", "waveform_sets"])
def test_the_report_of_a_step_names_examples_of_any_data_set(request, tmp_path, kind):
    sets = request.getfixturevalue(kind)
    config = weighted_config(sets, (1, 1), "mlp", num_train_steps=1)
    setup = set_up(config)
    failed_steps.investigate(tmp_path, setup, setup.state, 1, next(setup.batches(0)))
    report = json.loads((tmp_path / "failed_steps" / "1" / "report.json").read_text())
    records = TrainingData(sets).records("train")
    for example, dataset, numbers in zip(report["examples"], sets, records, strict=True):
        own = RecordSource(dataset.shards("train"))[example["record"] - numbers.start]
        stored = dataset.codec.decode(own)
        assert example["track"] == stored["track"]
        assert 0 <= example["start"] - stored["start"] < 2.0


def test_the_command_takes_several_data_sets_and_names_the_folder_after_them(
    magnitude_sets, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    config = weighted_config(magnitude_sets, recipe="mlp", num_train_steps=1)
    assert train.report_errors(lambda: train.train(config, None)) == 0
    names = "-".join(dataset.path.name for dataset in magnitude_sets)
    assert (tmp_path / "workdirs" / f"mlp-{names}" / "summary.json").exists()
    config.data_dir = f"{magnitude_sets[0].path}:2,{tmp_path / 'nothing'}:1"
    capsys.readouterr()
    assert train.report_errors(lambda: train.train(config, None)) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "nothing: no prepared data set here" in errors


def test_a_target_that_one_data_set_lacks_is_refused(waveform_sets, magnitude_sets, tmp_path):
    for sets in (waveform_sets, magnitude_sets):
        config = weighted_config(sets, recipe="mlp", targets="vocals,drums")
        with pytest.raises(DatasetError, match="can't train 'drums', but vocals, accompaniment"):
            train_and_evaluate(config, tmp_path / "workdir")
