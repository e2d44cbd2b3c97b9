"""The training loop: `train_and_evaluate` reads like the description of a training."""

import contextlib
import dataclasses
import signal
import time
from typing import Any, NamedTuple

import jax
from absl import logging
from etils import epath

from jaxsep import sharding
from jaxsep.data import records
from jaxsep.data.device_mixer import DeviceMixer
from jaxsep.data.input_pipeline import eval_batches, train_batches
from jaxsep.data.mixing import Mixing
from jaxsep.files import absolute
from jaxsep.processes import StopRequest
from jaxsep.training import failures, optimizer, setup, workdir
from jaxsep.training.checkpoints import Checkpointer
from jaxsep.training.health import LayerNumbers
from jaxsep.training.log import Totals, TrainLog
from jaxsep.training.state import TrainState
from jaxsep.training.step import Batch
from jaxsep.training.summary import DIVERGED, FINISHED, STOPPED_EARLY, write_summary
from jaxsep.training.validation import validate

INVESTIGATED_STEPS = 3  # of those left out in one run; the others are counted


class DivergenceError(Exception):
    """Too many updates failed in a row.

    Attributes:
      summary: as `train_and_evaluate` would return it, with "diverged" as `ended`.
      workdir: of the training.
    """

    def __init__(self, message: str, summary: dict[str, Any], workdir: epath.Path):
        super().__init__(message)
        self.summary, self.workdir = summary, workdir


class Step(NamedTuple):
    """A step that the devices may still be busy with.

    Attributes:
      number: from 1.
      before: the state before it.
      batch: of all processes.
      results: `metrics` of the training step; `stop`, the highest signal number that a process
        received; and, if it is time, `health`: what `health.make_examine` tells.
    """

    number: int
    before: TrainState
    batch: Batch
    results: dict[str, Any]


def train_and_evaluate(config: Any, folder: epath.PathLike) -> dict[str, Any]:
    """Trains a masker and scores it, continuing where an earlier run in `folder` ended.

    A first Ctrl-C or SIGTERM, on any of the processes, lets the steps in hand end and saves a
    checkpoint; a second one doesn't wait. Either way, and also after a crash, the next run ends
    with the parameters of an undisturbed one.

    Args:
      config: a ConfigDict as `configs/default.py` describes it, with `data_dir` and
        `num_train_steps` set.
      folder: the workdir; gets checkpoints, metrics, `config.json`, `summary.json` and
        `spectrograms.png`.

    Returns:
      What `summary.json` holds: `ended` ("finished", "stopped early" or a signal's name),
      `checkpoint` (path of the best), its `sdr` and, once the training is over, `sdr_mixture` (dB,
      mean over the validation tracks; None without any), `steps`, `seconds` and more.

    Raises:
      programs.ConfigError, records.DatasetError: if the config or the data set can't be used.
      workdir.WorkdirError, checkpoints.CheckpointError: if `folder` belongs to another training,
        or what it holds is damaged.
      DivergenceError: if too many updates fail in a row.
      KeyboardInterrupt: at a second Ctrl-C.
      OSError: if `folder` can't be written.
    """
    with StopRequest("saving after the steps in hand") as stop:
        dataset = records.load_dataset(config.data_dir)
        parts = setup.build(config, dataset)
        folder = absolute(folder)
        workdir.claim(folder, config.to_dict(), dataset)
        with contextlib.closing(Checkpointer(folder)) as saver:
            training = Training(config, folder, dataset, parts, saver)
            with contextlib.closing(training.log):
                failure = training.run(stop)
        summary = write_summary(
            folder,
            config,
            dataset,
            parts,
            steps=int(training.state.step),
            totals=training.totals,
            ended=training.ended,
        )
        if failure:
            raise DivergenceError(failure, summary, folder)
        return summary


