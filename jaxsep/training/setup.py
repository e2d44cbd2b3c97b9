"""From a config to what runs on the devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsep import models, sharding
from jaxsep.data import records
from jaxsep.data.device_mixer import check_mixing
from jaxsep.data.mixing import Mixing
from jaxsep.models import files as model_files
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.stft_config import StftConfig
from jaxsep.training import health, optimizer
from jaxsep.training.losses import LOSSES
from jaxsep.training.state import TrainState, create_state
from jaxsep.training.step import make_eval_step, make_train_step

AT_LEAST_0 = (
    "seed",
    "weight_decay",
    "warmup_steps",
    "plateau_patience",
    "early_stopping_patience",
)
AT_LEAST_1 = (
    "num_train_steps",
    "batch_size",
    "grad_accum_steps",
    "max_failed_in_row",
    "log_every_steps",
    "eval_every_steps",
    "checkpoint_every_steps",
    "health_every_steps",
)


class ConfigError(Exception):
    """A field of the config has a value that can't be used."""


class Programs(NamedTuple):
    """What runs on the devices.

    Attributes:
      mesh: the devices.
      state: before the first step.
      train_step: of `train_step.make_train_step`.
      eval_step: of `train_step.make_eval_step`.
      examine: of `health.make_examine`.
      layers: names, in the order of the forward pass.
    """

    mesh: jax.sharding.Mesh
    state: TrainState
    train_step: Callable[..., Any]
    eval_step: Callable[..., Any]
    examine: Callable[..., Any]
    layers: list[str]


def build(config: Any, dataset: records.Dataset) -> Programs:
    """Makes the jitted functions and the first state of a training.

    Raises:
      ConfigError: if a field of the config has a value that can't be used.
    """
    _check(config)
    mesh = sharding.make_mesh()
    try:
        if config.loss not in LOSSES:
            raise ValueError(f"loss={config.loss!r} is unknown; use one of {', '.join(LOSSES)}")
        mixing = Mixing(**config.mixing)  # tells what is wrong with it
        if config.mix_on_device:
            check_mixing(dataset, config.crop_frames, mixing)
        masker = models.create(stft=dataset.stft, dtype=config.compute_dtype, **config.model)
        schedule = optimizer.make_schedule(
            config.schedule, config.learning_rate, config.warmup_steps, config.num_train_steps
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    by_batch = isinstance(masker, OpenUnmixMasker) or getattr(masker, "dropout", 0)
    if config.grad_accum_steps > 1 and by_batch:
        raise ConfigError(
            f"grad_accum_steps={config.grad_accum_steps} must be 1 for model.name='openunmix',"
            " which normalises by whole batches, and with model.dropout, which is drawn for them;"
            " use a smaller batch_size"
        )
    adam = optimizer.make_optimizer(
        grad_clip_norm=config.grad_clip_norm, weight_decay=config.weight_decay
    )
    variables = models.init(masker, jax.random.key(config.seed))
    variables = models.with_statistics(variables, dataset.statistics())
    if config.start_from:
        variables = _variables_of(config.start_from, dataset.stft, like=variables)
    state = create_state(variables, adam, with_ema=config.ema_decay > 0)
    shared = {
        "example_loss": LOSSES[config.loss],
        "mesh": mesh,
        "grad_accum_steps": config.grad_accum_steps,
        "seed": config.seed,
    }
    return Programs(
        mesh=mesh,
        state=sharding.replicate(state, mesh),
        train_step=make_train_step(
            masker,
            adam,
            schedule,
            grad_clip_norm=config.grad_clip_norm,
            ema_decay=config.ema_decay,
            **shared,
        ),
        # In float32, as checkpoints are restored.
        eval_step=make_eval_step(models.create(stft=dataset.stft, **config.model), mesh=mesh),
        examine=health.make_examine(masker, **shared),
        layers=health.layer_names(masker),
    )


def _variables_of(path: str, stft: StftConfig, *, like: dict[str, Any]) -> dict[str, Any]:
    """Restores what a training begins with: parameters, and the statistics that they are used to.

    Raises:
      ConfigError: if they are of another masker, or of another format of magnitudes.
      jaxsep.models.files.CheckpointError: if there are none.
    """
    _, masker, variables = model_files.restore_best(path)
    problem = f"start_from={path} holds another masker"
    if masker.stft != stft:
        raise ConfigError(f"{problem}: its magnitudes are {masker.stft}, the data set's {stft}")
    there, here = (dict(jax.tree.leaves_with_path(tree)) for tree in (variables, like))
    for name in there | here:
        shapes = [jnp.shape(tree[name]) if name in tree else None for tree in (there, here)]
        if shapes[0] != shapes[1]:
            spelt = jax.tree_util.keystr(name, simple=True, separator=".")
            raise ConfigError(f"{problem}: {spelt} has shape {shapes[0]}, not {shapes[1]}")
    return variables


def _check(config: Any) -> None:
    """Raises ConfigError for numbers that no training can have."""
    for name in AT_LEAST_1:
        if config[name] < 1:
            raise ConfigError(f"{name}={config[name]} must be 1 or more")
    for name in ("learning_rate", "grad_clip_norm"):
        if not config[name] > 0:
            raise ConfigError(f"{name}={config[name]} must be more than 0")
    if config.model.hidden_size < 1:
        raise ConfigError(f"model.hidden_size={config.model.hidden_size} must be 1 or more")
    for name in AT_LEAST_0:
        if config[name] < 0:
            raise ConfigError(f"{name}={config[name]} must be 0 or more")
    for name in ("ema_decay", "plateau_factor"):
        if not 0 <= config[name] < 1:
            raise ConfigError(f"{name}={config[name]} must be at least 0 and less than 1")
    if config.crop_frames is not None and config.crop_frames < 1:
        raise ConfigError(f"crop_frames={config.crop_frames} must be 1 or more")
    devices, parts = jax.device_count(), config.grad_accum_steps
    if config.batch_size % (devices * parts):
        accumulated = f" times grad_accum_steps={parts}" if parts > 1 else ""
        raise ConfigError(
            f"batch_size={config.batch_size} is not divisible by {devices} devices{accumulated};"
            f" use a multiple of {devices * parts}"
        )
