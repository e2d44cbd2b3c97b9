"""Decodes audio files with FFmpeg's libraries, through PyAV.

FFmpeg knows most formats, their channel layouts, default tracks, time stamps and damage.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from jaxsep.audio import layouts, riff
from jaxsep.audio.converter import silence, sound_of
from jaxsep.audio.part import Part
from jaxsep.audio.protection import is_protected_asf, is_protected_packet, is_protected_track
from jaxsep.audio.timeline import Timeline
from jaxsep.audio.track import AudioError, Sound, Track, UnknownFormatError, check_format

_WITH_CHECKSUMS = ("flac", "wavpack", "tta", "ape")
_MPEG_AUDIO = ("mp1", "mp2", "mp3")
# Formats whose header tells the length exactly, so that a missing end is noticed.
_EXACT = ("w64", "aiff", "flac", "caf", "mov", "wv", "tta", "au")
_SHORTER = Fraction(1, 10)  # seconds that an end may be missing without a note
_MOST_HELD = 64  # frames that wait for a time stamp


class FfmpegTrack(Track):
    """An audio track of a file.

    Args:
      path: Path of the file, for messages.
      file: The file, at its beginning.
      audio_stream: Number of the audio track, from 0; None for the file's default track.
      is_damaged: Whether the file is known to be damaged: then it begins at time 0, wherever its
        first sound is.

    Raises:
      UnknownFormatError: FFmpeg doesn't know the format, or the beginning is damaged.
      AudioError: The track can't be used.
    """

    def __init__(
        self, path: Path, file: Part, audio_stream: int | None = None, is_damaged: bool = False
    ):
        self._path = path
        if is_protected_asf(file):
            raise self._protected()
        # Nothing but the file itself is opened: no protocol may open what a playlist names. Nor
        # are pictures decoded, which can need much memory.
        options = {"protocol_whitelist": "none", "codec_whitelist": _audio_decoders()}
        self._data_bytes = riff.data_bytes(file)
        file.seek(0)
        if self._data_bytes and self._data_bytes[0] < self._data_bytes[1]:
            options["ignore_length"] = "1"
        try:
            container = av.open(file, options=options, metadata_errors="replace")
        except FFmpegError as error:
            raise UnknownFormatError(path) from error
        self._container = cast(InputContainer, container)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._stream = self._choose(audio_stream)
            self._packets = self._container.demux(self._stream)
            self._check()
            self._frames = self._decode()
            self._first: Any = next(filter(None, self._frames), None)
            if self._first is None:
                raise AudioError(f"{path}: has no audio samples in it that can be decoded")
            # Of the frame, as the header of HE-AAC may tell half of the sample rate.
            self.sample_rate = self._first.sample_rate
            check_format(path, self.sample_rate, self._first.layout.nb_channels)
            stack.pop_all()
        self.layout = layouts.name_of(self._first.layout)
        self.bit_depth = _bit_depth(self._stream.codec_context)
        self._begins_late = is_damaged and bool(self._first.pts)
        self.origin = Fraction(0) if self._begins_late else self._find_origin()
        self.seconds = self._claimed_seconds()

    def close(self) -> None:
        self._container.close()

    def _choose(self, number: int | None) -> Any:
        tracks = self._container.streams.audio
        if not tracks:
            raise AudioError(f"{self._path}: has no audio track that FFmpeg can read")
        if number is not None and not 0 <= number < len(tracks):
            raise AudioError(
                f"{self._path}: has no audio stream {number}; it has {len(tracks)}, numbered from 0"
            )
        if number is not None:
            return tracks[number]
        # Among equals, sorted() keeps the file's order.
        ranked = sorted(tracks, key=lambda track: not track.disposition & Disposition.default)
        return next((track for track in ranked if track.codec_context), ranked[0])

    def _check(self) -> None:
        """Refuses what would be decoded to noise, not at all, or into too much memory."""
        codec = self._stream.codec_context
        is_protected = is_protected_track(self._container, self._stream)
        if codec is None:
            is_protected |= any(map(is_protected_packet, itertools.islice(self._packets, 100)))
        if is_protected:
            raise self._protected()
        if codec is None:
            raise AudioError(f"{self._path}: FFmpeg can't decode its codec; convert it first")
        if codec.sample_rate and codec.channels:
            check_format(self._path, codec.sample_rate, codec.channels)
        if codec.name in _WITH_CHECKSUMS:
            codec.options = {"err_detect": "crccheck+explode"}

    def _protected(self) -> AudioError:
        return AudioError(
            f"{self._path}: is protected (encrypted, or DRM) and can't be read; use a copy without"
            " protection"
        )

    def _decode(self) -> Iterator[Any]:
        """Yields frames, and None in place of what can't be decoded."""
        packet = None
        while True:
            try:
                packet = next(self._packets, None)
                if packet is None:
                    return
                if is_protected_packet(packet):
                    raise self._protected()
                yield from packet.decode()
            except FFmpegError:
                if packet is None or not packet.size:
                    return
                yield None
                yield from self._decode_behind_tags(packet)
            except OSError as error:
                raise AudioError(f"{self._path}: can't be read ({error.strerror})") from error

    def _decode_behind_tags(self, packet: Any) -> list[Any]:
        """Decodes the MPEG audio in a packet that begins with tags."""
        codec, data = self._stream.codec_context, bytes(packet)
        start = data.find(b"\xff\xfb", 1)
        if codec.codec.canonical_name in _MPEG_AUDIO and start > 0:
            with contextlib.suppress(FFmpegError):
                return codec.decode(av.Packet(data[start:]))
        return []

    def sounds(self, timeline: Timeline) -> Iterator[Sound]:
        # Behind damage, frames of FLAC have no time stamps: the next one tells where they belong.
        held: list[Any] = []
        if self._begins_late:
            timeline.damage()
        for frame in itertools.chain([self._first], self._frames):
            if frame is None:
                timeline.damage()
                continue
            held.append(frame)
            if frame.pts is not None or len(held) > _MOST_HELD:
                yield from _place(held, timeline)
                held = []
        if held:
            yield from _place(held, timeline)

    def _find_origin(self) -> Fraction | None:
        """Returns when the file's first sound or picture begins."""
        times = [
            stream.start_time * Fraction(stream.time_base or 1)
            for stream in self._container.streams
            if stream.type in ("audio", "video")
            and stream.start_time is not None
            and not stream.disposition & Disposition.attached_pic
            and stream is not self._stream
        ]
        if self._first.pts is None or not times:
            return None
        return min([self._first.pts * self._first.time_base, *times])

    def _claimed_seconds(self) -> Fraction | None:
        """Returns how long the track is, by the file's header, silence before it included."""
        stream, whole = self._stream, self._container.duration
        if not stream.duration:
            return Fraction(whole, av.time_base) if whole else None
        seconds: Fraction = stream.duration * Fraction(stream.time_base or 1)
        if self.origin is not None:
            seconds += self._first.pts * self._first.time_base - self.origin
        return seconds

    def end_notes(self, position: Fraction) -> list[str]:
        name, _, _ = self._container.format.name.partition(",")
        has_xing = name == "mp3" and bool(self._stream.start_time)  # that of the encoder's delay
        claimed = self.seconds if name in _EXACT or has_xing else None
        if self._data_bytes:
            claimed = position * Fraction(*self._data_bytes)
        if claimed and position < claimed - _SHORTER:
            return [f"cut off: ends at {float(position):.2f} s of {float(claimed):.2f} s"]
        if claimed and self._data_bytes and position > claimed:
            return [
                f"its header claims {float(claimed):.2f} s; all {float(position):.2f} s were read"
            ]
        return []


