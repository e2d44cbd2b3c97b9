"""Trains a masker.

    python train.py --config=configs/lstm.py                            # on the built-in band
    python train.py --config=configs/lstm.py --config.data_dir=DATA     # on a prepared data set

Every field of the config can be set: --config.batch_size=32. On a TPU pod, under Slurm's srun and
in a Kubernetes job the processes find each other; elsewhere start each of them with

    --coordinator_address=HOST:PORT --num_processes=N --process_id=0  (1, 2, ... N - 1)
"""

import os
import sys
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from data_prep import synthetic
from data_prep.segments import Settings
from data_prep.sources import PreparationError
from data_prep.write_dataset import prepare
from jaxsep import distributed, train_lib
from jaxsep.audio_reader import AudioError, read_audio
from jaxsep.checkpoints import CheckpointError, quiet_background_errors
from jaxsep.files import is_remote
from jaxsep.metrics import waveform_sdr
from jaxsep.programs import ConfigError
from jaxsep.records import DatasetError
from jaxsep.stft_config import StftConfig
from jaxsep.summary import DIVERGED, FINISHED, STOPPED_EARLY
from jaxsep.tfrecord import DataCorruptionError
from jaxsep.workdir import WorkdirError

CONFIG = config_flags.DEFINE_config_file("config", help_string="recipe, such as configs/lstm.py")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the training; default: workdirs/MODEL-DATASET"
)
COORDINATOR = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "processes of the training")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "number of this process, from 0")

MEMORY = (
    "out of memory; try --config.grad_accum_steps=2 or more, a smaller batch_size, or"
    " mix_on_device=False"
)

BAND_DIR = Path("data/built_in_band")
BAND = synthetic.BuiltInBand(num_tracks=26, seed=0)


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        return _fail(2, f"unknown argument {argv[1]!r}; flags begin with --")
    try:
        distributed.start(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
        return _train(CONFIG.value)
    except (ConfigError, distributed.DistributedError, PreparationError) as error:
        return _fail(2, str(error))
    except train_lib.DivergenceError as error:
        if jax.process_index() == 0:
            print(_describe(error.summary, epath.Path(WORKDIR.value or "")))
        return _fail(1, str(error))
    except (CheckpointError, DatasetError, WorkdirError) as error:
        return _fail_alone(2, str(error))
    except (AudioError, DataCorruptionError) as error:
        return _fail_alone(1, str(error))
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail_alone(1, where)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        if "RESOURCE_EXHAUSTED" in reason:
            return _fail_alone(1, f"{MEMORY} ({reason})")
        if jax.process_count() > 1:
            return _fail_alone(1, f"another process has ended: see what it says ({reason})")
        raise
    except KeyboardInterrupt:
        return _fail_alone(130, "interrupted; the same command goes on from the last checkpoint")


def _train(config: Any) -> int:
    use_band = config.data_dir is None
    steps = config.demo_train_steps if use_band else config.full_train_steps
    if config.num_train_steps is None:
        config.num_train_steps = steps
    if use_band:
        if jax.process_count() > 1:
            raise ConfigError("several processes need a prepared data set: --config.data_dir=DATA")
        print(
            f"no data set named (--config.data_dir=...): training on the built-in band, {BAND_DIR}"
        )
        config.data_dir = str(BAND_DIR)
        _prepare_band()
    workdir = epath.Path(
        WORKDIR.value or f"workdirs/{config.model.name}-{epath.Path(config.data_dir).name}"
    )
    is_main = jax.process_index() == 0
    if is_main:
        print(f"workdir: {workdir}")
    summary = train_lib.train_and_evaluate(config, workdir)
    if is_main:
        print(_describe(summary, workdir))
    if summary["ended"] == "SIGINT":
        return 130
    if use_band and summary["ended"] != "SIGTERM" and not is_remote(workdir):
        print(_separate_example(Path(workdir)))
    return 0


def _describe(summary: dict[str, Any], workdir: epath.Path) -> str:
    """Describes a training's end in lines for the terminal."""
    lines = [
        f"{summary['ended']} after {summary['steps']} of {summary['num_train_steps']} steps,"
        f" {summary['seconds'] / 60:.1f} min; {summary['examples_per_second']:.1f} examples/s,"
        f" {summary['data_wait']:.1%} of the time waiting for data; {summary['clipped']:.0%} of"
        f" the gradients clipped, {summary['skipped_steps']} steps left out"
    ]
    is_over = summary["ended"] in (FINISHED, STOPPED_EARLY)
    if summary["sdr_mixture"] is not None:
        lines.append(
            f"vocals, held out: {summary['sdr']:.2f} dB SDR; unprocessed mixture"
            f" {summary['sdr_mixture']:.2f} dB"
        )
    elif summary["sdr"] is not None:
        lines.append(f"vocals, held out, best so far: {summary['sdr']:.2f} dB SDR")
    elif is_over:
        lines.append("no held-out score: the data set has no validation track with vocals")
    if summary["checkpoint"] is not None:
        lines.append(f"checkpoint: {summary['checkpoint']}")
    if is_over:
        lines.append(f"picture: {workdir / 'spectrograms.png'}")
    elif summary["ended"] != DIVERGED:
        lines.append("the same command goes on from there")
    return "\n".join(lines)


def _prepare_band() -> None:
    stft = StftConfig()
    settings = Settings(stft, ("vocals", "accompaniment"), stft.frames_in(6.0), remixes=0, seed=0)
    prepare(BAND, BAND_DIR, settings, workers=2)


def _separate_example(workdir: Path) -> str:
    """Separates a song that was in no split that training saw, and says how well."""
    from jaxsep.separator import Separator
    from jaxsep.song_files import separate_file

    track = next(track for track in BAND.tracks() if track.split == "test")
    song = synthetic.write_audio(BAND, track, workdir / "example")
    separated = song / "separated"
    separator = Separator.restore(workdir)
    separate_file(separator, song / "mixture.wav", separated, overwrite=True)
    estimate, reference = (read_audio(d / "vocals.wav")[0] for d in (separated, song))
    score = waveform_sdr(reference, estimate)
    return f"separated example: {separated} (vocals {score:.2f} dB SDR against {song}/vocals.wav)"


def _fail(code: int, message: str) -> int:
    print("train.py:", message, file=sys.stderr)
    return code


def _fail_alone(code: int, message: str) -> int:
    """Fails for a reason that other processes may not have.

    They wait for this one, and at its exit JAX would wait for them, minutes long. Leaving without
    that lets JAX end them.
    """
    _fail(code, message)
    if jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake in it ends the program with one line and code 2."""
    try:
        remaining = flags.FLAGS(argv)
        if not {"--help", "--helpfull", "--helpshort", "-h"} & set(argv):
            _ = CONFIG.value  # a recipe that can't be loaded shows only here
        return remaining
    except Exception as error:  # the recipe is the user's own code: it may raise anything
        # Behind what ml_collections puts before it, the last line is what was wrong.
        sys.exit(_fail(2, str(error).strip().split("\n")[-1].strip()))


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    quiet_background_errors()
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse_flags)
