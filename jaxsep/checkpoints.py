"""Checkpoints: all that is needed to go on training, or to separate. Every Orbax call is here.

A checkpoint is a folder `WORKDIR/checkpoints/STEP` with four items: `model` (what separates:
parameters and statistics), `training` (the rest of the state), `data` (position in the data) and
`metadata` (config, signal format, score, provenance, and the arrays' checksums; JSON). Nothing in
it is code, nothing is pickled.
"""

import contextlib
import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import google_crc32c
import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import linen as nn
from jax.experimental import multihost_utils

from jaxsep import models
from jaxsep.files import absolute, read_json
from jaxsep.stft_config import StftConfig

if TYPE_CHECKING:  # restoring a masker needs no training code
    from jaxsep.train_step import TrainState

FOLDER = "checkpoints"
DAMAGED = "damaged"  # folder in the workdir's own for what could not be restored
KEEP_LATEST = 2


class CheckpointError(Exception):
    """There is no usable checkpoint; the message says where and why."""


class Checkpointer:
    """Saves and restores the training of one workdir, in the background.

    The latest `KEEP_LATEST` checkpoints and the one of the highest `sdr` are kept. What a killed
    process left half written is removed.

    Raises:
      OSError: if the folder can't be used.
    """

    def __init__(self, workdir: epath.Path):
        self._workdir = absolute(workdir)
        self._folder = self._workdir / FOLDER
        self._scores = {int(p.name): _score(p) for p in _checkpoint_folders(self._folder)}
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LatestAndBest(self._scores), cleanup_tmp_directories=True
        )
        with self._as_os_error("opened"):
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(
        self, state: "TrainState", data_position: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        """Saves in the background; `metadata["sdr"]` is the score, or None.

        A step that is saved already isn't saved again.

        Raises:
          OSError: if this checkpoint or the one before can't be written.
        """
        step = int(state.step)
        if step == self._manager.latest_step():
            return
        model, training = _split(state)
        self._scores[step] = metadata["sdr"]
        checksums = {"model": _checksums(model), "training": _checksums(training)}
        with self._as_os_error("saved"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    training=ocp.args.StandardSave(training),
                    data=ocp.args.JsonSave(data_position),
                    metadata=ocp.args.JsonSave({**metadata, "crc32c": checksums}),
                ),
            )

    def restore_latest(
        self, state: "TrainState"
    ) -> tuple["TrainState", dict[str, Any], dict[str, Any]] | None:
        """Returns the newest sound checkpoint's state, position in the data and metadata.

        A damaged one is named in the log, moved to `WORKDIR/damaged`, and the one before taken.

        Args:
          state: any state of the right shapes and shardings.

        Raises:
          CheckpointError: if none of those that are there is sound.
        """
        problems: dict[int, CheckpointError] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, state)
            except CheckpointError as error:
                problems[step] = error
                continue
            for problem in problems.values():
                logging.warning("%s; moved to %s", problem, self._workdir / DAMAGED)
            if jax.process_index() == 0:
                self._move_away([self._folder / str(step) for step in problems])
            _wait_for_all("damaged checkpoints are away")
            self._manager.reload()
            return restored
        if problems:
            raise CheckpointError(
                f"{'; '.join(map(str, problems.values()))}; no sound one is left: delete"
                f" {self._folder} to begin anew"
            )
        return None

    def _restore(self, step: int, state: "TrainState"):
        path = self._folder / str(step)
        model, training = _split(jax.tree.map(ocp.tree.to_shape_dtype_struct, state))
        checksums = read_metadata(path)["crc32c"]
        with _as_checkpoint_error(path):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardRestore(model),
                    training=ocp.args.StandardRestore(training),
                    data=ocp.args.JsonRestore(),
                    metadata=ocp.args.JsonRestore(),
                ),
            )
        for item in ("model", "training"):
            _verify(path, restored[item], checksums[item])
        whole = _join(state, restored["model"], restored["training"])
        return whole, restored["data"], restored["metadata"]

    def _move_away(self, checkpoints: list[epath.Path]) -> None:
        for path in checkpoints:
            target = self._workdir / DAMAGED / path.name
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                target.rmtree()
            path.rename(target)

    def close(self) -> None:
        """Waits for what is being saved.

        Raises:
          OSError: if it can't be written.
        """
        with self._as_os_error("saved"):
            self._manager.wait_until_finished()
            self._manager.close()

    @contextlib.contextmanager
    def _as_os_error(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what fails in the background comes as many kinds
            raise OSError(
                f"{self._folder}: a checkpoint can't be {what}; is the disk full, or not"
                f" writable? ({_first_line(error)})"
            ) from error


class _LatestAndBest:
    """Keeps the latest `KEEP_LATEST` checkpoints and the best (Orbax's `PreservationPolicy`).

    Orbax's own policy for the best forgets the scores when a training goes on after a stop.

    Args:
      scores: by step; None without one.
    """

    def __init__(self, scores: dict[int, float | None]):
        self._scores = scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        scored = {step: score for step in steps if (score := self._scores.get(step)) is not None}
        kept = {*sorted(steps)[-KEEP_LATEST:], *sorted(scored, key=scored.__getitem__)[-1:]}
        return [step in kept for step in steps]


def save_model(path: epath.Path, params: Any, statistics: Any, metadata: dict[str, Any]) -> None:
    """Saves what `restore_masker` reads, outside a training's row of checkpoints."""
    model = {"params": params, "statistics": statistics}
    metadata = {**metadata, "crc32c": {"model": _checksums(model)}}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            absolute(path),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model), metadata=ocp.args.JsonSave(metadata)
            ),
        )


