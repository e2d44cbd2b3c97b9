"""Ctrl-C and its kin end a command once, in good order."""

import contextlib
import os
import signal
import threading
import time
from types import FrameType

from jaxsep.processes import SIGNALS, SignalHandler

PATIENCE = 2.0  # seconds that clearing up may take before another signal ends it
_LATER = 0.01  # seconds until a signal that can't be raised now comes again


class Interrupts(SignalHandler):
    """Turns the first signal that asks to end into a KeyboardInterrupt. A context manager.

    Signals within `PATIENCE` after it count as the same request: an exception in the middle of
    clearing up would leave files and threads behind. Later ones end the program at once, and so
    does any signal while a command imports: nothing has begun, and C++ that imports in its turn
    doesn't survive an exception. While FFmpeg reads a file through Python, an exception would be
    lost: the signal waits. Signals that are ignored (`nohup`) stay ignored.
    """

    def __init__(self):
        defaults = (signal.SIG_DFL, signal.default_int_handler)
        mine = [number for number in SIGNALS if signal.getsignal(number) in defaults]
        super().__init__(mine, self._interrupt)
        self._since = 0.0

    def __exit__(self, *exception: object) -> None:
        if not self.number:  # else the program is about to end, which nothing should interrupt
            super().__exit__(*exception)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if _is_read_by_ffmpeg(frame):
            again = threading.Timer(_LATER, signal.raise_signal, [number])
            again.daemon = True
            again.start()
            return
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


def _is_read_by_ffmpeg(frame: FrameType | None) -> bool:
    """Tells whether FFmpeg has called Python to read a file."""
    while frame:
        if frame.f_globals["__name__"] == "jaxsep.audio.part":
            return True
        frame = frame.f_back
    return False
