"""Writes audio files in blocks, and chooses the format of a song's stems."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
from av.error import FFmpegError

from jaxsep.audio import layouts
from jaxsep.audio.encoders import FORMATS as _FORMATS
from jaxsep.audio.encoders import FfmpegEncoder, LibsndfileEncoder
from jaxsep.audio.reader import AudioReader
from jaxsep.audio.track import AudioError
from jaxsep.files import replacing, sync

FORMATS = tuple(_FORMATS)
_FLAC_SHARE = 0.5  # of what the samples take; music needs more
_FAILURES = (OSError, soundfile.SoundFileError, FFmpegError)


class WriteError(AudioError):
    """A file can't be written; the one-line text names it and the reason."""


def choose_format(song: AudioReader, name: str, bit_depth: str | None) -> tuple[str, int | None]:
    """Chooses a format for the stems of a song.

    Args:
      song: The song, opened.
      name: One of `FORMATS`, or "same" as the song's, which its file name tells.
      bit_depth: "16", "24" or "32f" (float); None for the song's own, or the next that the format
        has.

    Returns:
      The format, and the bit depth as in `AudioWriter`.

    Raises:
      AudioError: The format can't hold that bit depth, or the song's rate, channels or layout.
    """
    if name == "same":
        suffix = song.path.suffix.lower().lstrip(".")
        name = {"oga": "ogg", "mp4": "m4a", "aac": "m4a"}.get(suffix, suffix)
        if name not in FORMATS:
            formats = ", ".join(FORMATS)
            raise AudioError(f"{song.path}: can't write .{suffix}; use --format, one of {formats}")
    form = _FORMATS[name]
    depths, depth = form.samples, song.bit_depth
    if bit_depth is not None:
        depth = None if bit_depth == "32f" else int(bit_depth)
        if depth not in depths or depths.keys() == {None}:
            raise AudioError(f"{song.path}: {name} has no --bit_depth={bit_depth}; leave it out")
    elif depth not in depths:
        integers = sorted(bits for bits in depths if bits)
        enough = [bits for bits in integers if depth and bits >= depth]
        depth = (enough or integers[-1:] or [None])[0]
    if song.channels > form.max_channels or song.sample_rate not in form.rates:
        raise AudioError(
            f"{song.path}: {name} can't hold {song.channels} channels of {song.sample_rate} Hz; use"
            " --format=wav"
        )
    if layouts.stored_as(song.layout, name) is None:
        raise AudioError(
            f"{song.path}: {name} can't hold the channel layout {song.layout}; use --format=wav"
        )
    return name, depth


def bytes_needed(song: AudioReader, audio_format: str, bit_depth: int | None) -> int:
    """Estimates the size of one stem of a song.

    Args:
      song: The song, opened.
      audio_format: See `choose_format`, as for `bit_depth`.

    Returns:
      Bytes; 0 if the song's length isn't known.
    """
    per_second = _FORMATS[audio_format].bytes_per_second
    if per_second is None:
        per_second = song.sample_rate * (bit_depth or 32) / 8
        per_second *= _FLAC_SHARE if audio_format == "flac" else 1
    return round((song.num_samples or 0) / song.sample_rate * song.channels * per_second)


