"""Ctrl-C and the notice of preemption, where they can do no harm."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


def leave_while_importing(notice: str, exit_code: int) -> None:
    """Makes Ctrl-C end the program at once as long as the main thread's function imports.

    Nothing has been begun then, and C++ that imports in its turn does not survive the exception.
    Later, Ctrl-C is the KeyboardInterrupt that it always is.

    Args:
      notice: the line that is printed.
      exit_code: of the program.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number
        if _is_importing(frame):
            os.write(2, f"{notice}\n".encode())
            os._exit(exit_code)
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def _is_importing(frame: FrameType | None) -> bool:
    """Returns whether it is a command, not what works for it, that waits for an import."""
    importer = None
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    return importer is not None and importer.f_globals["__name__"].startswith("jaxsep.commands")


class StopRequest:
    """Turns a first Ctrl-C or SIGTERM into a request; a second one interrupts at once.

    A context manager. Outside the main thread, where Python takes no signals, it does nothing.

    Args:
      notice: what the first signal leads to, for the user.

    Attributes:
      number: of the first signal that came, or 0.
    """

    def __init__(self, notice: str):
        self.number = 0
        self._notice = notice
        self._previous = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        name = signal.Signals(number).name
        notice = f"\n{name}: {self._notice}; once more: stopping at once\n"
        os.write(2, notice.encode())  # sys.stderr may be in the middle of a write