def _split(state: "TrainState") -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides a state into what separation needs and what only training does."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    del fields["statistics"], fields["ema_params"]
    if state.ema_params is None:
        del fields["params"]
    return state.variables, fields


def _join(state: "TrainState", model: dict[str, Any], training: dict[str, Any]) -> "TrainState":
    """Makes a state of what `_split` divided."""
    average = "params" if state.ema_params is None else "ema_params"
    statistics = model["statistics"]
    return state.replace(**training, **{average: model["params"], "statistics": statistics})


def _checksums(tree: Any) -> dict[str, int]:
    """Returns CRC-32C of each array, by its path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): google_crc32c.value(
            np.ascontiguousarray(leaf).tobytes()
        )
        for path, leaf in leaves
    }


def _verify(path: epath.Path, tree: Any, checksums: dict[str, int]) -> None:
    """Raises CheckpointError if arrays aren't those that were saved."""
    for name, checksum in _checksums(tree).items():
        if checksums.get(name) != checksum:
            raise CheckpointError(f"{path}: damaged, {name} fails its checksum")


def _wait_for_all(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def find_checkpoints(path: epath.PathLike) -> list[epath.Path]:
    """Returns checkpoint folders, best first: that folder itself, or those of a workdir.

    Raises:
      CheckpointError: if there is none.
    """
    path = absolute(path)
    if _is_checkpoint(path):
        return [path]
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; give the workdir of a training")
    checkpoints = [p for p in _checkpoint_folders(path / FOLDER) if _is_checkpoint(p)]
    if not checkpoints:
        raise CheckpointError(f"{path}: no checkpoint in it; give the workdir of a training")

    def quality(checkpoint: epath.Path) -> tuple[float, int]:
        score = _score(checkpoint)
        return float("-inf") if score is None else score, int(checkpoint.name)

    return sorted(checkpoints, key=quality, reverse=True)


def _checkpoint_folders(folder: epath.Path) -> list[epath.Path]:
    return [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []


def _score(checkpoint: epath.Path) -> float | None:
    try:
        return read_metadata(checkpoint)["sdr"]
    except CheckpointError:
        return None


def _is_checkpoint(path: epath.Path) -> bool:
    return (path / "metadata" / "metadata").exists() and (path / "model").is_dir()


def read_metadata(checkpoint: epath.Path) -> dict[str, Any]:
    """Reads a checkpoint's metadata.

    Raises:
      CheckpointError: if it is damaged.
    """
    try:
        metadata = read_json(checkpoint / "metadata" / "metadata")
        if missing := {"sdr", "stft", "config", "crc32c"} - metadata.keys():
            raise OSError(f"it has no {', '.join(sorted(missing))}")
    except (OSError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint}: its metadata can't be read ({error})") from error
    return metadata


def restore_masker(
    checkpoint: epath.Path, *, dtype: str = "float32"
) -> tuple[nn.Module, dict[str, Any]]:
    """Restores a checkpoint's masker and its variables, on one device.

    Args:
      checkpoint: one of `find_checkpoints`.
      dtype: of the masker's matrix products, whatever it was trained with.

    Raises:
      CheckpointError: if its files are damaged or don't fit together.
    """
    checkpoint = absolute(checkpoint)
    metadata = read_metadata(checkpoint)
    try:
        stft, fields = StftConfig(**metadata["stft"]), metadata["config"]["model"]
        masker = models.create(stft=stft, dtype=dtype, **fields)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint}: unknown model ({error})") from error
    shapes = jax.eval_shape(functools.partial(models.init, masker), jax.random.key(0))
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
    with _as_checkpoint_error(checkpoint), ocp.StandardCheckpointer() as checkpointer:
        variables = checkpointer.restore(checkpoint / "model", target)
    _verify(checkpoint, variables, metadata["crc32c"]["model"])
    return masker, variables


def restore_best(path: epath.PathLike) -> tuple[epath.Path, nn.Module, dict[str, Any]]:
    """Restores the best sound checkpoint; damaged ones are named in the log.

    Args:
      path: of a workdir, or of one checkpoint.

    Returns:
      The checkpoint's folder, the masker and its variables.

    Raises:
      CheckpointError: if there is none.
    """
    problems = []
    for checkpoint in find_checkpoints(path):
        try:
            masker, variables = restore_masker(checkpoint)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            logging.warning("%s; using %s", problem, checkpoint)
        return checkpoint, masker, variables
    raise CheckpointError("; ".join(problems))


@contextlib.contextmanager
def _as_checkpoint_error(checkpoint: epath.Path) -> Iterator[None]:
    try:
        yield
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