def check_space(folder: Path, song: AudioReader, needed: int) -> None:
    """Refuses work whose results the disk can't hold.

    Args:
      folder: Folder for the results, which may not be there yet.
      song: The song, for the message.
      needed: Bytes of the results.

    Raises:
      AudioError: The disk has less room.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise AudioError(
            f"{song.path}: the stems need about {_size(needed)}, and {there} has {_size(free)}"
            " left; choose another --output, or a smaller --format"
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"


class AudioWriter:
    """Writes one audio file in blocks. Use as a context manager.

    The samples go to a hidden file in the same folder. It takes the name `path` when the `with`
    block ends well, and is deleted when the block raises, so there never is half a file at `path`,
    and one that was there before stays until it is replaced by a complete one.

    Args:
      path: The file to write; its folder must exist.
      sample_rate: In Hz.
      channels: Number of channels.
      bit_depth: 8, 16, 24 or 32 for integer samples, None for 32-bit float and for lossy formats.
      audio_format: One of `FORMATS`. MP3 and Ogg Vorbis come back at the length that was written.
      layout: Name of the channel layout, see `jaxsep.audio.layouts`; None if it isn't known.

    Attributes:
      path: The file.
      bit_depth: As above.
      num_limited: Samples so far that were too loud for the encoder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int,
        channels: int,
        bit_depth: int | None,
        *,
        audio_format: str = "wav",
        layout: str | None = None,
    ):
        self.path = Path(path)
        self.bit_depth = bit_depth
        stored = layouts.stored_as(layout or layouts.unknown(channels), audio_format)
        self._form = (_FORMATS[audio_format], sample_rate, stored or "", bit_depth)
        self._files = contextlib.ExitStack()
        self._encoder: FfmpegEncoder | LibsndfileEncoder | None = None
        self._num_written = self.num_limited = 0
        self._is_exact = audio_format != "m4a"

    def __enter__(self) -> Self:
        self._part = Path(self._files.enter_context(replacing(self.path)))
        return self

    def _open(self) -> FfmpegEncoder | LibsndfileEncoder:
        # Not before the `with` block is entered: an interrupt would leave the file behind.
        if self._encoder is None:
            self._part.touch()  # Unlike libsndfile, this says why a file can't be written.
            encoder = FfmpegEncoder if self._form[0].container else LibsndfileEncoder
            self._encoder = encoder(self._part, *self._form)
            self._files.callback(_close, self._encoder)
        return self._encoder

    def write(self, block: np.ndarray) -> None:
        """Appends float64 [samples, channels]; float samples too loud for the encoder are limited.

        Raises:
          WriteError: The file can't be made, or the disk is full.
          ValueError: A sample is not finite, or not one of the integers that fit in `bit_depth`
            bits, over 2**(bit_depth - 1).
        """
        if self.bit_depth is None:
            exact, loudest = block.astype(np.float32), self._form[0].loudest
            samples, valid = np.clip(exact, -loudest, loudest), np.isfinite(exact)
            self.num_limited += int(np.count_nonzero(samples != exact))
        else:
            # As integers in the upper bits of int32, which encoders store without scaling.
            samples, step = block * 2.0**31, 2.0 ** (32 - self.bit_depth)
            valid = (samples >= -(2.0**31)) & (samples <= 2.0**31 - step) & (samples % step == 0)
        if not valid.all():
            kind = f"{self.bit_depth}-bit" if self.bit_depth else "float"
            raise ValueError(f"{self.path}: {block[~valid][0]} isn't a {kind} sample")
        with self._reporting():
            self._open().write(samples if self.bit_depth is None else samples.astype(np.int32))
        self._num_written += len(block)

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        with self._reporting(), self._files:
            if kind is None:
                self.finish()
            else:
                self._files.__exit__(kind, *exception)

    def finish(self) -> Path:
        """Closes the file, still under its hidden name, stores it and checks that it is whole.

        Leaving the `with` block does it, too. Of several files that belong together all can be
        finished before the first gets its name.

        Returns:
          The hidden file.

        Raises:
          WriteError: It isn't.
        """
        with self._reporting():
            self._open().close()
            sync(self._part)
            if self._num_written and self._is_exact:
                with AudioReader(self._part) as reader:
                    stored = reader.num_samples
                if stored != self._num_written:
                    raise OSError(0, f"{stored} of {self._num_written} samples were stored")
        return self._part

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turns what encoders and the system raise into a WriteError."""
        try:
            yield
        except OSError as error:
            raise WriteError(f"{self.path}: can't be written ({error.strerror})") from error
        except _FAILURES as error:
            raise WriteError(
                f"{self.path}: can't be written; is the disk full? ({error})"
            ) from error


def _close(encoder: FfmpegEncoder | LibsndfileEncoder) -> None:
    with contextlib.suppress(*_FAILURES):
        encoder.close()
