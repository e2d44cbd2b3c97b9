"""Writes audio files in blocks, and splits a mixture in two stems that add up to it when stored."""

import contextlib
import math
import os
from pathlib import Path

import numpy as np
import soundfile
from av.error import FFmpegError

from jaxsep.audio.m4a import M4aFile
from jaxsep.audio.reader import AudioError, AudioReader

# libsndfile's names of what each format can hold, by bit depth; None is float or lossy.
_SUBTYPES = {
    "wav": {None: "FLOAT", 8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"},
    "flac": {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"},
    "mp3": {None: "MPEG_LAYER_III"},
    "ogg": {None: "VORBIS"},
    "m4a": {None: "AAC"},
}
FORMATS = tuple(_SUBTYPES)

_MPEG_RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}
_RATES = {"mp3": _MPEG_RATES, "m4a": {7350, 64000, 88200, 96000} | _MPEG_RATES}
_MAX_CHANNELS = {"flac": 8, "mp3": 2, "m4a": 2}

# Of libsndfile, from 0 (largest) to 1; some 260 kbit/s for stereo, as it varies with the music.
_COMPRESSION = {
    "mp3": {"compression_level": 0.0, "bitrate_mode": "VARIABLE"},
    "ogg": {"compression_level": 0.2},
}

# Bytes of samples. WAV counts in 32 bits, its header included. A length known beforehand may be an
# estimate, so files that only come near to the limit are written as RF64 as well.
_WAV_LIMIT = 2**32 - 2**16
_RF64_FROM = 4_000_000_000

_FAILURES = (OSError, soundfile.SoundFileError, FFmpegError)


class WriteError(AudioError):
    """A file can't be written; the one-line text names it and the reason."""


def choose_format(song: AudioReader, name: str, bit_depth: str | None) -> tuple[str, int | None]:
    """Chooses a format for the stems of a song.

    Args:
      song: opened.
      name: one of `FORMATS`, or "same" as the song's, which its file name tells.
      bit_depth: "16", "24" or "32f" (float); None for the song's own, or the most that fits.

    Returns:
      The format, and the bit depth as in `AudioWriter`.

    Raises:
      AudioError: if the format can't hold that bit depth, or the song's rate or channels.
    """
    if name == "same":
        suffix = song.path.suffix.lower().lstrip(".")
        name = {"oga": "ogg", "mp4": "m4a", "aac": "m4a"}.get(suffix, suffix)
        if name not in FORMATS:
            formats = ", ".join(FORMATS)
            raise AudioError(f"{song.path}: can't write .{suffix}; use --format, one of {formats}")
    depths, depth = _SUBTYPES[name], song.bit_depth
    if bit_depth is not None:
        depth = None if bit_depth == "32f" else int(bit_depth)
        if depth not in depths or depths.keys() == {None}:
            raise AudioError(f"{song.path}: {name} has no --bit_depth={bit_depth}; leave it out")
    elif depth not in depths:
        depth = max(depths, key=lambda bits: bits or 0)
    rates, channels = _RATES.get(name), _MAX_CHANNELS.get(name, math.inf)
    if song.channels > channels or (rates and song.sample_rate not in rates):
        raise AudioError(
            f"{song.path}: {name} can't hold {song.channels} channels of {song.sample_rate} Hz; use"
            " --format=wav"
        )
    return name, depth


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
      num_samples: Samples per channel to expect, if known, be it roughly. From it follows whether
        RF64 must be written, the variant of WAV that may exceed 4 GiB.
      audio_format: One of `FORMATS`. MP3 and Ogg Vorbis come back at the length that was written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int,
        channels: int,
        bit_depth: int | None,
        num_samples: int | None = None,
        *,
        audio_format: str = "wav",
    ):
        self.path = Path(path)
        self.bit_depth = bit_depth
        bytes_per_sample = channels * (bit_depth or 32) // 8
        is_wav = audio_format == "wav"
        use_rf64 = is_wav and (num_samples or 0) * bytes_per_sample > _RF64_FROM
        self._max_samples = _WAV_LIMIT // bytes_per_sample if is_wav and not use_rf64 else math.inf
        self._num_written = 0
        self._temporary = self.path.with_name(f".{self.path.name}.part-{os.getpid()}")
        self._is_m4a = audio_format == "m4a"
        self._format = {
            "samplerate": sample_rate,
            "channels": channels,
            "subtype": _SUBTYPES[audio_format][bit_depth],
            "format": "RF64" if use_rf64 else audio_format,
        }
        if audio_format in _COMPRESSION:
            self._format |= _COMPRESSION[audio_format]
        self._file: soundfile.SoundFile | M4aFile | None = None

    def __enter__(self) -> "AudioWriter":
        return self

    def _open(self) -> soundfile.SoundFile | M4aFile:
        # Not before the `with` block is entered: an interrupt would leave the file behind.
        if self._file is None:
            self._temporary.touch()  # Unlike libsndfile, this says why a file can't be written.
            if self._is_m4a:
                rate, channels = self._format["samplerate"], self._format["channels"]
                self._file = M4aFile(self._temporary, rate, channels)
            else:
                self._file = soundfile.SoundFile(self._temporary, "w", **self._format)
        return self._file

    def write(self, block: np.ndarray) -> None:
        """Appends float64 [samples, channels].

        Raises:
          WriteError: The file can't be made, the disk is full, or it would exceed 4 GiB and isn't
            RF64.
          ValueError: A sample is not finite, or not one of the integers that fit in `bit_depth`
            bits, over 2**(bit_depth - 1).
        """
        if self._num_written + len(block) > self._max_samples:
            raise WriteError(f"{self.path}: too long for WAV, which holds 4 GiB; split the input")
        if self.bit_depth is None:
            samples = block.astype(np.float32)
            valid = np.isfinite(samples)
        else:
            # As integers in the upper bits of int32, which libsndfile stores without scaling.
            samples, step = block * 2.0**31, 2.0 ** (32 - self.bit_depth)
            valid = (samples >= -(2.0**31)) & (samples <= 2.0**31 - step) & (samples % step == 0)
        if not valid.all():
            kind = f"{self.bit_depth}-bit" if self.bit_depth else "float"
            raise ValueError(f"{self.path}: {block[~valid][0]} isn't a {kind} sample")
        try:
            self._open().write(samples if self.bit_depth is None else samples.astype(np.int32))
        except _FAILURES as error:
            raise self._failure(error) from error
        self._num_written += len(block)

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None:
                self.finish()
                os.replace(self._temporary, self.path)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            try:
                if self._file is not None:
                    with contextlib.suppress(*_FAILURES):
                        self._file.close()
            finally:
                self._temporary.unlink(missing_ok=True)

    def finish(self) -> None:
        """Closes the file, still under its hidden name, and checks that it is whole.

        Leaving the `with` block does it, too. Of several files that belong together all can be
        finished before the first gets its name.

        Raises:
          WriteError: It isn't.
        """
        try:
            self._open().close()
            num_stored = None if self._is_m4a else soundfile.info(self._temporary).frames
            if num_stored not in (None, self._num_written):
                raise OSError(0, f"{num_stored} of {self._num_written} samples were stored")
        except _FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> WriteError:
        if isinstance(error, OSError):
            return WriteError(f"{self.path}: can't be written ({error.strerror})")
        return WriteError(f"{self.path}: can't be written; is the disk full? (libsndfile: {error})")
