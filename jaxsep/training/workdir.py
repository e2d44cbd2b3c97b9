"""A training's folder belongs to that training: its config, its data."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import filelock
import jax
from etils import epath
from jax.experimental import multihost_utils

from jaxsep.data.training_data import TrainingData
from jaxsep.files import is_remote, read_json, write_json
from jaxsep.version import __version__

CONFIG = "config.json"
# Fields that change neither the numbers nor what they mean.
MAY_CHANGE = (
    "data_dir",
    "full_train_steps",
    "demo_train_steps",
    "demo_representation",
    "log_every_steps",
    "eval_every_steps",
    "checkpoint_every_steps",
    "health_every_steps",
    "max_failed_in_row",
)


class WorkdirError(Exception):
    """The folder belongs to another training; the message says where they differ."""


def identify(config: dict[str, Any], data: TrainingData) -> dict[str, Any]:
    """Returns what tells a training from others: its config and its data.

    Args:
      config: Fields of the training's config.
      data: Data sets to train on and their weights.
    """
    may_change = set(MAY_CHANGE)
    if config["plateau_patience"] or config["early_stopping_patience"]:
        may_change.remove("eval_every_steps")  # they count validations
    kept = {name: value for name, value in config.items() if name not in may_change}
    checksums = [dataset.manifest_sha256 for dataset in data.sets]
    if len(checksums) == 1:
        return {**kept, "data_set_sha256": checksums[0]}
    return {**kept, "data_set_sha256": checksums, "data_set_weights": list(data.weights)}


def claim(workdir: epath.Path, identity: dict[str, Any]) -> None:
    """Notes in the folder what is trained there, or checks that it is the same training.

    Args:
      workdir: Folder of the training; made if need be.
      identity: Result of `identify`.

    Raises:
      WorkdirError: It is another training; the message shows every difference. Or the processes
        don't share the folder.
      OSError: The folder can't be written.
    """
    file = workdir / CONFIG
    if file.exists():
        there, here = _flatten(read_json(file, allow_nan=True)), _flatten(identity)
        names = [name for name in there | here if there.get(name) != here.get(name)]
        if names:
            difference = "; ".join(f"{n} {there.get(n)}, not {here.get(n)}" for n in names)
            raise WorkdirError(
                f"{workdir} holds another training ({difference}); use another --workdir"
            )
    elif jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(file, identity)
    multihost_utils.sync_global_devices("the workdir is claimed")
    if not file.exists():
        raise WorkdirError(
            f"{workdir} isn't the same folder for all processes; use a file system that they share,"
            " or a bucket"
        )


@contextlib.contextmanager
def lock(workdir: epath.Path) -> Iterator[None]:
    """Keeps other trainings out of a workdir that `claim` has made, until the end or a crash.

    A bucket knows no locks: there, two trainings of one config would overwrite each other's files.

    Raises:
      WorkdirError: Another training is at work there.
    """
    if is_remote(workdir) or jax.process_index():
        yield
        return
    try:
        with filelock.FileLock(workdir / ".lock", blocking=False):
            yield
    except filelock.Timeout as error:
        raise WorkdirError(
            f"{workdir}: another training is at work there; wait for it, or use another --workdir"
        ) from error


def describe(config: dict[str, Any], data: TrainingData) -> dict[str, Any]:
    """Describes, for a checkpoint's metadata, what is trained on what."""
    sets = [
        {
            "name": dataset.manifest["name"],
            "manifest_sha256": dataset.manifest_sha256,
            "licence": dataset.manifest["licence"],
        }
        for dataset in data.sets
    ]
    weighted = [{**one, "weight": weight} for one, weight in zip(sets, data.weights, strict=True)]
    return {
        "config": {**config, "data_dir": data.folders},
        "stft": dataclasses.asdict(data.stft),
        "jaxsep_version": __version__,
        "data_set": sets[0] if len(sets) == 1 else {"name": data.name, "sets": weighted},
    }


def _flatten(config: dict[str, Any]) -> dict[str, Any]:
    """Spells the fields as on the command line: `model.hidden_size`."""
    flat = {}
    for name, value in config.items():
        inner = _flatten(value) if isinstance(value, dict) else {"": value}
        flat |= {f"{name}.{key}" if key else name: leaf for key, leaf in inner.items()}
    return flat
