"""Does the accelerator wait? What the input pipeline delivers beside what training consumes.

usage: python -m benchmarks.input_pipeline --recipe=NAME[:VARIANT] --data_dir=DATA [--rounds=5]

Short rounds take turns, for machines are shared: the pipeline alone, from a warm disk; the
training step alone, on a batch in memory; both, as a training runs them; and an example's stages
in one thread. The pipeline should deliver 3 times what the step consumes, and training spend less
than 2 % of its time waiting for it.
"""

import argparse
import contextlib
import functools
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.table import Table
from jaxsep.data import records
from jaxsep.data.input_pipeline import pad_frames, train_batches
from jaxsep.data.mixing import Mixing
from jaxsep.data.mixtures import Mixtures
from jaxsep.data.tfrecord import DataCorruptionError, RecordSource
from jaxsep.data.training_data import TrainingData
from jaxsep.training.config_checks import ConfigError
from jaxsep.training.setup import set_up

STEPS = 4  # in a round; even, for the pipeline's two threads finish batches in pairs
ROWS = (
    *("pipeline alone, examples/s", "training step alone, examples/s", "ratio (at least 3)"),
    *("both, examples/s", "waiting for data, % (below 2)"),
    *("read and checksum, ms/example", "decode, ms/example", "crop and pad, ms/example"),
)
WAVEFORM_ROWS = (*ROWS[:5], "plan and read, ms/example")


class Benchmark:
    """One recipe on one data set. A round's number decides which examples are read."""

    def __init__(self, config: Any, dataset: records.Dataset):
        frames = dataset.manifest["settings"]["segment_frames"]
        self._crop_frames = min(config.crop_frames or frames, frames)
        self._batch_size = config.batch_size
        self._setup = set_up(config)
        self._state = self._setup.state  # each step donates it to the next
        self._source, self._codec = RecordSource(dataset.shards("train")), dataset.codec
        self._stems = (*dataset.targets, *dataset.rests)
        self._mixtures, self.rows = None, ROWS
        mixing, mesh = Mixing(**config.mixing.to_dict()), self._setup.mesh
        data = TrainingData((dataset,))
        if dataset.representation == records.WAVEFORM:
            self._mixtures = Mixtures(
                data,
                "train",
                targets=self._setup.targets,
                frames=self._crop_frames,
                mixing=mixing,
                mesh=mesh,
            )
            self.rows = WAVEFORM_ROWS
        self._train_batches = functools.partial(
            train_batches,
            data,
            targets=self._setup.targets,
            batch_size=self._batch_size,
            crop_frames=self._crop_frames,
            mesh=mesh,
            mixing=mixing,
        )
        with self._batches(0) as batches:
            self._batch = next(batches)
        self.step_rate()  # compiles

    def round(self, number: int) -> list[float]:
        """Returns the numbers that `rows` names."""
        self._pipeline(number)  # warms the disk: the next two read the same examples
        delivered, consumed = self._pipeline(number), self.step_rate()
        together, share = self._training(number)
        ratio = delivered / consumed
        return [delivered, consumed, ratio, together, 100 * share, *self._stages(number)]

    def _pipeline(self, number: int) -> float:
        with self._batches(number) as batches:
            next(batches)
            return self._rate(lambda: jax.block_until_ready(next(batches)), 4 * STEPS)

    def step_rate(self) -> float:
        """Returns the examples that the training step alone takes in a second."""

        def step() -> None:
            self._state, metrics = self._setup.train_step(self._state, self._batch, 0)
            jax.block_until_ready((self._state, metrics))

        return self._rate(step, STEPS)

    def _training(self, number: int) -> tuple[float, float]:
        """Trains, settling a step after the next has begun; also returns the share of waiting.

        The first two steps, which find the pipeline empty, don't count.
        """
        running, waits = None, []

        def step() -> None:
            nonlocal running
            asked = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - asked)
            self._state, following = self._setup.train_step(self._state, batch, 0)
            jax.device_get(running)
            running = following

        with self._batches(number) as batches:
            step()
            step()
            rate = self._rate(step, STEPS)
            jax.block_until_ready(self._state)
        return rate, sum(waits[2:]) * rate / (STEPS * self._batch_size)

    def _stages(self, number: int) -> np.ndarray:
        rng, marks = np.random.default_rng(number), []
        if self._mixtures:
            begun = time.perf_counter()
            for lead in rng.choice(self._mixtures.leads[0], size=self._batch_size).tolist():
                self._mixtures.load(lead, rng)
            return np.array([1e3 * (time.perf_counter() - begun) / self._batch_size])
        for record in rng.integers(len(self._source), size=self._batch_size).tolist():
            _ = self._source[record]  # warms the disk
            marks.append([time.perf_counter()])
            payload = self._source[record]
            marks[-1].append(time.perf_counter())
            example = self._codec.decode(payload)
            marks[-1].append(time.perf_counter())
            for stem in ("mixture", *self._stems):
                crop = example[stem][: self._crop_frames, :: rng.choice([1, -1])]
                pad_frames(crop, self._crop_frames)
            marks[-1].append(time.perf_counter())
        return 1e3 * np.diff(marks).mean(axis=0)

    @contextlib.contextmanager
    def _batches(self, seed: int) -> Iterator[Any]:
        """Gives fresh batches, and afterwards waits until their threads are done."""
        with contextlib.closing(self._train_batches(seed=seed)) as batches:
            yield batches
        for thread in threading.enumerate():
            if thread.name.startswith("grain-prefetch"):
                thread.join()

    def _rate(self, use_batch: Callable[[], Any], times: int) -> float:
        begun = time.perf_counter()
        for _ in range(times):
            use_batch()
        return times * self._batch_size / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, metavar="NAME[:VARIANT]")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds={args.rounds} must be 1 or more")
    name, *variant = args.recipe.split(":", 1)
    try:
        config = importlib.import_module(f"configs.{name}").get_config(*variant)
        config.num_train_steps, config.data_dir = config.full_train_steps, args.data_dir
        dataset = records.load_dataset(args.data_dir)
        benchmark = Benchmark(config, dataset)
        rounds = [benchmark.round(number) for number in range(1, args.rounds + 1)]
    except (ImportError, ValueError, ConfigError, records.DatasetError) as error:
        parser.exit(2, f"benchmarks.input_pipeline: {error}\n")
    except DataCorruptionError as error:
        parser.exit(1, f"benchmarks.input_pipeline: {error}\n")
    columns = ("", f"median of {args.rounds}", "least", "most")
    with Table(*columns, about=f"{args.recipe} on {dataset.manifest['name']}") as table:
        for name, values in zip(benchmark.rows, np.transpose(rounds), strict=True):
            table.row(name, float(np.median(values)), float(values.min()), float(values.max()))


if __name__ == "__main__":
    main()
