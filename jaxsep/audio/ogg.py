"""Links of chained Ogg files: streams that follow each other, as internet radio sends them."""

import os
import zlib
from typing import Any

from jaxsep.audio.part import Part

_CAPTURE = b"OggS"
_FIRST_PAGE = 0x02  # Flag of a stream's first page.
_HEADER, _LARGEST_PAGE, _CODEC = 27, 65_307, 8  # bytes
_CHUNK = 2**16
# What is behind so many links or damaged pages is taken for one link.
_MOST_LINKS, _MOST_DAMAGED = 10_000, 1_000
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Link(Part):
    """A link of an Ogg file.

    Args:
      file: Seekable binary file.
      start: Offset of the first byte.
      stop: Offset behind the last byte.
      codecs: First bytes of each stream, which name its codec.
      is_damaged: Whether pages are damaged or missing.

    Attributes:
      is_damaged: Whether pages are damaged or missing.
      is_music: Whether it is an undamaged stream of Vorbis or Opus, and nothing else.
      is_cut_off: Whether its last page ends before it should.
    """

    def __init__(self, file: Any, start: int, stop: int, codecs: list[bytes], is_damaged: bool):
        super().__init__(file, start, stop)
        self.is_cut_off = False
        self.is_damaged = is_damaged
        known = len(codecs) == 1 and codecs[0].startswith((b"\x01vorbis", b"OpusHead"))
        self.is_music = known and not is_damaged


def links(file: Any) -> list[Link]:
    """Finds the links of a seekable Ogg file, and which of them are damaged.

    Returns:
      The links in order; the first begins where the file begins.
    """
    size = file.seek(0, os.SEEK_END)
    starts: list[int] = [0]
    codecs: list[list[bytes]] = [[]]
    damaged: set[int] = set()  # numbers of links
    numbers: dict[bytes, int] = {}  # that the next page of each stream should have
    position, failures, was_first, is_cut_off = 0, 0, True, False
    while position < size and failures < _MOST_DAMAGED and len(starts) < _MOST_LINKS:
        page = _read_page(file, position)
        if not _is_intact(page):
            if position + len(page) < size:
                damaged.add(len(starts) - 1)
            is_cut_off |= position + len(page) == size and page.startswith(_CAPTURE)
            position, failures = _find_page(file, position + 1, size), failures + 1
            continue
        is_cut_off = False
        is_first = bool(page[5] & _FIRST_PAGE)
        if is_first and not was_first:
            starts.append(position)
            codecs.append([])
        if is_first:
            body = _HEADER + page[26]
            codecs[-1].append(page[body : body + _CODEC])
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        if not is_first and number != numbers.get(serial):
            damaged.add(len(starts) - 1)
        numbers[serial] = number + 1
        was_first = is_first
        position += len(page)
    stops = [*starts[1:], size]
    found = [
        Link(file, start, stop, codecs[index], index in damaged)
        for index, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]
    found[-1].is_cut_off = is_cut_off
    return found


def _read_page(file: Any, position: int) -> bytes:
    file.seek(position)
    data = file.read(_LARGEST_PAGE)
    body = _HEADER + data[_HEADER - 1] if len(data) > _HEADER else len(data)
    return data[: body + sum(data[_HEADER:body])]


def _is_intact(page: bytes) -> bool:
    """Compares the CRC-32 of a page with the one in its header.

    It has the most significant bit first, and `zlib` has the same polynomial the other way round.

    Reference: RFC 3533, section 6.
    """
    if len(page) <= _HEADER or not page.startswith(_CAPTURE):
        return False
    blank = page[:22] + bytes(4) + page[26:]
    reverse = zlib.crc32(blank.translate(_REVERSED), 2**32 - 1) ^ (2**32 - 1)
    return page[22:26] == reverse.to_bytes(4, "big").translate(_REVERSED)


def _find_page(file: Any, position: int, size: int) -> int:
    """Returns the offset of the next page at or behind a position, or the file's size."""
    while position < size:
        file.seek(position)
        chunk = file.read(_CHUNK)
        if (found := chunk.find(_CAPTURE)) >= 0:
            return position + found
        position += max(len(chunk) - len(_CAPTURE) + 1, 1)
    return size
