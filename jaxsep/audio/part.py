"""A part of a file as a file of its own."""

import io
import os
from typing import Any


class Part(io.RawIOBase):
    """A part of a file as a file of its own, which may be sought anywhere without an error.

    Args:
      file: Seekable binary file, which several parts may share if they are read one by one.
      start: Offset of the first byte.
      stop: Offset behind the last byte; None for the end of the file.
    """

    def __init__(self, file: Any, start: int = 0, stop: int | None = None):
        self.name = file.name
        self._file, self._start, self._position = file, start, 0
        self._size = (file.seek(0, os.SEEK_END) if stop is None else stop) - start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = max(0, bases[whence] + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        left = max(0, self._size - self._position)
        if not left:
            return 0
        self._file.seek(self._start + self._position)
        data = self._file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
