"""Training steps, one ahead of the numbers that are read, and what is done about failed ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxsep import sharding
from jaxsep.processes import StopRequest
from jaxsep.training import failed_steps
from jaxsep.training.log import TrainLog
from jaxsep.training.setup import Setup
from jaxsep.training.state import TrainState
from jaxsep.training.step import Batch

INVESTIGATED_STEPS = 3  # failed steps that are looked into in one run; the others are counted


class Step(NamedTuple):
    """A step that the devices may still be busy with.

    Attributes:
      number: Number of the step, from 1.
      batch: Batch of all processes.
      results: Arrays on the devices: `metrics` of the training step; `signal`, the highest number
        of a signal that any process received; where it is time, `layers` of `health.make_examine`.
    """

    number: int
    batch: Batch
    results: dict[str, Any]


class StepRunner:
    """Runs training steps; the devices do one while the numbers of the one before are read.

    Args:
      setup: Training of `setup.set_up`.
      state: State to go on from; it is donated.
      workdir: Folder that gets the failed steps.
      log: Log of the training.
      stop: Request to stop, of this process.

    Attributes:
      state: State after the latest step.
      number: Number of the latest step.
      signal: Number of the signal that a process received, or 0.
      divergence: What happened and what to do, once too many updates failed in a row.
    """

    def __init__(
        self,
        setup: Setup,
        state: TrainState,
        *,
        workdir: epath.Path,
        log: TrainLog,
        stop: StopRequest,
    ):
        self.state, self.number, self.signal, self.divergence = state, int(state.step), 0, ""
        self._setup, self._workdir, self._log, self._stop = setup, workdir, log, stop
        self._batches = setup.batches(self.number)
        self._failures_seen, self._num_investigated = int(state.failed_in_row), 0
        self._in_hand: Step | None = None

    def advance(self) -> None:
        """Starts the next step, then reads the numbers of the one before."""
        with self._log.waiting():
            batch = next(self._batches)
        self.number += 1
        before, self._in_hand = self._in_hand, self._start(batch)
        if before is not None and self._read(before) and not self.divergence:
            # The update before had failed, so this step has left the state untouched.
            self._in_hand = self._start(batch)

    def settle(self) -> None:
        """Waits for the latest step and reads its numbers."""
        if self._in_hand is not None and not self.divergence:
            self._read(self._in_hand)
        self._in_hand = None

    def _start(self, batch: Batch) -> Step:
        """Starts a step on the devices and doesn't wait for it."""
        setup, before = self._setup, None
        if self.number % setup.plan.health_every_steps == 0:
            before = _copy((self.state.params, self.state.statistics))  # the step donates its own
        self.state, metrics = setup.train_step(self.state, batch, np.int32(self._failures_seen))
        signal = sharding.highest(self._stop.number, setup.mesh)
        results = {"metrics": metrics, "signal": signal}
        if before is not None:
            params, statistics = before
            steps_before = np.int32(self.number - 1)
            seen = setup.examine(params, self.state.params, statistics, batch, steps_before)
            results["layers"] = seen["layers"]
        return Step(self.number, batch, results)

    def _read(self, step: Step) -> bool:
        """Reads a step's numbers, acts on them, and returns whether its update failed."""
        results = jax.device_get(step.results)
        metrics = results["metrics"]
        self.signal = max(self.signal, int(results["signal"]))
        self._failures_seen = int(metrics["failed_in_row"])
        self._log.add(step.number, metrics)
        if "layers" in results:
            self._log_layers(step, results["layers"])
        if not self._failures_seen:
            return False
        is_last = self._failures_seen >= self._setup.plan.max_failed_in_row
        if is_last or self._num_investigated < INVESTIGATED_STEPS:
            self._num_investigated += 1
            self._investigate(step, is_last=is_last)
        return True

    def _investigate(self, step: Step, *, is_last: bool) -> None:
        """Finds out why an update failed; the state is the one that the step began with."""
        with self._log.paused():
            cause, layers = failed_steps.investigate(
                self._workdir, self._setup, self.state, step.number, step.batch
            )
        self._log_layers(step, layers)
        if is_last:
            self.divergence = (
                f"{self._failures_seen} updates failed in a row, until step {step.number}: {cause}."
                f" See `jaxsep health {self._workdir}`; try {self._setup.advice} in another"
                " --workdir"
            )
        else:
            logging.warning("step %d is left out: %s", step.number, cause)

    def _log_layers(self, step: Step, layers: dict[str, Any]) -> None:
        self._log.write_health(step.number, {name: layers[name] for name in self._setup.layers})


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)
