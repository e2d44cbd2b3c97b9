"""Ctrl-C and its kin end a command once, in good order."""

import contextlib
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self

NUMBERS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
PATIENCE = 2.0  # seconds that clearing up may take before another signal ends it


class Interrupts:
    """Turns the first signal that asks to end into a KeyboardInterrupt. A context manager.

    What comes within `PATIENCE` after it is taken for the same request: an exception in the middle
    of clearing up would leave files and threads behind. Later ones end the program at once. While
    a command imports, nothing has been begun, and C++ that imports in its turn does not survive an
    exception: then the program ends at once, too. Signals that are ignored (`nohup`) stay ignored.

    Attributes:
      number: Number of the first signal that came, or 0.
    """

    def __init__(self):
        self.number, self._since = 0, 0.0
        self._previous = {}

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._previous[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.number:  # else the program is about to end, which nothing should interrupt
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number and now - self._since < PATIENCE:
            return
        if self.number or _is_importing(frame):
            with contextlib.suppress(OSError):
                os.write(2, b"jaxsep: interrupted\n")
            os._exit(128 + number)
        self.number, self._since = number, now
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Tells whether it is a command, not what works for it, that waits for an import."""
    importer = None
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    return importer is not None and importer.f_globals["__name__"].startswith("jaxsep.cli")
