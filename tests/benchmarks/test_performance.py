import argparse
import json

import numpy as np
import pytest

from benchmarks import ideas, performance, roofline, unseen
from benchmarks.table import Table
from jaxsep import models
from jaxsep.data.mixing import Mixing
from jaxsep.stft_config import StftConfig
from jaxsep.training.losses import Loss
from tests.helpers import RATE, Tones, prepare_waveforms


def test_every_command_has_its_place_in_the_page():
    page = performance.PAGE.read_text()
    for name in performance.COMMANDS:
        page = performance.fill(page, name, f"table of {name}")
    for name in performance.COMMANDS:
        assert f"<!-- {name} -->\n\ntable of {name}\n\n<!-- end -->" in page
    assert page.count("<!-- end -->") == len(performance.COMMANDS)


def test_a_table_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="no place for 'step'"):
        performance.fill("a page", "step", "a table")


def test_a_table_is_there_for_people_and_for_programs(capsys):
    with Table("layers", "ratio", about="3 rounds") as table:
        table.row("LSTM 1", 1.23456)
    printed = capsys.readouterr().out
    assert "| LSTM 1 | 1.23 |" in performance.without_json(printed)
    assert "1.23456" not in performance.without_json(printed)
    assert json.loads(printed.splitlines()[-1])["rows"] == [{"layers": "LSTM 1", "ratio": 1.23456}]


def test_every_idea_is_another_training_that_can_run():
    args = argparse.Namespace(
        data="DATA", steps=300, frames=128, batch=16, layers=None, on_device=False
    )
    configs = {
        idea: ideas.make_config(args, StftConfig(), change) for idea, change in ideas.IDEAS.items()
    }
    assert len({config.to_json(sort_keys=True) for config in configs.values()}) == len(configs)
    for config in configs.values():
        models.create(stft=StftConfig(), **config.model)
        Mixing(**config.mixing)
        Loss(config.loss)


def test_a_steps_operations_are_those_of_its_products():
    class Weight:
        def __init__(self, *shape):
            self.ndim, self.size = len(shape), shape[0] * shape[-1] if len(shape) > 1 else shape[0]

    params = {"dense_1": {"kernel": Weight(10, 4), "bias": Weight(4)}, "mask": Weight(4, 5)}
    # First layer: forward and the weights' gradient; the other one: its input's gradient as well.
    expected = 2 * roofline.BATCH * roofline.FRAMES * (2 * 40 + 3 * 20)
    assert roofline.step_operations(params) == expected


def test_unseen_vocals_and_accompaniments_are_those_of_validation(tmp_path):
    dataset = prepare_waveforms(Tones(), tmp_path / "data")  # validation sounds at 1,200 Hz
    for singers, players in ((unseen.SEEN, unseen.UNSEEN), (unseen.UNSEEN, unseen.SEEN)):
        batch = next(unseen.mixtures(dataset, singers, players, speed=1.0))
        spectra = np.abs(np.fft.rfft(batch["stems"][..., 0]))  # [batch, 2, bins]
        hertz = np.argmax(spectra, axis=-1) * RATE / batch["stems"].shape[2]
        splits = np.where(hertz > 1050, unseen.UNSEEN, unseen.SEEN)
        assert (splits == [singers, players]).all()
        vocals, accompaniment = np.moveaxis(np.square(batch["stems"]).sum(axis=(2, 3)), 1, 0)
        decibels = 10 * np.log10(vocals / accompaniment)
        assert (decibels > -12.01).all() and (decibels < 6.01).all() and np.ptp(decibels) > 6
