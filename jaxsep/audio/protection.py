"""Tells protected files, whose sound FFmpeg would decode to noise or not at all.

References:
  Advanced Systems Format Specification 01.20.05, 3.3, 3.14 to 3.16.
  Apple, MPEG-2 Stream Encryption Format for HTTP Live Streaming (SAMPLE-AES).
"""

import uuid
from typing import Any

from jaxsep.audio.part import Part

_MP4_TAGS = (b"drms", b"aavd", b"enca")  # iTunes, Audible, Common Encryption
_SAMPLE_AES_TYPES = b"\xcf\xc1\xc2"  # AAC, AC-3, E-AC-3
_ASF_HEADER = uuid.UUID("75b22630-668e-11cf-a6d9-00aa0062ce6c").bytes_le
_ASF_STREAM = uuid.UUID("b7dc0791-a9b7-11cf-8ee6-00c00c205365").bytes_le
_ASF_FLAGS = 57  # offset behind the stream's name of the byte whose highest bit says "encrypted"
_ASF_ENCRYPTION = (
    uuid.UUID("2211b3fb-bd23-11d2-b4b7-00a0c955fc6e").bytes_le,  # content encryption
    uuid.UUID("298ae614-2622-4c17-b935-dae07ee9289c").bytes_le,  # extended
    uuid.UUID("43058533-6981-49e6-9b74-ad12cb86d58c").bytes_le,  # advanced
)
_LARGEST_HEADER = 2**20  # bytes


def is_protected_asf(file: Part) -> bool:
    """Tells whether a file is Windows Media with encrypted streams.

    Args:
      file: The file; its position is 0 before and after.
    """
    header = file.read(24)
    if header.startswith(_ASF_HEADER):
        size = int.from_bytes(header[16:], "little")
        header += file.read(min(size, _LARGEST_HEADER))
    file.seek(0)
    if not header.startswith(_ASF_HEADER):
        return False
    streams = header.split(_ASF_STREAM)[1:]
    has_flag = any(stream[_ASF_FLAGS : _ASF_FLAGS + 1] >= b"\x80" for stream in streams)
    return has_flag or any(name in header for name in _ASF_ENCRYPTION)


def is_protected_track(container: Any, track: Any) -> bool:
    """Tells whether an audio track is encrypted, as far as its description says so.

    Args:
      container: Container of PyAV.
      track: Audio track of it.
    """
    kind = container.format.name
    if "matroska" in kind:
        return "enc_key_id" in track.metadata
    if not track.codec_context:
        return False
    try:
        tag = track.codec_context.codec_tag.encode()
    except UnicodeDecodeError as error:  # a tag that is a number
        tag = error.object
    return tag in _MP4_TAGS or (kind == "mpegts" and tag[0] in _SAMPLE_AES_TYPES)


def is_protected_packet(packet: Any) -> bool:
    """Tells whether a packet of PyAV is encrypted."""
    return packet.has_sidedata("encryption_info")
