"""Shows that a training that is killed again and again ends as an undisturbed one, bit for bit.

usage: python -m benchmarks.kill_and_resume [--kills=20] [--steps=200] [--seed=0] [--output=DIR]
                                            [--recipe=lstm] [--config.FIELD=VALUE ...]

Trains a small masker on a small built-in band twice. One training gets SIGKILL at random moments,
from start-up to the final scoring, and goes on by the same command each time. Then the arrays of
the last checkpoints are compared bit by bit, the numbers logged for each step each time it was
trained, and the summaries. Other flags go on to train.py. Exit code 0: all is identical; 1: it
isn't, or a run failed.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxsep.collections.built_in_band import BuiltInBand
from jaxsep.collections.source import PreparationError
from jaxsep.files import read_json
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.prepare import prepare
from jaxsep.stft_config import StftConfig

REPOSITORY = Path(__file__).parents[1]
STFT = StftConfig(sample_rate=8000, channels=2, n_fft=256, hop_length=64)
BAND = BuiltInBand(num_tracks=8, seed=0, duration=10.0, sample_rate=8000)
SAVED_EVERY = 7
FLAGS = (
    *("--config.batch_size=16", "--config.crop_frames=100", "--config.model.hidden_size=64"),
    *("--config.log_every_steps=1", "--config.health_every_steps=20"),
    *("--config.eval_every_steps=25", f"--config.checkpoint_every_steps={SAVED_EVERY}"),
)
CLOCKED = ("train/data_wait", "train/examples_per_second")  # of the machine, not of the training
SUMMED_UP = ("ended", "steps", "sdr", "sdr_mixture", "clipped", "skipped_steps")


class Pace(NamedTuple):
    """Seconds that an undisturbed training takes to its first step, for a step, and to score."""

    startup: float
    step: float
    scoring: float


class RunError(Exception):
    """A run failed, or was over before it could be killed."""


class Run:
    """A process that trains, in a group of its own; a context manager that kills what still runs.

    Its log is written beside the workdir.
    """

    def __init__(self, command: list[str], workdir: Path, name: str):
        self._metrics, self._log = workdir / "metrics.jsonl", workdir.with_name(f"{name}.log")
        self._skip, self._begun = len(read_lines(self._metrics)), time.monotonic()
        self._process = subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            cwd=REPOSITORY,
            stdout=self._log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def steps(self) -> list[int]:
        """Returns the steps that this run has logged."""
        return [line["step"] for line in read_lines(self._metrics)[self._skip :]]

    def wait_for(self, step: int) -> float:
        """Waits until it has logged this step or a later one; returns seconds since the start."""
        while max(self.steps(), default=0) < step and self._process.poll() is None:
            time.sleep(0.01)
        return time.monotonic() - self._begun

    def wait(self, code: int) -> float:
        """Waits until it has ended, with this code; returns seconds since the start."""
        if (found := self._process.wait()) != code:
            raise RunError(f"ended with exit code {found}, not {code}; see {self._log}")
        return time.monotonic() - self._begun


def read_lines(metrics: Path) -> list[dict[str, Any]]:
    lines = []
    for line in metrics.read_text().split("\n") if metrics.exists() else []:
        with contextlib.suppress(ValueError):  # cut off by a kill, or still in the making
            lines.append(json.loads(line))
    return lines


def train(command: list[str], workdir: Path, steps: int) -> Pace:
    """Trains undisturbed."""
    with Run(command, workdir, workdir.name) as run:
        first, last = run.wait_for(1), run.wait_for(steps)
        return Pace(first, (last - first) / steps, run.wait(code=0) - last)


def plan_kills(rng: np.random.Generator, kills: int, steps: int) -> list[int]:
    """Draws the steps to kill at, in order: the last step at last; a fifth is 0, start-up."""
    starting = kills // 5
    latest = max(1, steps - 2 * SAVED_EVERY)  # so that the training isn't over too early
    targets = sorted(rng.integers(1, latest, size=kills - starting - 1, endpoint=True).tolist())
    for place in rng.integers(0, len(targets), size=starting, endpoint=True):
        targets.insert(place, 0)
    return [*targets, steps]


def train_with_kills(
    command: list[str], workdir: Path, targets: list[int], rng: np.random.Generator, pace: Pace
) -> list[str]:
    """Trains to the end, killed soon after each target; returns in words where the kills fell."""
    moments = []
    for number, target in enumerate(targets, start=1):
        with Run(command, workdir, f"{workdir.name}-{number:02d}") as run:
            run.wait_for(target)
            longest = SAVED_EVERY * pace.step if target else pace.startup
            time.sleep(rng.uniform(0, 0.8 * pace.scoring if target == targets[-1] else longest))
        run.wait(code=-signal.SIGKILL)
        moments.append(_describe_moment(workdir, run.steps(), targets[-1]))
        print(f"kill {number} of {len(targets)}: {moments[-1]}", flush=True)
    with Run(command, workdir, f"{workdir.name}-end") as run:
        run.wait(code=0)
    return moments


def _describe_moment(workdir: Path, steps: list[int], last: int) -> str:
    if not steps:
        return "start-up"
    checkpoints = [path.name for path in (workdir / "checkpoints").glob("*")]
    where = f"steps {min(steps)} to {max(steps)}"
    if any("tmp" in name for name in checkpoints):
        return f"{where}, saving"
    return f"{where}, final scoring" if str(last) in checkpoints else where


def read_arrays(checkpoint: Path) -> dict[str, np.ndarray]:
    """Reads all arrays that are in a checkpoint's files, whatever the trainer thinks is there."""
    with ocp.StandardCheckpointer() as reader:
        tree = {item: reader.restore(checkpoint / item) for item in ("model", "training")}
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def read_numbers(workdir: Path) -> dict[str, Any]:
    """Reads all numbers that a training logged and summed up, but those that the clock decides."""
    numbers: dict[str, Any] = {}
    for line in read_lines(workdir / "metrics.jsonl"):
        for name in line.keys() - {"step", *CLOCKED}:  # a step trained twice repeats its numbers
            numbers.setdefault(f"{name} of step {line['step']}", set()).add(line[name])
    summary = read_json(workdir / "summary.json")
    summed_up = {f"{name} in the summary": summary[name] for name in SUMMED_UP}
    return {**numbers, **summed_up, "best checkpoint": Path(summary["checkpoint"]).name}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names what isn't the same in both, or isn't in both."""
    return [name for name in sorted(one.keys() | other) if one.get(name) != other.get(name)]


def compare_trainings(args: argparse.Namespace, flags: list[str], folder: Path) -> bool:
    """Trains twice, prints the result and returns whether all is identical."""
    begun, rng = time.monotonic(), np.random.default_rng(args.seed)
    data, whole, killed = (folder / name for name in ("data", "whole", "killed"))
    stems, frames = ("vocals", "accompaniment"), STFT.frames_in(2.0)
    prepare(BAND, data, Settings(STFT, stems, frames, remixes=0, seed=0), workers=2)
    command = [sys.executable, "train.py", f"--config=configs/{args.recipe}.py", *FLAGS]
    command += [f"--config.data_dir={data}", f"--config.num_train_steps={args.steps}", *flags]
    pace = train(command, whole, args.steps)
    print("undisturbed:", ", ".join(f"{k} {v:.2f} s" for k, v in pace._asdict().items()))
    moments = train_with_kills(command, killed, plan_kills(rng, args.kills, args.steps), rng, pace)
    arrays, others = (read_arrays(d / "checkpoints" / str(args.steps)) for d in (whole, killed))
    bits = [{n: (a.dtype, a.shape, a.tobytes()) for n, a in d.items()} for d in (arrays, others)]
    numbers = [read_numbers(d) for d in (whole, killed)]
    differences = [*differing(*bits), *differing(*numbers)]
    result = f"{len(differences)} DIFFER: {', '.join(differences[:10])}; look into {folder}"
    trained = sum("train/loss" in line for line in read_lines(killed / "metrics.jsonl"))
    parameters = sum(a.size for name, a in arrays.items() if name.startswith("model/params/"))
    print(
        f"{' '.join([args.recipe, *flags])}, {args.steps} steps, seed {args.seed}",
        f"{len(moments)} kills: {'; '.join(moments)}",
        f"{trained - args.steps} steps repeated,"
        f" {len([*killed.glob('damaged-*')])} checkpoints damaged",
        f"compared: {len(arrays)} arrays ({parameters} parameters, statistics, Adam's moments,"
        f" counters), {len(numbers[0])} numbers of metrics.jsonl and summary.json",
        f"result: {result if differences else 'identical'}",
        f"{datetime.date.today()}, {platform.platform()}, {os.cpu_count()} cores,"
        f" {(time.monotonic() - begun) / 60:.1f} minutes",
        sep="\n",
    )
    return not differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, help="keeps data, workdirs and logs; must be new")
    parser.add_argument("--recipe", default="lstm", help="one of configs/, without .py")
    args, flags = parser.parse_known_args()
    if args.kills < 1 or args.steps < 4 * SAVED_EVERY:
        parser.error(f"--kills must be at least 1, --steps at least {4 * SAVED_EVERY}")
    if args.output and args.output.exists():
        parser.error(f"{args.output} exists; use another --output")
    folder = args.output or Path(tempfile.mkdtemp(prefix="kill_and_resume-"))
    try:
        is_identical = compare_trainings(args, flags, folder.absolute())
    except (RunError, PreparationError, OSError) as error:
        print("kill_and_resume:", error, file=sys.stderr)
        return 1
    if is_identical and not args.output:
        shutil.rmtree(folder)
    return 0 if is_identical else 1


if __name__ == "__main__":
    sys.exit(main())
