"""Decodes audio files in blocks.

Audio is float64 of shape [samples, channels] with full scale at +-1. An integer sample of b bits
is the exact multiple of 2**-(b - 1), so PCM of up to 32 bits passes through unchanged.

Lossless formats, Ogg Vorbis and Ogg Opus are decoded by libsndfile. The rest (MP3, AAC, ALAC, WMA,
the sound of a video, ...) is decoded by FFmpeg's libraries, through PyAV. Vorbis, Opus, and MP3
with a Xing/LAME header come back at the length that was encoded. Of AAC in MP4/M4A the last frame's
padding (up to 1023 samples) may stay, and of all other lossy files the encoder's delay as well.

A WAV, AIFF, Ogg or MP3 file that was merely cut off is read up to there: no decoder complains.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import soundfile
from av.error import FFmpegError

_BIT_DEPTHS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_BIT_DEPTHS |= {"ALAC_16": 16, "ALAC_20": 24, "ALAC_24": 24, "ALAC_32": 32}


_LOUDEST = 1e6  # times full scale; beyond lies only what a broken program wrote


class AudioError(Exception):
    """An audio file can't be read or written; the one-line text names the file and the reason."""


class AudioReader:
    """Reads one audio file in blocks. Use as a context manager.

    Attributes:
      path: The file.
      sample_rate: In Hz.
      channels: Number of channels.
      bit_depth: 8, 16, 24 or 32 for integer samples, None for float ones and for lossy codecs.
      num_samples: Samples per channel. Exact for files that libsndfile decodes. For all others it
        is an estimate from the file's header, or None, and `blocks` may return more or fewer: some
        hundreds for AAC, a multiple for an MP3 of variable bit rate without a Xing header.

    Raises:
      AudioError: The file can't be read, isn't audio, or has no samples in it.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                if not file.read(1):
                    raise AudioError(f"{self.path}: the file is empty")
        except OSError as error:
            raise AudioError(f"{self.path}: {error.strerror}") from error
        self._decoder = _open_libsndfile(self.path) or _open_ffmpeg(self.path)
        self.sample_rate = self._decoder.sample_rate
        self.channels = self._decoder.channels
        self.bit_depth = self._decoder.bit_depth
        self.num_samples = self._decoder.num_samples

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._decoder.close()

    def blocks(self, block_size: int) -> Iterator[np.ndarray]:
        """Yields the audio from start to end; the file can be gone through once.

        Args:
          block_size: Samples per block.

        Yields:
          float64 [block_size, channels]; the last block may be shorter, but is never empty.

        Raises:
          AudioError: The file is damaged, changes its format, or has NaN or infinite samples.
        """
        pieces, size = [], 0
        for piece in self._checked_pieces():
            pieces.append(piece)
            size += len(piece)
            if size >= block_size:
                ends = range(block_size, size + 1, block_size)
                *full, rest = np.split(np.concatenate(pieces), ends)
                yield from full
                pieces, size = [rest], len(rest)
        if size:
            yield np.concatenate(pieces)

    def _checked_pieces(self) -> Iterator[np.ndarray]:
        position = 0
        try:
            for piece in self._decoder.pieces:
                usable = (np.abs(piece) <= _LOUDEST).all(axis=1)
                if not usable.all():
                    second = (position + int(np.argmin(usable))) / self.sample_rate
                    raise AudioError(
                        f"{self.path}: a sample at {second:.3f} s is NaN, infinite or over"
                        f" {_LOUDEST:.0e} times full scale; repair the file"
                    )
                position += len(piece)
                yield piece
        except self._decoder.failure as error:
            second = position / self.sample_rate
            raise AudioError(
                f"{self.path}: damaged, can't be decoded beyond {second:.2f} s; "
                "get an intact copy, or cut the file there"
            ) from error


def read_audio(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Returns a whole file as float32 [samples, channels], and its sample rate in Hz.

    Raises:
      AudioError: See `AudioReader`.
    """
    with AudioReader(path) as reader:
        blocks = [block.astype(np.float32) for block in reader.blocks(2**18)]
        return np.concatenate(blocks), reader.sample_rate


class _Decoder(NamedTuple):
    """An open file: its format, and an iterator over pieces of any length of its samples."""

    sample_rate: int
    channels: int
    bit_depth: int | None
    num_samples: int | None
    pieces: Iterator[np.ndarray]
    failure: type[Exception]  # What `pieces` raises where the file is damaged.
    close: Callable[[], object]


