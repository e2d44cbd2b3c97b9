"""What `train.py` runs: a training from its config, its summary, and one line for each error."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jaxsep.audio.reader import AudioError
from jaxsep.cli import demo
from jaxsep.collections.source import PreparationError
from jaxsep.console import first_line, printable
from jaxsep.data.records import DatasetError
from jaxsep.data.tfrecord import DataCorruptionError
from jaxsep.data.training_data import parse_data_dir
from jaxsep.files import is_remote, locate
from jaxsep.models.files import ModelError
from jaxsep.training import loop
from jaxsep.training.config_checks import ConfigError
from jaxsep.training.distributed import DistributedError
from jaxsep.training.summary import DIVERGED, FINISHED, STOPPED_EARLY
from jaxsep.training.workdir import WorkdirError

MEMORY = (
    "out of memory; try --config.grad_accum_steps=2 or more, a smaller batch_size, or"
    " mix_on_device=False"
)


def report_errors(run: Callable[[], int]) -> int:
    """Runs a training; what goes wrong becomes one line and an exit code.

    Returns:
      What `run` returns; 2 for wrong usage or unusable input, 1 for a failure midway, 130 after
      Ctrl-C.
    """
    try:
        return run()
    except (ConfigError, DistributedError, PreparationError) as error:
        return fail(2, str(error))
    except loop.DivergenceError as error:
        if jax.process_index() == 0:
            print(describe(error.summary, error.workdir))
        return fail(1, str(error))
    except (ModelError, DatasetError, WorkdirError) as error:
        return _fail_alone(2, str(error))
    except (AudioError, DataCorruptionError) as error:
        return _fail_alone(1, str(error))
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail_alone(1, where)
    except jax.errors.JaxRuntimeError as error:
        reason = first_line(error)
        if "RESOURCE_EXHAUSTED" in reason:
            return _fail_alone(1, f"{MEMORY} ({reason})")
        if jax.process_count() > 1:
            return _fail_alone(1, f"another process has ended: see what it says ({reason})")
        raise
    except KeyboardInterrupt:
        return _fail_alone(130, "interrupted; the same command goes on from the last checkpoint")


def train(config: Any, workdir: str | None) -> int:
    """Trains as a config says, on the built-in band where it names no data set.

    Args:
      config: Of a recipe; `data_dir` and `num_train_steps` are filled in.
      workdir: Folder of the training; None: `workdirs/MODEL-DATASET`.

    Returns:
      0, or 130 if it was interrupted.
    """
    use_band = config.data_dir is None
    steps = config.demo_train_steps if use_band else config.full_train_steps
    if config.num_train_steps is None:
        config.num_train_steps = steps
    if use_band:
        if jax.process_count() > 1:
            raise ConfigError("several processes need a prepared data set: --config.data_dir=DATA")
        print("no data set named (--config.data_dir=...): training on the built-in band")
        targets = [target.strip() for target in config.targets.split(",")]
        config.data_dir = str(demo.prepare_band(targets, config.demo_representation))
    names = [Path(path).name for path, _ in parse_data_dir(config.data_dir)]
    folder = _workdir(workdir or f"workdirs/{'-'.join([config.model.name, *names])}")
    is_main = jax.process_index() == 0
    if is_main:
        print(printable(f"workdir: {folder}"))
    summary = loop.train_and_evaluate(config, folder)
    if is_main:
        print(describe(summary, folder))
    if summary["ended"] == "SIGINT":
        return 130
    if use_band and summary["ended"] in (FINISHED, STOPPED_EARLY) and not is_remote(folder):
        print(demo.separate_example(Path(folder)))
    return 0


def _workdir(path: str) -> epath.Path:
    try:
        locate(path)
    except OSError as error:
        raise ConfigError(f"--workdir={error}") from error
    return epath.Path(path)


def describe(summary: dict[str, Any], workdir: epath.Path) -> str:
    """Describes a training's end in lines for the terminal."""
    lines = [
        f"{summary['ended']} after {summary['steps']} of {summary['num_train_steps']} steps,"
        f" {summary['seconds'] / 60:.1f} min; {summary['examples_per_second']:.1f} examples/s,"
        f" {summary['data_wait']:.1%} of the time waiting for data; {summary['clipped']:.0%} of"
        f" the gradients clipped, {summary['skipped_steps']} steps left out"
    ]
    is_over = summary["ended"] in (FINISHED, STOPPED_EARLY)
    named = ", ".join(summary["targets"])
    if summary["sdr_mixture"] is not None:
        scores = {named: (summary["sdr"], summary["sdr_mixture"])}
        if len(summary["targets"]) > 1:
            by_target = summary["sdr_by_target"], summary["sdr_mixture_by_target"]
            scores = {t: tuple(s[t] for s in by_target) for t in summary["targets"]} | {
                "mean": (summary["sdr"], summary["sdr_mixture"])
            }
        for name, (score, mixture) in scores.items():
            if score is not None:
                lines.append(
                    f"{name}, held out: {score:.2f} dB SDR; unprocessed mixture {mixture:.2f} dB"
                )
    elif summary["sdr"] is not None:
        lines.append(f"{named}, held out, best so far: {summary['sdr']:.2f} dB SDR")
    elif is_over:
        lines.append(f"no held-out score: the data set has no validation track with {named}")
    if summary["checkpoint"] is not None:
        lines.append(f"checkpoint: {summary['checkpoint']}")
    if is_over:
        lines.append(f"picture: {workdir / 'spectrograms.png'}")
    elif summary["ended"] != DIVERGED:
        lines.append("the same command goes on from there")
    return "\n".join(map(printable, lines))


def fail(code: int, message: str) -> int:
    print("train.py:", printable(message), file=sys.stderr)
    return code


def _fail_alone(code: int, message: str) -> int:
    """Fails for a reason that other processes may not have.

    They wait for this one, and at its exit JAX would wait for them, minutes long. Leaving without
    that lets JAX end them.
    """
    fail(code, message)
    if jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
