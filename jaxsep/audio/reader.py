"""Reads audio files in blocks.

Audio is float64 of shape [samples, channels] with full scale at +-1, the channels in WAV's order.
An integer sample of b bits is the exact multiple of 2**-(b - 1), so PCM of up to 32 bits passes
through unchanged. docs/formats.md says what is kept and what is limited.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from jaxsep.audio import ogg
from jaxsep.audio.converter import Converter
from jaxsep.audio.ffmpeg import FfmpegTrack
from jaxsep.audio.part import Part
from jaxsep.audio.sndfile import SndfileTrack
from jaxsep.audio.timeline import Timeline
from jaxsep.audio.track import LONGEST, LOUDEST, AudioError, Track, UnknownFormatError

__all__ = ["STDIN", "AudioError", "AudioReader", "read_audio"]

STDIN = Path("-")
_MOST_LINKS = 1_000  # of a chained file whose length is looked up beforehand


class AudioReader:
    """Reads one audio file in blocks. Use as a context manager.

    What is wrong with the file but doesn't make it useless (damage, samples that aren't finite) is
    replaced by silence or skipped, and noted.

    Args:
      path: Path of the file; "-" is the standard input. What comes through a pipe is kept in a
        temporary file first, as most formats can't be read exactly in one go.
      audio_stream: Number of the audio track, from 0; None for the one that the file calls its
        default, or the first.

    Attributes:
      path: The file.
      sample_rate: In Hz.
      channels: Number of channels.
      layout: Name of the channel layout, see `jaxsep.audio.layouts`.
      bit_depth: 8, 16, 24 or 32 for integer samples, None for float ones and for lossy codecs.
      num_samples: Samples per channel that the file claims, or None. Exact for sound lossless files
        and Ogg. For others it is an estimate, and `blocks` may return more or fewer: some hundreds
        for AAC, a multiple for an MP3 of variable bit rate without a Xing header.
      notes: One-line remarks on what was wrong with the file; complete after the last block.

    Raises:
      AudioError: The file can't be read, isn't audio, is protected, exceeds the limits in
        `jaxsep.audio.track`, or has no samples in it.
    """

    def __init__(self, path: str | os.PathLike[str], audio_stream: int | None = None):
        self.path = Path(path)
        self._audio_stream = audio_stream
        with contextlib.ExitStack() as stack:
            try:
                file: Any = stack.enter_context(_open(path))
                if not file.seekable():
                    pipe, file = file, stack.enter_context(tempfile.TemporaryFile())
                    shutil.copyfileobj(pipe, file, 2**20)
                    file.seek(0)
                start = file.peek(4)
            except OSError as error:
                raise AudioError(f"{self.path}: {error.strerror}") from error
            if not start:
                raise AudioError(f"{self.path}: the file is empty")
            is_ogg = start.startswith(b"OggS")
            self._links: Sequence[Part] = ogg.links(file) if is_ogg else [Part(file)]
            self._track = stack.enter_context(contextlib.closing(self._open(self._links[0])))
            self.sample_rate, self.layout = self._track.sample_rate, self._track.layout
            self.channels = av.AudioLayout(self.layout).nb_channels
            self.bit_depth = self._track.bit_depth
            self.num_samples = self._claimed_samples()
            self._stack = stack.pop_all()
        self.notes: list[str] = []

    def _open(self, link: Part) -> Track:
        is_ogg = isinstance(link, ogg.Link)
        if is_ogg and link.is_music and not self._audio_stream:
            with contextlib.suppress(UnknownFormatError):
                return SndfileTrack(self.path, link)
            link.seek(0)
        try:
            is_damaged = is_ogg and link.is_damaged
            return FfmpegTrack(self.path, link, self._audio_stream, is_damaged)
        except UnknownFormatError:
            if self._audio_stream:
                raise
            link.seek(0)
            return SndfileTrack(self.path, link)

    def _claimed_samples(self) -> int | None:
        seconds = self._track.seconds
        if seconds is None or len(self._links) > _MOST_LINKS:
            return None
        for link in self._links[1:]:
            with contextlib.suppress(AudioError), contextlib.closing(self._open(link)) as track:
                seconds += track.seconds or Fraction(0)
            link.seek(0)
        return round(seconds * self.sample_rate) if 0 < seconds <= LONGEST else None

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def blocks(self, block_size: int) -> Iterator[np.ndarray]:
        """Yields the audio from start to end; the file can be gone through once.

        Args:
          block_size: Samples per block.

        Yields:
          float64 [block_size, channels]; the last block may be shorter, but is never empty.

        Raises:
          AudioError: The file can't be read any more, or is too long.
        """
        pieces, size = [], 0
        for piece in self._finite_pieces():
            pieces.append(piece)
            size += len(piece)
            if size >= block_size:
                ends = range(block_size, size + 1, block_size)
                *full, rest = np.split(np.concatenate(pieces), ends)
                yield from full
                pieces, size = [rest], len(rest)
        if size:
            yield np.concatenate(pieces)

    def _finite_pieces(self) -> Iterator[np.ndarray]:
        position = unusable = first = 0
        for piece in self._pieces():
            usable = np.abs(piece) <= LOUDEST
            if not usable.all():
                if not unusable:
                    first = position + int(np.argmin(usable.all(axis=1)))
                unusable += int(np.count_nonzero(~usable))
                piece = np.where(usable, piece, 0.0)
            position += len(piece)
            if position > LONGEST * self.sample_rate:
                raise AudioError(f"{self.path}: longer than {LONGEST // 3600} hours; split it")
            yield piece
        if unusable:
            self.notes.append(
                f"{unusable:,} sample{' is' if unusable == 1 else 's are'} NaN, infinite or over"
                f" {LOUDEST:.0e} times full scale, the first at {first / self.sample_rate:.3f} s;"
                " silence stands in for it"
            )

    def _pieces(self) -> Iterator[np.ndarray]:
        timeline = Timeline(self._track.origin)
        converter = Converter(self.path, self.sample_rate, self.layout)
        for sound in self._track.sounds(timeline):
            yield from converter.convert(sound)
        for link in self._links[1:]:
            timeline.begin_link()
            try:
                with contextlib.closing(self._open(link)) as track:
                    for sound in track.sounds(timeline):
                        yield from converter.convert(sound)
            except UnknownFormatError:
                timeline.damage()
        yield from converter.flush()
        self.notes += [*timeline.notes(), *converter.notes]
        if len(self._links) == 1:
            self.notes += self._track.end_notes(timeline.position)
        last = self._links[-1]
        if isinstance(last, ogg.Link) and last.is_cut_off:
            self.notes.append(f"cut off: ends at {float(timeline.position):.2f} s")


def _open(path: str | os.PathLike[str]) -> Any:
    """Opens a file, or standard input, which stays open afterwards."""
    is_stdin = Path(path) == STDIN
    return open(0 if is_stdin else path, "rb", closefd=not is_stdin)


def read_audio(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Returns a whole file as float32 [samples, channels], and its sample rate in Hz.

    Raises:
      AudioError: See `AudioReader`; or there is anything to note about the file.
    """
    with AudioReader(path) as reader:
        blocks = [block.astype(np.float32) for block in reader.blocks(2**18)]
        if reader.notes:
            raise AudioError(f"{reader.path}: {reader.notes[0]}")
        return np.concatenate(blocks), reader.sample_rate
