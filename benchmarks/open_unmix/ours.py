"""Our side: its model and training step, without what the other side needs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.open_unmix import HIDDEN_SIZE, SHAPES
from benchmarks.trial import begin
from configs import default
from jaxsep import models, sharding
from jaxsep.models.masker import Masker
from jaxsep.stft_config import StftConfig
from jaxsep.training import optimizer
from jaxsep.training.losses import Loss

BATCH, FRAMES = 16, 255
STFT = StftConfig()


def make_batch() -> dict[str, np.ndarray]:
    """Makes magnitudes of noise, `[BATCH, FRAMES, channels, bins]` each."""
    rng = np.random.default_rng(0)
    size = (BATCH, FRAMES, STFT.channels, STFT.bins)
    vocals, rest = (rng.gamma(0.5, 1.0, size).astype(np.float32) for _ in range(2))
    return {"mixture": vocals + rest, "targets": vocals[:, None], "rests": rest[:, None]}


def model_fields(shape: str) -> dict[str, Any]:
    return {"hidden_size": HIDDEN_SIZE, **SHAPES[shape]._asdict()}


def make_model(shape: str) -> tuple[Masker, dict[str, Any]]:
    """Makes a model with random weights."""
    masker = models.create("lstm", STFT, **model_fields(shape))
    return masker, models.init(masker, jax.random.key(0))


def make_step(shape: str, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Makes a training step as the recipe has it."""
    config: Any = default.get_config()
    masker, variables = make_model(shape)
    schedule = optimizer.make_schedule("constant", config.learning_rate, 1, 10)
    adam = optimizer.make_optimizer(schedule, grad_clip_norm=config.grad_clip_norm)
    options = {name: config[name] for name in ("grad_clip_norm", "grad_accum_steps", "ema_decay")}
    loss = Loss(config.loss)
    train_step, state = begin(masker, variables, adam, loss=loss, **options)
    numbers = {"num_frames": np.full(BATCH, FRAMES, np.int32)}
    there = sharding.to_global_batch({**batch, **numbers}, sharding.make_mesh())

    def step() -> None:
        nonlocal state
        state, _ = train_step(state, there, 0)
        jax.block_until_ready(state)

    return step
