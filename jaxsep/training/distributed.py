"""Starts `jax.distributed` where a training runs as several processes."""

import re
import socket
import time

import jax

MEETING_SECONDS = 300  # how long processes wait for each other


class DistributedError(Exception):
    """The processes can't find each other."""


def start(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Joins this process with the others of its training, before JAX is used at all.

    TPU pods, Slurm (`srun`) and Kubernetes jobs tell JAX by themselves; elsewhere all three
    arguments are needed. With neither, this process is alone.

    Args:
      coordinator_address: `HOST:PORT` of process 0, at which the others find it.
      num_processes: of the training.
      process_id: of this one, from 0.

    Raises:
      DistributedError: if only some of the arguments are given, or the others aren't found.
    """
    given = [coordinator_address, num_processes, process_id]
    if any(value is not None for value in given) and None in given:
        raise DistributedError(
            "--coordinator_address, --num_processes and --process_id belong together: give all"
            " three, or none on a TPU pod, under srun or in a Kubernetes job"
        )
    if coordinator_address is not None and not re.fullmatch(r".+:\d+", coordinator_address):
        raise DistributedError(f"--coordinator_address={coordinator_address} isn't HOST:PORT")
    if num_processes is not None and not 0 <= (process_id or 0) < num_processes:
        raise DistributedError(f"--process_id={process_id} must be 0 to {num_processes - 1}")
    if coordinator_address is not None and process_id:
        _wait_for(coordinator_address)
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except ValueError as error:
        if "coordinator_address should be defined" not in str(error):
            raise DistributedError(f"{error} (jax.distributed)") from error
        # No cluster that JAX knows: one process.
    except RuntimeError as error:
        raise DistributedError(
            f"the {num_processes or 'other'} processes didn't meet at {coordinator_address}"
            f" ({str(error).splitlines()[0]})"
        ) from error


def _wait_for(coordinator_address: str) -> None:
    """Waits until process 0 listens; JAX itself would abort the program if it never does."""
    host, port = coordinator_address.rsplit(":", 1)
    deadline = time.monotonic() + MEETING_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise DistributedError(
                    f"nobody listens at --coordinator_address={coordinator_address} ({error});"
                    " is process 0 running there?"
                ) from error
            time.sleep(1)
