"""Saving a training's checkpoints in the background, and going on from them."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from jaxsep.checkpoints import (
    FOLDER,
    CheckpointError,
    as_checkpoint_error,
    checkpoint_folders,
    checksums_of,
    first_line,
    read_metadata,
    read_score,
    verify,
)
from jaxsep.files import absolute
from jaxsep.train_step import TrainState

DAMAGED = "damaged"  # folder in the workdir's own for what could not be restored
KEEP_LATEST = 2


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
        self._scores = {int(p.name): read_score(p) for p in checkpoint_folders(self._folder)}
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LatestAndBest(self._scores), cleanup_tmp_directories=True
        )
        with self._as_os_error("opened"):
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(
        self, state: TrainState, data_position: dict[str, Any], metadata: dict[str, Any]
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
        checksums = {"model": checksums_of(model), "training": checksums_of(training)}
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
        self, state: TrainState
    ) -> tuple[TrainState, dict[str, Any], dict[str, Any]] | None:
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

    def _restore(self, step: int, state: TrainState):
        path = self._folder / str(step)
        model, training = _split(jax.tree.map(ocp.tree.to_shape_dtype_struct, state))
        checksums = read_metadata(path)["crc32c"]
        with as_checkpoint_error(path):
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
            verify(path, restored[item], checksums[item])
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
                f" writable? ({first_line(error)})"
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
    metadata = {**metadata, "crc32c": {"model": checksums_of(model)}}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            absolute(path),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model), metadata=ocp.args.JsonSave(metadata)
            ),
        )


def _split(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides a state into what separation needs and what only training does."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    del fields["statistics"], fields["ema_params"]
    if state.ema_params is None:
        del fields["params"]
    return state.variables, fields


def _join(state: TrainState, model: dict[str, Any], training: dict[str, Any]) -> TrainState:
    """Makes a state of what `_split` divided."""
    average = "params" if state.ema_params is None else "ema_params"
    statistics = model["statistics"]
    return state.replace(**training, **{average: model["params"], "statistics": statistics})


def _wait_for_all(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