def _open_libsndfile(path: Path) -> _Decoder | None:
    """Opens `path` with libsndfile, or returns None if that is a case for FFmpeg."""
    try:
        file = soundfile.SoundFile(path)
    # TypeError: a file name that ends in ".raw"; UnicodeError: one that isn't UTF-8.
    except (soundfile.SoundFileError, TypeError, UnicodeError):
        return None
    # libsndfile guesses the length of an MP3 from its first frames, and cuts it off there. A FLAC
    # file that was written to a pipe has no length at all, which libsndfile fails on.
    if file.subtype.startswith("MPEG") or file.frames == np.iinfo(np.int64).max:
        return None
    if file.frames == 0:
        raise AudioError(f"{path}: has no audio samples in it")

    def pieces() -> Iterator[np.ndarray]:
        missing = file.frames
        while missing:
            piece = file.read(4_096, always_2d=True)
            if not len(piece):  # libsndfile ends a damaged Ogg file without an error.
                raise soundfile.SoundFileRuntimeError(f"{missing} samples are missing")
            missing -= len(piece)
            yield piece

    return _Decoder(
        sample_rate=file.samplerate,
        channels=file.channels,
        bit_depth=_BIT_DEPTHS.get(file.subtype),
        num_samples=file.frames,
        pieces=pieces(),
        failure=soundfile.SoundFileError,
        close=file.close,
    )


def _open_ffmpeg(path: Path) -> _Decoder:
    """Opens the first audio track of `path` with PyAV."""
    try:
        # An absolute path, since "Live: part 2.m4a" would be taken for a URL. The whitelist keeps
        # a file that is really a playlist from reaching out to the network.
        container = av.open(os.path.abspath(path), options={"protocol_whitelist": "file"})
        if not container.streams.audio:
            raise AudioError(f"{path}: has no audio track that FFmpeg can read")
        stream = container.streams.audio[0]
        pieces = _decode_packets(path, container.demux(stream), stream.codec_context)
        first = next(pieces, None)
    except (FFmpegError, UnicodeError) as error:  # PyAV needs names in UTF-8
        raise AudioError(
            f"{path}: not an audio file that libsndfile or FFmpeg can read (or it is damaged)"
        ) from error
    if first is None:
        raise AudioError(f"{path}: has no audio samples in it")

    # Only now, as the header of HE-AAC may tell half of the sample rate.
    sample_rate = stream.codec_context.sample_rate
    duration = container.duration
    return _Decoder(
        sample_rate=sample_rate,
        channels=first.shape[1],
        bit_depth=_ffmpeg_bit_depth(stream.codec_context),
        num_samples=round(duration / av.time_base * sample_rate) if duration else None,
        pieces=itertools.chain([first], pieces),
        failure=FFmpegError,
        close=container.close,
    )


def _decode_packets(path: Path, packets: Iterator[Any], codec: Any) -> Iterator[np.ndarray]:
    """Yields the audio of PyAV packets as float64 [samples, channels]."""
    # Many MP3s end in padding or in tags that FFmpeg takes for a broken packet. This only matters
    # if more audio follows.
    may_end_in_junk = codec.codec.canonical_name in ("mp1", "mp2", "mp3")
    damage = first_format = None
    for packet in packets:
        try:
            frames = packet.decode()
        except FFmpegError as error:
            if not may_end_in_junk:
                raise
            damage = damage or error
            continue
        for frame in frames:
            if damage:
                raise damage
            audio_format = f"{frame.sample_rate} Hz, {frame.layout.name}"
            first_format = first_format or audio_format
            if audio_format != first_format:
                raise AudioError(
                    f"{path}: changes from {first_format} to {audio_format} part-way; "
                    "convert it to a WAV file of one format first"
                )
            yield _frame_to_float(frame)


def _frame_to_float(frame: Any) -> np.ndarray:
    samples = frame.to_ndarray()  # [channels, samples], or [1, samples * channels] if interleaved.
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    scaled = samples / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return scaled - 1.0 if samples.dtype.kind == "u" else scaled


def _ffmpeg_bit_depth(codec: Any) -> int | None:
    bit_depth = {"u8": 8, "s16": 16, "s32": 32}.get(codec.format.packed.name)
    # FFmpeg holds 24 bits in 32, and PyAV doesn't tell, so look at the headers of the common
    # codecs. For any other, writing 32 bits loses nothing but disk space.
    header = codec.extradata or b""
    if bit_depth == 32 and (
        "s24" in codec.name
        or (codec.name == "alac" and len(header) == 36 and header[17] <= 24)
        or (codec.name == "flac" and len(header) == 34 and header[13] >> 4 == 0b0111)  # Of 24 - 1.
    ):
        return 24
    return bit_depth
