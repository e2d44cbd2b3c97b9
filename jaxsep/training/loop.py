"""The training loop, from the first step to the summary."""

import contextlib
import dataclasses
import math
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from jaxsep import sharding
from jaxsep.files import locate
from jaxsep.processes import StopRequest
from jaxsep.training import optimizer, workdir
from jaxsep.training.checkpoints import Checkpointer
from jaxsep.training.log import Totals, TrainLog
from jaxsep.training.setup import Plan, Setup, set_up
from jaxsep.training.state import TrainState
from jaxsep.training.step_runner import StepRunner
from jaxsep.training.summary import DIVERGED, FINISHED, STOPPED_EARLY, write_summary
from jaxsep.training.validation import validate

# Called with the state and its step after each validation, on every process.
OnValidation = Callable[[TrainState, int], None]


class DivergenceError(Exception):
    """Too many updates failed in a row.

    Attributes:
      summary: What `train` would have returned, with "diverged" as `ended`.
      workdir: Folder of the training.
    """

    def __init__(self, message: str, summary: dict[str, Any], workdir: epath.Path):
        super().__init__(message)
        self.summary, self.workdir = summary, workdir


def train_and_evaluate(
    config: Any, folder: epath.PathLike, *, on_validation: OnValidation | None = None
) -> dict[str, Any]:
    """Trains a masker as a config says; see `setup.set_up` and `train`."""
    return train(set_up(config), folder, on_validation=on_validation)


def train(
    setup: Setup, folder: epath.PathLike, *, on_validation: OnValidation | None = None
) -> dict[str, Any]:
    """Trains a masker and scores it, continuing where an earlier run in `folder` ended.

    A first Ctrl-C, SIGTERM or SIGHUP, on any of the processes, lets the steps in hand end and
    saves a checkpoint; a second one doesn't wait. Either way, and also after a crash, the next run
    ends with the parameters of an undisturbed one.

    Args:
      setup: Training of `setup.set_up`; its state is donated.
      folder: Workdir; gets checkpoints, metrics, `config.json`, `summary.json` and
        `spectrograms.png`.
      on_validation: Called after each validation.

    Returns:
      The content of `summary.json`: `ended` ("finished", "stopped early" or a signal's name),
      `checkpoint` (path of the best), its `sdr` and, once the training is over, `sdr_mixture` (dB,
      mean over the targets and the validation tracks; None without any), the same of each in
      `sdr_by_target` and `sdr_mixture_by_target`, `steps`, `seconds` and more.

    Raises:
      workdir.WorkdirError, jaxsep.models.files.ModelError: `folder` belongs to another
        training, or what it holds is damaged.
      DivergenceError: Too many updates failed in a row.
      KeyboardInterrupt: There was a second Ctrl-C.
      OSError: `folder` can't be written.
    """
    plan, folder = setup.plan, locate(folder)
    workdir.claim(folder, setup.identity)
    with StopRequest("saving after the steps in hand") as stop:
        with contextlib.ExitStack() as stack:
            stack.enter_context(workdir.lock(folder))
            checkpointer = stack.enter_context(contextlib.closing(Checkpointer(folder)))
            state, totals = _restore_or_begin(checkpointer, setup)
            log = TrainLog(
                folder,
                totals,
                step=int(state.step),
                num_steps=plan.num_train_steps,
                batch_size=plan.batch_size,
                every=plan.log_every_steps,
                active=jax.process_index() == 0,
            )
            stack.enter_context(contextlib.closing(log))
            runner = StepRunner(setup, state, workdir=folder, log=log, stop=stop)
            while not (ended := _why_to_end(plan, runner, totals)):
                runner.advance()
                is_eval = _is_validation_due(plan, runner.number)
                if not (is_eval or _is_checkpoint_due(plan, runner.number) or runner.signal):
                    continue
                runner.settle()
                if runner.divergence:
                    continue
                with log.paused():
                    score = _validate(setup, runner, totals, log) if is_eval else None
                    if is_eval and on_validation is not None:
                        on_validation(runner.state, runner.number)
                    log.count_seconds()
                    checkpointer.save(runner.state, _describe(setup, totals, score))
                    log.sync()
            if runner.divergence:
                log.count_seconds()
        summary = write_summary(folder, setup, runner.state, totals, ended=ended)
    if runner.divergence:
        raise DivergenceError(runner.divergence, summary, folder)
    return summary


def _restore_or_begin(checkpointer: Checkpointer, setup: Setup) -> tuple[TrainState, Totals]:
    """Returns the state to go on from, and the sums of the runs before."""
    if (restored := checkpointer.restore_latest(setup.state)) is None:
        return setup.state, Totals()
    state, metadata = restored
    jax.tree.map(lambda leaf: leaf.delete(), setup.state)  # as a step would, which donates it
    logging.warning(
        "going on at step %d: parameters, optimizer and position in the data are as %d process(es)"
        " with %d device(s) left them; now %d and %d",
        int(state.step),
        metadata["processes"],
        metadata["devices"],
        jax.process_count(),
        jax.device_count(),
    )
    return state, Totals(**metadata["totals"])


def _why_to_end(plan: Plan, runner: StepRunner, totals: Totals) -> str:
    """Says why no step follows the latest one, or nothing."""
    if runner.divergence:
        return DIVERGED
    if runner.number >= plan.num_train_steps:
        return FINISHED
    stale = optimizer.validations_since_best(totals.scores)
    if plan.early_stopping_patience and stale >= plan.early_stopping_patience:
        return STOPPED_EARLY
    return signal.Signals(runner.signal).name if runner.signal else ""


def _is_validation_due(plan: Plan, number: int) -> bool:
    return number % plan.eval_every_steps == 0 or number == plan.num_train_steps


def _is_checkpoint_due(plan: Plan, number: int) -> bool:
    return number % plan.checkpoint_every_steps == 0 or number == plan.num_train_steps


def _validate(setup: Setup, runner: StepRunner, totals: Totals, log: TrainLog) -> float | None:
    """Scores the state; where scores have stopped rising, lowers the learning rate."""
    plan = setup.plan
    scores = validate(
        setup.eval_step,
        runner.state.variables,
        setup.data,
        targets=setup.targets,
        batch_size=plan.batch_size,
        mesh=setup.mesh,
    )
    score = scores.sdr
    if score is None:
        return None
    by_target = {f"validation/sdr_{name}": value for name, value in scores.estimate.items()}
    several = by_target if len(by_target) > 1 else {}
    known = {name: value for name, value in several.items() if value is not None}
    log.write(runner.number, {"validation/sdr": score, **known})
    if not math.isfinite(score):  # nothing is better or worse than that
        return None
    totals.scores.append(score)
    if plan.plateau_patience:
        scale = optimizer.plateau_scale(
            totals.scores, patience=plan.plateau_patience, factor=plan.plateau_factor
        )
        opt_state = optimizer.with_plateau_scale(
            runner.state.opt_state, sharding.replicate(np.float32(scale), setup.mesh)
        )
        runner.state = runner.state.replace(opt_state=opt_state)
    return score


def _describe(setup: Setup, totals: Totals, score: float | None) -> dict[str, Any]:
    """Returns the metadata of a checkpoint."""
    return {
        "sdr": score,
        "totals": dataclasses.asdict(totals),
        "processes": jax.process_count(),
        "devices": jax.device_count(),
        **setup.description,
    }
