"""Worker processes that end at once and quietly."""

import concurrent.futures
import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def worker_pool(
    workers: int, initializer: Callable[[], object] | None = None
) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Runs worker processes, which an error ends at once.

    Args:
      workers: their number.
      initializer: called in each of them first.
    """
    executor = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer
    )
    try:
        yield executor
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Starts processes deaf to Ctrl-C: the parent ends its workers itself, without their noise."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