def _place(frames: list[Any], timeline: Timeline) -> Iterator[Sound]:
    """Yields frames, the last of which may have a time stamp, behind the silence before them."""
    last = frames[-1]
    length = sum((Fraction(frame.samples, frame.sample_rate) for frame in frames), Fraction(0))
    time, is_exact = None, False
    if last.pts is not None:
        time = last.pts * last.time_base + Fraction(last.samples, last.sample_rate) - length
        is_exact = (1 / last.time_base) % last.sample_rate == 0
    gap = timeline.place(time, length, is_exact)
    sounds = [sound_of(frame) for frame in frames]
    yield from silence(gap, sounds[0])
    yield from sounds


@functools.cache
def _audio_decoders() -> str:
    """Lists FFmpeg's audio decoders, separated by commas."""
    names = []
    for name in sorted(av.codecs_available):
        with contextlib.suppress(ValueError):  # an encoder
            if av.Codec(name, "r").type == "audio":
                names.append(name)
    return ",".join(names)


def _bit_depth(codec: Any) -> int | None:
    bits = {"u8": 8, "s16": 16, "s32": 32}.get(codec.format.packed.name)
    if bits is None:
        return None
    # FFmpeg holds 24 bits in 32 and 8 in 16, and PyAV doesn't tell, so look at the headers of the
    # common codecs. For any other, writing more bits loses nothing but disk space.
    header = codec.extradata or b""
    if "s24" in codec.name:
        bits = 24
    elif codec.name == "alac" and len(header) == 36:
        bits = header[17]
    elif codec.name == "flac" and len(header) == 34:
        bits = (header[12] & 1) * 16 + (header[13] >> 4) + 1
    elif codec.name == "tta" and len(header) >= 10:
        bits = int.from_bytes(header[8:10], "little")
    return next((depth for depth in (8, 16, 24) if bits <= depth), 32)
