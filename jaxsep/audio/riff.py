"""The length that a WAV file's header claims, and the one that it has."""

import os
import struct

from jaxsep.audio.part import Part

_SHORTEST_REST = 4_096  # bytes; less may be anything
# What programs put behind the sound, be it cut off.
_TAGS = (b"TAG", b"ID3", b"APET", b"\0\0\0\0", b"LIST", b"id3 ", b"bext", b"iXML", b"cue ", b"smpl")
_UP_TO_THE_END = (0, 2**32 - 1)


def data_bytes(file: Part) -> tuple[int, int] | None:
    """Compares how much sound a WAV file claims and has.

    It has less where it was cut off, and more where a recorder crashed: then the header holds the
    length that was last written to it.

    Args:
      file: The file, wherever it stands.

    Returns:
      Bytes claimed, and bytes there; None if they agree, the header claims nothing, or the file
      isn't a WAV file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header = file.read(12)
    if header[:4] not in (b"RIFF", b"RF64", b"BW64") or header[8:] != b"WAVE":
        return None
    position, data = 12, None  # data: where it begins, its claimed length
    long_data = None  # its length in RF64
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":
            long_data = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"data" and long_data is not None:
            if long_data == 0:
                return 0, size - position - 8
            length = long_data
        fits = position + 8 + length <= size
        if data is None and name == b"data":
            if length in _UP_TO_THE_END:
                return None
            if not fits:
                return length, size - position - 8
            data = position + 8, length
        elif data is not None and not (fits and all(32 <= byte < 127 for byte in name)):
            is_sound = size - position > _SHORTEST_REST and not name.startswith(_TAGS)
            return (data[1], size - data[0]) if is_sound else None
        position += 8 + length + length % 2
    return None
