"""Checkpoints: all that is needed to go on training, or to separate. Every Orbax call is here.

A checkpoint is a folder `WORKDIR/checkpoints/STEP` with four items: `model` (parameters and
statistics), `training` (the rest of the state), `data` (position in the data) and `metadata`
(config, signal format, score, provenance; JSON). Nothing in it is code, nothing is pickled.
"""

import contextlib
import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax import linen as nn
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxsep import models
from jaxsep.files import absolute, read_json
from jaxsep.stft_config import StftConfig

if TYPE_CHECKING:  # restoring a masker needs no training code
    from jaxsep.train_step import TrainState

FOLDER = "checkpoints"
KEEP_LATEST = 2
_MODEL_FIELDS = ("params", "statistics")


class CheckpointError(Exception):
    """There is no usable checkpoint; the message says where and why."""


class Checkpointer:
    """Saves and restores the training of one workdir, in the background.

    The latest `KEEP_LATEST` checkpoints and the one of the highest `sdr` are kept.
    """

    def __init__(self, workdir: epath.Path):
        # Without a validation split none has a score, and the latest are all there is to keep.
        best = BestN(
            get_metric_fn=lambda metrics: metrics["sdr"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(KEEP_LATEST), best])
        )
        self._folder = absolute(workdir) / FOLDER
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(
        self, state: "TrainState", data_position: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        """Saves in the background; `metadata["sdr"]` is the score, or None.

        Raises:
          OSError: if this checkpoint or the one before can't be written.
        """
        model, training = _split(state)
        score = metadata["sdr"]
        with self._as_os_error():
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    training=ocp.args.StandardSave(training),
                    data=ocp.args.JsonSave(data_position),
                    metadata=ocp.args.JsonSave(metadata),
                ),
                metrics=None if score is None else {"sdr": score},
            )

    def restore(
        self, step: int, state: "TrainState"
    ) -> tuple["TrainState", dict[str, Any], dict[str, Any]]:
        """Returns the state, the position in the data and the metadata of a step.

        Args:
          step: of a saved checkpoint.
          state: any state of the right shapes and shardings.

        Raises:
          CheckpointError: if it is damaged or doesn't fit.
        """
        model, training = _split(jax.tree.map(ocp.tree.to_shape_dtype_struct, state))
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardRestore(model),
                    training=ocp.args.StandardRestore(training),
                    data=ocp.args.JsonRestore(),
                    metadata=ocp.args.JsonRestore(),
                ),
            )
        except Exception as error:  # Orbax and TensorStore raise many kinds, all meaning this
            raise CheckpointError(
                f"{self._folder / str(step)}: can't be restored ({_first_line(error)}); delete it"
                " to go on from the one before"
            ) from error
        return (
            state.replace(**restored["model"], **restored["training"]),
            restored["data"],
            restored["metadata"],
        )

    def close(self) -> None:
        """Waits for what is being saved.

        Raises:
          OSError: if it can't be written.
        """
        with self._as_os_error():
            self._manager.wait_until_finished()
            self._manager.close()

    @contextlib.contextmanager
    def _as_os_error(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what fails in the background comes as many kinds
            raise OSError(
                f"{self._folder}: a checkpoint can't be saved; is the disk full?"
                f" ({_first_line(error)})"
            ) from error


def _split(state: "TrainState") -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides a state into what separation needs and what only training does."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    model = {name: fields.pop(name) for name in _MODEL_FIELDS}
    return model, fields


def find_checkpoint(path: epath.PathLike) -> epath.Path:
    """Returns a checkpoint's folder, given that folder or a workdir, of which the best.

    Raises:
      CheckpointError: if there is none.
    """
    path = absolute(path)
    if _is_checkpoint(path):
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; give the workdir of a training")
    folder = path / FOLDER
    candidates = [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    steps = sorted((p for p in candidates if _is_checkpoint(p)), key=lambda p: int(p.name))
    if not steps:
        raise CheckpointError(f"{path}: no checkpoint in it; give the workdir of a training")
    scores = {step: read_metadata(step)["sdr"] for step in steps}
    scored = [step for step in steps if scores[step] is not None]
    return max(scored, key=lambda step: scores[step]) if scored else steps[-1]


def _is_checkpoint(path: epath.Path) -> bool:
    return (path / "metadata" / "metadata").exists() and (path / "model").is_dir()


def read_metadata(checkpoint: epath.Path) -> dict[str, Any]:
    """Reads a checkpoint's metadata.

    Raises:
      CheckpointError: if it is damaged.
    """
    try:
        metadata = read_json(checkpoint / "metadata" / "metadata")
        if missing := {"sdr", "stft", "config"} - metadata.keys():
            raise OSError(f"it has no {', '.join(sorted(missing))}")
    except (OSError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint}: its metadata can't be read ({error})") from error
    return metadata


def restore_masker(checkpoint: epath.Path) -> tuple[nn.Module, dict[str, Any]]:
    """Restores a checkpoint's masker and its variables, on one device.

    Args:
      checkpoint: folder of `find_checkpoint`.

    Raises:
      CheckpointError: if its files are damaged or don't fit together.
    """
    metadata = read_metadata(checkpoint)
    try:
        masker = models.create(stft=StftConfig(**metadata["stft"]), **metadata["config"]["model"])
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint}: unknown model ({error})") from error
    shapes = jax.eval_shape(functools.partial(models.init, masker), jax.random.key(0))
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return masker, checkpointer.restore(checkpoint / "model", target)
    except Exception as error:  # Orbax and TensorStore raise many kinds, all meaning this
        raise CheckpointError(f"{checkpoint}: can't be restored ({_first_line(error)})") from error


def quiet_background_errors() -> None:
    """Leaves out what Orbax's and TensorStore's threads print about a failed read or write.

    The failure itself is raised as an exception all the same. For programs, which report that.
    """

    def report(unraisable) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    sys.unraisablehook = report
    logging.getLogger("absl").addFilter(is_wanted)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
