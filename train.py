"""Trains a masker.

    python train.py --config=configs/lstm.py                            # on the built-in band
    python train.py --config=configs/lstm.py --config.data_dir=DATA     # on a prepared data set
    python train.py --config=configs/lstm.py --config.data_dir=A:2,B:1  # on two, by their weights

Every field of the config can be set: --config.batch_size=32. On a TPU pod, under Slurm's srun and
in a Kubernetes job the processes find each other; elsewhere start each of them with

    --coordinator_address=HOST:PORT --num_processes=N --process_id=0  (1, 2, ... N - 1)
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

import jaxsep.cli.early  # noqa: F401
from jaxsep.cli import train
from jaxsep.processes import quiet_background_errors
from jaxsep.training import distributed

CONFIG = config_flags.DEFINE_config_file("config", help_string="recipe, such as configs/lstm.py")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the training; default: workdirs/MODEL-DATASET"
)
COORDINATOR = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "processes of the training")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "number of this process, from 0")


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        return train.fail(2, f"unknown argument {argv[1]!r}; flags begin with --")
    return train.report_errors(_train)


def _train() -> int:
    distributed.start(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    return train.train(CONFIG.value, WORKDIR.value)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake in it ends the program with one line and code 2."""
    try:
        remaining = flags.FLAGS(argv)
        if not {"--help", "--helpfull", "--helpshort", "-h"} & set(argv):
            _ = CONFIG.value  # a recipe that can't be loaded shows only here
        return remaining
    except Exception as error:  # the recipe is the user's own code: it may raise anything
        # Behind what ml_collections puts before it, the last line is what was wrong.
        sys.exit(train.fail(2, str(error).strip().split("\n")[-1].strip()))


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    quiet_background_errors()
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse_flags)
