"""Signals, worker processes and background threads that end in good order."""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Self

# Windows has no SIGHUP.
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class SignalHandler:
    """Handles signals, and gives them back at the end of a `with` block.

    Outside the main thread, where Python takes no signals, it does nothing.

    Args:
      numbers: Signals to handle.
      handle: Function of a signal's number and the frame, or `signal.SIG_IGN`.

    Attributes:
      number: Number of the first signal that came, or 0; set by `handle`.
    """

    def __init__(self, numbers: Iterable[int], handle: Any):
        self.number = 0
        self._numbers, self._handle, self._previous = numbers, handle, {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {n: signal.signal(n, self._handle) for n in self._numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class StopRequest(SignalHandler):
    """Turns a first Ctrl-C, SIGTERM or SIGHUP into a request; a second one interrupts at once.

    Under `nohup`, SIGHUP stays ignored.

    Args:
      notice: Consequence of the first signal, for the user.
    """

    def __init__(self, notice: str):
        numbers = [signal.SIGINT, signal.SIGTERM]
        numbers += [n for n in SIGNALS[2:] if signal.getsignal(n) != signal.SIG_IGN]
        super().__init__(numbers, self._request)
        self._notice = notice

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        name = signal.Signals(number).name
        notice = f"\n{name}: {self._notice}; once more: stopping at once\n"
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, notice.encode())  # sys.stderr may be in the middle of a write


@contextlib.contextmanager
def worker_pool(
    workers: int, initializer: Callable[[], object] | None = None
) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Runs worker processes. An error ends them at once, and so does this process's end.

    Args:
      workers: Number of processes.
      initializer: Function that each of them calls first.
    """
    executor = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (initializer,)
    )
    try:
        yield executor
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker(initializer: Callable[[], object] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer:
        initializer()


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed: it would wait for work for good."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def ignored_interrupts() -> SignalHandler:
    """Starts processes deaf to Ctrl-C: the parent ends its workers itself, without their noise."""
    return SignalHandler([signal.SIGINT], signal.SIG_IGN)


_jax_process: int | None = None


def refuse_forked_jax() -> None:
    """Marks this process as one that uses JAX, whose threads a fork doesn't take along.

    Raises:
      RuntimeError: If it was forked from such a process: JAX would wait there for good.
    """
    global _jax_process
    if _jax_process not in (None, os.getpid()):
        raise RuntimeError(
            "this process was forked from one that had used JAX, and JAX would hang; start it by"
            ' multiprocessing.get_context("spawn"), or restore the model in it alone'
        )
    _jax_process = os.getpid()


def quiet_background_errors() -> None:
    """Leaves out what Orbax's and TensorStore's threads print about a failed read or write.

    The failure itself is raised as an exception all the same. For programs, which report that.
    """

    def report(unraisable) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    sys.unraisablehook = report
    logging.getLogger("absl").addFilter(is_wanted)
