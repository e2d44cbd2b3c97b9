"""Saves a training's checkpoints and its best model, and goes on from the checkpoints.

Every call of Orbax is here. `jaxsep.models.orbax_reader` says what is in a checkpoint.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from jaxsep.console import first_line
from jaxsep.files import locate
from jaxsep.models.files import ModelError, save_model
from jaxsep.models.load import MODEL
from jaxsep.models.orbax_reader import (
    FOLDER,
    as_model_error,
    describe,
    read_metadata,
    read_score,
    sign,
    step_folders,
    verify,
)
from jaxsep.training.state import TrainState

DAMAGED = "damaged-{step}"  # folder in the workdir for what could not be restored
KEEP_LATEST = 2
FORMAT = 2  # of what only training needs; 1 had no plateau in the optimizer's state


class Checkpointer:
    """Saves and restores the training of one workdir, in the background.

    The latest `KEEP_LATEST` checkpoints and the one of the highest `sdr` are kept; of the latter
    the masker is also written as a model, `WORKDIR/model`. What a killed process left half written
    is removed.

    Raises:
      OSError: if the folder can't be used.
    """

    def __init__(self, workdir: epath.Path):
        self._workdir = locate(workdir)
        self._folder = self._workdir / FOLDER
        self._scores = {int(p.name): read_score(p) for p in step_folders(self._workdir)}
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LatestAndBest(self._scores), cleanup_tmp_directories=True
        )
        with _as_os_error(self._folder, "opened"):
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, state: TrainState, metadata: dict[str, Any]) -> None:
        """Saves in the background; `metadata["sdr"]` is the score, or None.

        A step that is saved already isn't saved again.

        Raises:
          OSError: if this checkpoint or the one before can't be written.
        """
        step = int(state.step)
        if step == self._manager.latest_step():
            return
        model, training = _split(state)
        score = metadata["sdr"]
        others = [s for other, s in self._scores.items() if s is not None and other != step]
        is_best = score is not None and all(score >= other for other in others)
        # Before the checkpoint, which may be the last that a killed process gets done. Every
        # process waits for the first one before a checkpoint counts.
        if is_best and jax.process_index() == 0:
            with _as_os_error(self._workdir / MODEL, "saved"):
                save_model(self._workdir / MODEL, describe(metadata, step=step), model)
        self._scores[step] = score
        metadata = {**metadata, "training_format": FORMAT}
        metadata = sign({"model": model, "training": training}, metadata)
        with _as_os_error(self._folder, "saved"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    training=ocp.args.StandardSave(training),
                    metadata=ocp.args.JsonSave(metadata),
                ),
            )

    def restore_latest(self, state: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Returns the newest sound checkpoint's state and metadata, or None without checkpoints.

        A damaged one is named in the log, moved to `WORKDIR/damaged-STEP`, and the one before
        taken.

        Args:
          state: any state of the right shapes and shardings.

        Raises:
          ModelError: None of those that are there is sound, the processes don't agree on which is,
            or another version of jaxsep saved them.
        """
        self._refuse_other_formats()
        restored, problems = None, {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, state)
                break
            except ModelError as error:
                problems[step] = error
        found = int(restored[0].step) if restored else -1
        steps = multihost_utils.process_allgather(np.int32(found)).ravel().tolist()
        if len(set(steps)) > 1:
            raise ModelError(
                f"{self._folder}: the processes could restore different steps, {steps} (-1: none);"
                " nothing was changed; start again"
            )
        if problems and not restored:
            raise ModelError(
                f"{'; '.join(map(str, problems.values()))}; no sound one is left: delete"
                f" {self._folder} to begin anew"
            )
        if problems:
            if jax.process_index() == 0:
                for step, problem in problems.items():
                    self._move_away(step, problem)
            multihost_utils.sync_global_devices("damaged checkpoints are away")
            self._manager.reload()
        return restored

    def _refuse_other_formats(self) -> None:
        for path in step_folders(self._workdir):
            try:
                found = read_metadata(path).get("training_format", 1)
            except ModelError:
                continue  # damaged, as `restore_latest` will say
            if found != FORMAT:
                raise ModelError(
                    f"{self._workdir}: another version of jaxsep began this training, and this one"
                    " can't go on with it; it still separates, but train in another --workdir"
                )

    def _restore(self, step: int, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        path = self._folder / str(step)
        model, training = _split(jax.tree.map(ocp.tree.to_shape_dtype_struct, state))
        metadata = read_metadata(path)
        with as_model_error(path):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardRestore(model),
                    training=ocp.args.StandardRestore(training),
                ),
            )
        for item in ("model", "training"):
            verify(path, restored[item], metadata["crc32c"][item])
        return _join(state, restored["model"], restored["training"]), metadata

    def _move_away(self, step: int, problem: ModelError) -> None:
        target = self._workdir / DAMAGED.format(step=step)
        logging.warning("%s; moved to %s", problem, target)
        if target.exists():
            target.rmtree()
        (self._folder / str(step)).rename(target)

    def close(self) -> None:
        """Waits for what is being saved.

        Raises:
          OSError: if it can't be written.
        """
        with _as_os_error(self._folder, "saved"):
            self._manager.wait_until_finished()
            self._manager.close()


@contextlib.contextmanager
def _as_os_error(folder: epath.Path, what: str) -> Iterator[None]:
    """Turns the many kinds of errors that Orbax and TensorStore raise into one that names it."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"{folder}: a checkpoint can't be {what}; is the disk full, or not writable?"
            f" ({first_line(error)})"
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
