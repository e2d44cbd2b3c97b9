"""What a config may say; and the little that is decided by it before the first step."""

import contextlib

import numpy as np
import pytest

from jaxsep.training.config_checks import ConfigError
from jaxsep.training.setup import set_up
from tests.helpers import tiny_config


@pytest.mark.parametrize(
    ("names", "allowed", "refused"),
    [
        (("learning_rate", "grad_clip_norm"), (1e-9, 1e9), (0.0, -1.0, np.nan)),
        (("weight_decay",), (0.0, 1.0), (-1e-9,)),
        (("seed", "warmup_steps", "plateau_patience", "early_stopping_patience"), (0, 1), (-1,)),
        (("num_train_steps", "max_failed_in_row"), (1, 2), (0, -1)),
        (("log_every_steps", "eval_every_steps"), (1, 2), (0, -1)),
        (("checkpoint_every_steps", "health_every_steps"), (1, 2), (0, -1)),
        (("batch_size", "grad_accum_steps"), (1, 2), (0, -1)),
        (("ema_decay", "plateau_factor"), (0.0, 0.999), (-0.1, 1.0)),
        (("crop_frames",), (None, 1, 10**6), (0, -1)),
    ],
)
def test_numbers_that_no_training_can_have_are_refused(tiny_dataset, names, allowed, refused):
    for name in names:
        for value in allowed:
            set_up_to_the_loss(tiny_config(tiny_dataset, **{name: value}))
        for value in refused:
            with pytest.raises(ConfigError, match=f"^{name}={value} must be "):
                set_up(tiny_config(tiny_dataset, **{name: value}))


def set_up_to_the_loss(config) -> None:
    """Checks the numbers and goes no further."""
    config.loss = "none"
    with pytest.raises(ConfigError, match="loss='none' is unknown; use one of"):
        set_up(config)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_must_be_divisible_into_its_parts(tiny_dataset, parts):
    words = f"by 1 devices times grad_accum_steps={parts}; use a multiple of {parts}"
    with pytest.raises(ConfigError, match=f"batch_size=7 is not divisible {words}"):
        set_up(tiny_config(tiny_dataset, batch_size=7, grad_accum_steps=parts))
    set_up_to_the_loss(tiny_config(tiny_dataset, batch_size=8, grad_accum_steps=parts))


def test_parts_of_a_batch_do_not_know_the_others_statistics(tiny_dataset):
    for fields in ({"recipe": "openunmix", "model.low_bins": 100},):
        with pytest.raises(ConfigError, match="grad_accum_steps=2 must be 1 for"):
            set_up(tiny_config(tiny_dataset, grad_accum_steps=2, **fields))


@pytest.mark.parametrize("crop_frames", [None, 5, 10**6])
def test_a_crop_is_no_longer_than_a_segment(tiny_dataset, crop_frames):
    segment = tiny_dataset.manifest["settings"]["segment_frames"]
    setup = set_up(tiny_config(tiny_dataset, "mlp", crop_frames=crop_frames))
    with contextlib.closing(setup.batches(0)) as batches:
        batch = next(batches)
    assert batch["mixture"].shape[:2] == (2, min(crop_frames or segment, segment))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": "Magnitude"}, "loss='Magnitude' is unknown; use one of phase_sensitive, "),
        ({"schedule": "Cosine"}, "schedule='Cosine' is unknown; use one of cosine, linear, const"),
        ({"mixing.speed": 3.0}, "mixing.speed=3.0 must be from 1 to 2"),
        ({"mix_on_device": True}, "mix_on_device needs a data set made with --representation=wav"),
        ({"model.hidden_size": 0}, "hidden_size"),
        ({"model.targets": ("drums",)}, "model.targets=.*: set targets, beside model, instead"),
    ],
)
def test_what_is_unknown_or_does_not_fit_is_refused(tiny_dataset, change, words):
    config = tiny_config(tiny_dataset)
    with config.unlocked():
        config.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=words):
        set_up(config)


def test_advice_is_to_change_what_may_be_at_fault(tiny_dataset):
    config = tiny_config(tiny_dataset, "mlp", learning_rate=0.5, grad_clip_norm=2.0)
    assert set_up(config).advice == "a learning_rate below 0.5 or a grad_clip_norm below 2.0"
    config.update(compute_dtype="bfloat16")
    config.model.normalise = False
    more = " or model.normalise=True or compute_dtype=float32"
    assert set_up(config).advice.endswith(f"2.0{more}")
