"""Ctrl-C between steps instead of within one."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """Turns a first Ctrl-C into a request; a second one interrupts at once. A context manager.

    Outside the main thread, where Python takes no signals, it does nothing.

    Attributes:
      is_set: whether Ctrl-C was pressed.
    """

    def __init__(self):
        self.is_set = False
        self._previous = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
