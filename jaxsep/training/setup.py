"""From a config to plain values and jitted functions; below this nothing sees the config."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep import models, sharding
from jaxsep.data.input_pipeline import eval_batches, train_batches
from jaxsep.data.mixing import Mixing
from jaxsep.data.records import WAVEFORM
from jaxsep.data.training_data import TrainingData, load_training_data
from jaxsep.models.files import Model
from jaxsep.models.load import load_model
from jaxsep.stft_config import StftConfig
from jaxsep.training import health, optimizer, workdir
from jaxsep.training.config_checks import (
    ConfigError,
    advise,
    check_numbers,
    check_representation,
)
from jaxsep.training.losses import Loss
from jaxsep.training.state import TrainState, create_state
from jaxsep.training.statistics import mixture_statistics
from jaxsep.training.step import Batch, make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens when; each field is the config's of that name (`configs/default.py`)."""

    num_train_steps: int
    batch_size: int
    log_every_steps: int
    eval_every_steps: int
    checkpoint_every_steps: int
    health_every_steps: int
    max_failed_in_row: int
    early_stopping_patience: int
    plateau_patience: int
    plateau_factor: float


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training, ready to begin.

    Attributes:
      plan: What happens when.
      data: Data sets to train on and their weights, with the recipe's transform.
      targets: Names of the masker's targets.
      mesh: Devices that share each batch.
      state: State before the first step.
      train_step: Function of `step.make_train_step`.
      eval_step: Function of `step.make_eval_step`.
      examine: Function of `health.make_examine`.
      layers: Names of the masker's layers, in the order of the forward pass.
      batches: Function from a number to the training batches from that one on, on the devices.
      identity: What tells the training from others in `workdir.claim`.
      description: What a checkpoint's metadata says of the training.
      advice: Settings to try when updates keep failing.
    """

    plan: Plan
    data: TrainingData
    targets: tuple[str, ...]
    mesh: jax.sharding.Mesh
    state: TrainState
    train_step: Callable[..., Any]
    eval_step: Callable[..., Any]
    examine: Callable[..., Any]
    layers: list[str]
    batches: Callable[[int], Iterator[Batch]]
    identity: dict[str, Any]
    description: dict[str, Any]
    advice: str


def set_up(config: Any) -> Setup:
    """Makes all that a training needs.

    Args:
      config: ConfigDict as `configs/default.py` describes it, with `data_dir` and
        `num_train_steps` set.

    Raises:
      ConfigError: A field of the config has a value that can't be used.
      jaxsep.data.records.DatasetError: The data set can't be used.
    """
    check_numbers(config)
    mesh = sharding.make_mesh()
    start = load_model(config.start_from) if config.start_from else None
    try:
        data = _load_data(config, start)
        loss = Loss(config.loss)
        mixing = Mixing(**config.mixing.to_dict())  # says what is wrong with it
        fields = _masker_fields(config)
        masker = models.create(stft=data.stft, dtype=config.compute_dtype, **fields)
        data.check_targets(masker.targets)
        mixing.check_targets(masker.targets)
        check_representation(config, data, masker, loss)
        schedule = optimizer.make_schedule(
            config.schedule, config.learning_rate, config.warmup_steps, config.num_train_steps
        )
        adam = optimizer.make_optimizer(
            schedule,
            grad_clip_norm=config.grad_clip_norm,
            name=config.optimizer,
            weight_decay=config.weight_decay,
            b1=config.adam_b1,
            b2=config.adam_b2,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if config.grad_accum_steps > 1 and masker.traits.mixes_examples:
        raise ConfigError(
            f"grad_accum_steps={config.grad_accum_steps} must be 1 for"
            f" model.name={config.model.name!r}, which normalises by whole batches; use a smaller"
            " batch_size"
        )
    variables = models.init(masker, jax.random.key(config.seed))
    if start is None:
        variables = masker.with_statistics(variables, mixture_statistics(data, masker))
    else:
        variables = _variables_of(start, config.start_from, data.stft, like=variables)
    state = create_state(variables, adam, with_ema=config.ema_decay > 0)
    shared = {
        "loss": loss,
        "mesh": mesh,
        "grad_accum_steps": config.grad_accum_steps,
        "seed": config.seed,
    }
    return Setup(
        plan=Plan(**{field.name: config[field.name] for field in dataclasses.fields(Plan)}),
        data=data,
        targets=masker.targets,
        mesh=mesh,
        state=sharding.replicate(state, mesh),
        train_step=make_train_step(
            masker,
            adam,
            grad_clip_norm=config.grad_clip_norm,
            ema_decay=config.ema_decay,
            **shared,
        ),
        # In float32, as models are restored.
        eval_step=make_eval_step(models.create(stft=data.stft, **fields), mesh=mesh),
        examine=health.make_examine(masker, **shared),
        layers=health.layer_names(masker),
        batches=_make_batches(config, data, masker.targets, mixing, mesh),
        identity=workdir.identify(config.to_dict(), data),
        description=workdir.describe({**config.to_dict(), "model": fields}, data),
        advice=advise(config),
    )


def _make_batches(
    config: Any,
    data: TrainingData,
    targets: tuple[str, ...],
    mixing: Mixing,
    mesh: jax.sharding.Mesh,
) -> Callable[[int], Iterator[Batch]]:
    """Makes the function that yields the training batches from a number on."""
    # A data set that can't be validated on is refused before hours are spent on it.
    eval_batches(data, "validation", targets=targets, batch_size=config.batch_size, mesh=mesh)
    make_batches = functools.partial(
        train_batches,
        data,
        targets=targets,
        batch_size=config.batch_size,
        crop_frames=min(config.crop_frames or data.segment_frames, data.segment_frames),
        seed=config.seed,
        mesh=mesh,
        mixing=mixing,
        mix_on_device=config.mix_on_device,
    )
    # Batch s depends on the data, the seed and s alone: the step is the whole position.
    return lambda first_batch: make_batches(first_batch=first_batch)


def _load_data(config: Any, start: Model | None) -> TrainingData:
    """Opens the data sets, as the transform of the recipe or of the model to start from shows them.

    Raises:
      ValueError: The transform is impossible.
      jaxsep.data.records.DatasetError: There is no such data set, it has another transform, or
        several differ in format.
    """
    data = load_training_data(config.data_dir)
    changes = {name: value for name, value in config.stft.items() if value is not None}
    if changes:
        return data.with_stft(dataclasses.replace(data.stft, **changes))
    if start is not None and data.representation == WAVEFORM:
        return data.with_stft(start.masker.stft)
    return data


def _masker_fields(config: Any) -> dict[str, Any]:
    """Returns the fields of the masker, its targets among them."""
    targets = [name.strip() for name in config.targets.split(",")]
    fields = config.model.to_dict()
    if "targets" in fields:
        raise ValueError(f"model.targets={fields['targets']}: set targets, beside model, instead")
    if config.one_network_each:
        fields = {"name": "one_each", "networks": dict.fromkeys(targets, fields)}
    if "networks" not in fields:
        return {**fields, "targets": targets}
    if list(fields["networks"]) != targets:
        raise ValueError(
            f"targets={config.targets} must be those of the networks, each once:"
            f" {','.join(fields['networks'])}"
        )
    return fields


def _variables_of(
    start: Model, path: str, stft: StftConfig, *, like: dict[str, Any]
) -> dict[str, Any]:
    """Returns what a training begins with: parameters, and the statistics that they are used to.

    Raises:
      ConfigError: They are of another masker, or of another transform.
    """
    masker, variables, _ = start
    problem = f"start_from={path} holds another masker"
    if masker.stft != stft:
        raise ConfigError(f"{problem}: its transform is {masker.stft}, not {stft}")
    there, here = (dict(jax.tree.leaves_with_path(tree)) for tree in (variables, like))
    for name in there | here:
        shapes = [jnp.shape(tree[name]) if name in tree else None for tree in (there, here)]
        if shapes[0] != shapes[1]:
            spelt = jax.tree_util.keystr(name, simple=True, separator=".")
            raise ConfigError(f"{problem}: {spelt} has shape {shapes[0]}, not {shapes[1]}")
    return variables
