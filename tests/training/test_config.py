"""A config that no training can have is refused in one line, before anything is done."""

import math

import pytest

from jaxsep.training.config_checks import ConfigError
from jaxsep.training.setup import set_up
from tests.helpers import tiny_config

BAD = {
    "batch_size": [0, -1, 2**16 + 8, 10**12, 10**20],
    "num_train_steps": [0, 2**31, 10**20],
    "eval_every_steps": [0, 10**12],
    "seed": [-1, 10**20],
    "warmup_steps": [-1, 10**12],
    "learning_rate": [0.0, -1.0, math.nan, math.inf],
    "grad_clip_norm": [0.0, -1.0, math.nan],
    "weight_decay": [-1.0, math.nan, math.inf],
    "ema_decay": [-0.1, 1.0, math.nan],
    "plateau_factor": [-0.1, 1.0, math.nan, math.inf],
    "mixing.pan_db": [-1.0, math.nan, math.inf, 61.0],
    "mixing.equaliser_db": [-1.0, math.nan, 1e30],
    "mixing.min_db": [-61.0, math.nan, -math.inf],
    "mixing.max_db": [math.nan, math.inf, 61.0],
    "mixing.speed": [0.5, math.nan, math.inf],
    "mixing.paired": [-0.1, 1.1, math.nan],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_a_field_out_of_its_range_is_named(tiny_dataset, name, value):
    config = tiny_config(tiny_dataset)
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ConfigError) as error:
        set_up(config)
    assert str(error.value).startswith(f"{name}={value} must ")
    assert "\n" not in str(error.value)