class Training:
    """A training under way.

    Args:
      config: see `train_and_evaluate`.
      folder: the workdir.
      dataset: to train on.
      parts: what runs on the devices.
      saver: the workdir's; what it has is continued.

    Attributes:
      state: after the latest step; its numbers may still be in the making.
      totals: of all runs.
      ended: why it is over or interrupted.
    """

    def __init__(
        self,
        config: Any,
        folder: epath.Path,
        dataset: records.Dataset,
        parts: setup.Programs,
        saver: Checkpointer,
    ):
        self.config, self.folder, self.dataset, self.parts = config, folder, dataset, parts
        self.state, self.totals, self.ended = parts.state, Totals(), ""
        self._saver = saver
        self._description = workdir.describe(config, dataset)
        self._investigated = 0
        self._failure: str | None = None
        if (restored := saver.restore_latest(self.state)) is not None:
            self.state, metadata = restored
            self.totals = Totals(**metadata["totals"])
            logging.warning(
                "going on at step %d: parameters, optimizer and position in the data are as"
                " %d process(es) with %d device(s) left them; now %d and %d",
                int(self.state.step),
                metadata["processes"],
                metadata["devices"],
                jax.process_count(),
                jax.device_count(),
            )
        segment_frames = dataset.manifest["settings"]["segment_frames"]
        crop_frames = min(config.crop_frames or segment_frames, segment_frames)
        mixing, self._mix = Mixing(**config.mixing), None
        if config.mix_on_device:
            self._mix = DeviceMixer(
                dataset, "train", frames=crop_frames, mixing=mixing, mesh=parts.mesh
            )
        self._batches = train_batches(
            dataset,
            batch_size=config.batch_size,
            crop_frames=crop_frames,
            seed=config.seed,
            mixing=mixing,
            plans=config.mix_on_device,
            # Batch s depends on the data, the seed and s alone: the step is the whole position.
            first_batch=int(self.state.step),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        # A data set that can't be validated on is refused before hours are spent on it.
        eval_batches(dataset, "validation", batch_size=config.batch_size)
        self.log = TrainLog(
            folder,
            self.totals,
            step=int(self.state.step),
            num_steps=config.num_train_steps,
            batch_size=config.batch_size,
            every=config.log_every_steps,
            active=jax.process_index() == 0,
        )
        self._seconds_before, self._begun = self.totals.seconds, time.monotonic()

    def run(self, stop: StopRequest) -> str | None:
        """Trains until the end, or until something ends it, as `ended` then tells.

        A step is settled, its numbers read, while the devices do the next one.

        Returns:
          If too many updates failed in a row: what happened, and what to do.
        """
        config = self.config
        number, running, signalled = int(self.state.step), None, 0
        while not (ended := self._reason_to_end(number, signalled)):
            number += 1
            following = self._dispatch(number, stop)
            if running:
                signalled = self._settle(running)
            running = following
            is_eval = number == config.num_train_steps or number % config.eval_every_steps == 0
            is_save = is_eval or signalled or number % config.checkpoint_every_steps == 0
            if is_save and not self._failure:
                signalled = self._settle(running) or signalled
                running = None
            if is_save and not self._failure:
                with self.log.paused():
                    self._save(self._validate(number) if is_eval else None)
        self.ended = ended
        return self._failure

    def _reason_to_end(self, number: int, signalled: int) -> str:
        """Says why no step follows this one, or nothing."""
        patience = self.config.early_stopping_patience
        if self._failure:
            return DIVERGED
        if number >= self.config.num_train_steps:
            return FINISHED
        if patience and optimizer.validations_since_best(self.totals.scores) >= patience:
            return STOPPED_EARLY
        return signal.Signals(signalled).name if signalled else ""

    def _dispatch(self, number: int, stop: StopRequest) -> Step:
        """Starts the next step and doesn't wait for it."""
        config, parts = self.config, self.parts
        with self.log.waiting():
            share = next(self._batches)
        batch = sharding.to_global_batch(share, parts.mesh)
        if self._mix:
            batch = self._mix(batch)
        before = self.state
        scale = optimizer.plateau_scale(
            self.totals.scores, patience=config.plateau_patience, factor=config.plateau_factor
        )
        self.state, metrics = parts.train_step(before, batch, scale)
        results = {"metrics": metrics, "stop": sharding.highest(stop.number, parts.mesh)}
        if number % config.health_every_steps == 0:
            results["health"] = parts.examine(
                before.params, self.state.params, before.statistics, batch, before.step
            )
        return Step(number, before, batch, results)

    def _settle(self, step: Step) -> int:
        """Reads a step's numbers, acts on what they say, and returns the signal that came, or 0."""
        results = jax.device_get(step.results)
        metrics = results["metrics"]
        self.log.add(step.number, metrics)
        if "health" in results:
            self._log_health(step.number, results["health"]["layers"])
        is_last = metrics["failed_in_row"] >= self.config.max_failed_in_row
        if is_last or (metrics["skipped"] and self._investigated < INVESTIGATED_STEPS):
            self._investigated += 1
            with self.log.paused():
                cause, layers = failures.investigate(
                    self.folder,
                    self.parts,
                    state=step.before,
                    batch=step.batch,
                    dataset=self.dataset,
                    description=self._description,
                )
            self._log_health(step.number, layers)
            if is_last:
                self._count_seconds()
                self._failure = (
                    f"{self.config.max_failed_in_row} updates failed in a row, until step"
                    f" {step.number}: {cause}. See `jaxsep health {self.folder}`; try"
                    f" {_advise(self.config)} in another --workdir"
                )
            else:
                logging.warning("step %d is left out: %s", step.number, cause)
        return int(results["stop"])

    def _log_health(self, number: int, layers: LayerNumbers) -> None:
        self.log.write_health(number, {name: layers[name] for name in self.parts.layers})

    def _validate(self, number: int) -> float | None:
        score, _ = validate(
            self.parts.eval_step,
            self.state.variables,
            self.dataset,
            batch_size=self.config.batch_size,
            mesh=self.parts.mesh,
        )
        if score is not None:
            self.totals.scores.append(score)
            self.log.write(number, {"validation/sdr": score})
        return score

    def _count_seconds(self) -> None:
        self.totals.seconds = self._seconds_before + time.monotonic() - self._begun

    def _save(self, score: float | None) -> None:
        self._count_seconds()
        metadata = {
            "sdr": score,
            "totals": dataclasses.asdict(self.totals),
            "processes": jax.process_count(),
            "devices": jax.device_count(),
            **self._description,
        }
        self._saver.save(self.state, metadata)
        self.log.sync()


def _advise(config: Any) -> str:
    """Names what may keep updates from failing, given what is set."""
    ways = [f"a learning_rate below {config.learning_rate}"]
    ways.append(f"a grad_clip_norm below {config.grad_clip_norm}")
    if not config.model.get("normalise", True):
        ways.append("model.normalise=True")
    if config.compute_dtype != "float32":
        ways.append("compute_dtype=float32")
    return " or ".join(ways)
