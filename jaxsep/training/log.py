"""The numbers of a training: shown, written and added up."""

import contextlib
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tqdm import tqdm

from jaxsep.files import is_remote

METRICS = "metrics.jsonl"
HEALTH = "health"
FLUSH_SECONDS = 30  # between writes of TensorBoard's file


@dataclasses.dataclass
class Totals:
    """Sums over a training, over all its runs.

    Attributes:
      seconds: of everything, since the process began to train.
      timed_steps: all but the first of each run, which compiles.
      step_seconds: of these, without validation and checkpoints.
      data_wait_seconds: of those, spent waiting for the next batch.
      clipped: steps whose gradient was clipped.
      skipped: steps left out because loss or gradient weren't finite.
      scores: of the validations in dB, oldest first.
    """

    seconds: float = 0.0
    timed_steps: int = 0
    step_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    clipped: int = 0
    skipped: int = 0
    scores: list[float] = dataclasses.field(default_factory=list)


class TrainLog:
    """Shows a progress bar, and writes scalars as JSON lines and for TensorBoard.

    Args:
      workdir: gets `metrics.jsonl` and TensorBoard's event files.
      totals: so far; counted on.
      step: where the training begins or goes on.
      num_steps: of the whole training.
      batch_size: examples in a step.
      every: steps between two lines.
      active: whether to show and write at all; one process of a pod does.
    """

    def __init__(
        self,
        workdir: epath.Path,
        totals: Totals,
        *,
        step: int,
        num_steps: int,
        batch_size: int,
        every: int,
        active: bool,
    ):
        self.totals = totals
        self._before = dataclasses.replace(totals)
        self._step_before = step
        self._mark: float | None = None  # since when time counts
        self._seconds_before, self._begun = totals.seconds, time.monotonic()
        self._flushed = time.monotonic()
        self._batch_size, self._every, self._active = batch_size, every, active
        if active:
            self._workdir, self._local = workdir, workdir
            if is_remote(workdir):  # buckets know no appending
                self._local = epath.Path(tempfile.mkdtemp())
                if (workdir / METRICS).exists():
                    (self._local / METRICS).write_bytes((workdir / METRICS).read_bytes())
            metrics = self._local / METRICS
            is_cut_off = metrics.exists() and metrics.read_bytes()[-1:] not in (b"", b"\n")
            self._file = metrics.open("a")
            if is_cut_off:  # the process was killed
                self._file.write("\n")
            # Not its SummaryWriter: that one's thread waits for ever when the disk is full.
            self._board = EventsWriter(str(self._local / "events"))
        self._bar = tqdm(
            total=num_steps * batch_size,
            initial=step * batch_size,
            unit=" examples",
            desc="training",
            disable=not active,
            mininterval=1.0,
        )

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Counts a step, given its `train_step` metrics; shows and writes it if it is its turn."""
        totals, now = self.totals, time.monotonic()
        if self._mark is not None:
            totals.timed_steps += 1
            totals.step_seconds += now - self._mark
        self._mark = now
        totals.clipped += int(metrics["clipped"])
        totals.skipped += int(metrics["skipped"])
        self._bar.update(self._batch_size)
        if step % self._every and step > 1:
            return
        steps, before = step - self._step_before, self._before
        shares = {
            "clipped": (totals.clipped - before.clipped) / steps,
            "skipped": (totals.skipped - before.skipped) / steps,
        }
        if timed := totals.timed_steps - before.timed_steps:
            seconds = totals.step_seconds - before.step_seconds
            waited = totals.data_wait_seconds - before.data_wait_seconds
            shares["data_wait"] = waited / seconds
            shares["examples_per_second"] = timed * self._batch_size / seconds
        self._before, self._step_before = dataclasses.replace(totals), step
        values = {n: metrics[n] for n in ("loss", "grad_norm", "learning_rate")} | shares
        self.write(step, {f"train/{name}": value for name, value in values.items()})
        self._bar.set_postfix(loss=f"{metrics['loss']:.4f}", grad=f"{metrics['grad_norm']:.2g}")

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts what takes place inside as waiting for data."""
        asked = time.monotonic()
        yield
        if self._mark is not None:
            self.totals.data_wait_seconds += time.monotonic() - asked

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps what takes place inside from counting as time of the steps."""
        yield
        self._mark = time.monotonic()

    def count_seconds(self) -> None:
        """Brings `totals.seconds` up to date."""
        self.totals.seconds = self._seconds_before + time.monotonic() - self._begun

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers of a step; what isn't finite becomes null in the JSON lines.

        Raises:
          OSError: if they can't be written.
        """
        if not self._active:
            return
        values = {name: float(value) for name, value in scalars.items()}
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        event = event_pb2.Event(wall_time=time.time(), step=step)  # pyright: ignore
        for name, value in values.items():
            event.summary.value.add(tag=name, simple_value=value)
        with self._naming_the_file():
            self._file.write(json.dumps({"step": step, **line}) + "\n")
            self._file.flush()
            self._board.write_event(event)
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._flush()

    def _flush(self) -> None:
        self._board.flush()
        self._flushed = time.monotonic()

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._local / METRICS)) from error

    def write_health(self, step: int, layers: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes the numbers of each layer (`jaxsep.training.health`)."""
        numbers = {
            f"{HEALTH}/{layer}/{name}": value
            for layer, values in layers.items()
            for name, value in values.items()
        }
        self.write(step, numbers)

    def sync(self) -> None:
        """Brings what was written to the disk, or to the bucket if the workdir is on one."""
        if not self._active:
            return
        with self._naming_the_file():
            self._flush()
        if is_remote(self._workdir):
            for file in self._local.iterdir():
                (self._workdir / file.name).write_bytes(file.read_bytes())

    def close(self) -> None:
        """Ends the progress bar and the files."""
        self._bar.close()
        if self._active:
            self.sync()
            with self._naming_the_file():
                self._file.close()
                self._board.close()
            if is_remote(self._workdir):
                self._local.rmtree()
