"""Links of chained Ogg files: streams that follow each other, as internet radio sends them."""

import io
import os
import zlib
from typing import BinaryIO

_CAPTURE = b"OggS"
_FIRST_PAGE = 0x02  # Flag of a stream's first page.
_HEADER = 27
_LARGEST_PAGE = 65_307  # bytes
_CODEC = 8  # bytes
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CHUNK = 2**16


class Part(io.RawIOBase):
    """A part of a file as a file of its own.

    Args:
      file: Seekable binary file, which several parts may share if they are read one by one.
      start: Offset of the first byte.

    Attributes:
      stop: Offset behind the last byte.
      codecs: First bytes of each stream in it, which name its codec.
      is_damaged: Whether pages are damaged or there is something else between them.
    """

    def __init__(self, file: BinaryIO, start: int):
        self.stop = start
        self.codecs: list[bytes] = []
        self.is_damaged = False
        self.name = file.name
        self._file, self._start, self._position = file, start, 0

    @property
    def is_music(self) -> bool:
        """Whether it is a stream of Vorbis or Opus, and nothing else."""
        return len(self.codecs) == 1 and self.codecs[0].startswith((b"\x01vorbis", b"OpusHead"))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.stop - self._start}[
            whence
        ]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        left = max(0, self.stop - self._start - self._position)
        self._file.seek(self._start + self._position)
        data = self._file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def links(file: BinaryIO) -> list[Part]:
    """Finds the links of a seekable Ogg file.

    Returns:
      One part for each link; the first begins where the file begins.
    """
    size = file.seek(0, os.SEEK_END)
    parts = [Part(file, 0)]
    position, was_first = 0, True
    while position < size:
        file.seek(position)
        page = file.read(_LARGEST_PAGE)
        body = _HEADER + page[26] if len(page) > _HEADER else size
        page = page[: body + sum(page[_HEADER:body])]
        if not page.startswith(_CAPTURE) or _checksum(page) != page[22:26]:
            parts[-1].is_damaged = position + len(page) < size  # a cut is no damage
            position = _find_page(file, position + 1, size)
            continue
        is_first = bool(page[5] & _FIRST_PAGE)
        if is_first and not was_first:
            parts[-1].stop = position
            parts.append(Part(file, position))
        if is_first:
            parts[-1].codecs.append(page[body : body + _CODEC])
        was_first = is_first
        position += len(page)
    parts[-1].stop = size
    file.seek(0)
    return parts


def _checksum(page: bytes) -> bytes:
    """Returns the CRC-32 of a page, with the most significant bit first.

    Reference: RFC 3533, section 6. `zlib` has the same polynomial, the least significant bit first.
    """
    blank = page[:22] + bytes(4) + page[26:]
    reverse = zlib.crc32(blank.translate(_REVERSED), 2**32 - 1) ^ (2**32 - 1)
    return reverse.to_bytes(4, "big").translate(_REVERSED)  # Ogg stores the least byte first


def _find_page(file: BinaryIO, position: int, size: int) -> int:
    """Returns the offset of the next page at or behind a position, or the file's size."""
    while position < size:
        file.seek(position)
        chunk = file.read(_CHUNK)
        if (found := chunk.find(_CAPTURE)) >= 0:
            return position + found
        position += max(len(chunk) - len(_CAPTURE) + 1, 1)
    return size
