"""Ctrl-C and the notice of preemption between pieces of work instead of within one."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


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
