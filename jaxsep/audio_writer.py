"""Writes WAV files in blocks, and splits a mixture in two stems that add up to it when stored."""

import contextlib
import math
import os
from pathlib import Path

import numpy as np
import soundfile

from jaxsep.audio_reader import AudioError

_SUBTYPES = {None: "FLOAT", 8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}

# Bytes of samples. WAV counts in 32 bits, its header included. A length known beforehand may be an
# estimate, so files that only come near to the limit are written as RF64 as well.
_WAV_LIMIT = 2**32 - 2**16
_RF64_FROM = 4_000_000_000


class WriteError(AudioError):
    """A file can't be written; the one-line text names it and the reason."""


class WavWriter:
    """Writes one WAV file in blocks. Use as a context manager.

    The samples go to a hidden file in the same folder. It takes the name `path` when the `with`
    block ends well, and is deleted when the block raises, so there never is half a file at `path`,
    and one that was there before stays until it is replaced by a complete one.

    Args:
      path: The file to write; its folder must exist.
      sample_rate: In Hz.
      channels: Number of channels.
      bit_depth: 8, 16, 24 or 32 for integer samples, None for 32-bit float.
      num_samples: Samples per channel to expect, if known, be it roughly. From it follows whether
        RF64 must be written, the variant of WAV that may exceed 4 GiB.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int,
        channels: int,
        bit_depth: int | None,
        num_samples: int | None = None,
    ):
        self.path = Path(path)
        self.bit_depth = bit_depth
        bytes_per_sample = channels * (bit_depth or 32) // 8
        use_rf64 = (num_samples or 0) * bytes_per_sample > _RF64_FROM
        self._max_samples = math.inf if use_rf64 else _WAV_LIMIT // bytes_per_sample
        self._num_written = 0
        self._temporary = self.path.with_name(f".{self.path.name}.part-{os.getpid()}")
        container, subtype = "RF64" if use_rf64 else "WAV", _SUBTYPES[bit_depth]
        self._format = (sample_rate, channels, subtype, None, container)
        self._file: soundfile.SoundFile | None = None

    def __enter__(self) -> "WavWriter":
        return self

    def _open(self) -> soundfile.SoundFile:
        # Not before the `with` block is entered: an interrupt would leave the file behind.
        if self._file is None:
            self._temporary.touch()  # Unlike libsndfile, this says why a file can't be written.
            self._file = soundfile.SoundFile(self._temporary, "w", *self._format)
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
            raise ValueError(f"{self.path}: {block[~valid][0]} isn't a {self.bit_depth}-bit sample")
        try:
            self._open().write(samples if self.bit_depth is None else samples.astype(np.int32))
        except (OSError, soundfile.SoundFileError) as error:
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
                    with contextlib.suppress(soundfile.SoundFileError):
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
            num_stored = soundfile.info(self._temporary).frames
            if num_stored != self._num_written:
                raise OSError(0, f"{num_stored} of {self._num_written} samples were stored")
        except (OSError, soundfile.SoundFileError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> WriteError:
        if isinstance(error, OSError):
            return WriteError(f"{self.path}: can't be written ({error.strerror})")
        return WriteError(f"{self.path}: can't be written; is the disk full? (libsndfile: {error})")


def split_exactly(
    mixture: np.ndarray, estimate: np.ndarray, bit_depth: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits a mixture in two stems that can be stored and then add up to it.

    With integer samples the sum is exact: the estimate is rounded, and then limited to the values
    for which the rest can be stored, too. With float samples each stem is rounded to float32, and
    the sum is off by at most 2**-24 times the magnitude of the rest.

    Args:
      mixture: float64 [samples, channels]; with a bit depth, values that can be stored with it.
      estimate: float [samples, channels], one stem, not yet rounded.
      bit_depth: Of the files to write, as in `WavWriter`.

    Returns:
      The estimate and the rest, float64 [samples, channels], as `WavWriter` takes them.
    """
    if bit_depth is None:
        estimate = estimate.astype(np.float32).astype(np.float64)
        return estimate, (mixture - estimate).astype(np.float32).astype(np.float64)
    scale = 2.0 ** (bit_depth - 1)
    low, high = -scale, scale - 1
    whole = mixture * scale
    part = np.rint(estimate.astype(np.float64) * scale)
    part = np.clip(part, np.maximum(low, whole - high), np.minimum(high, whole - low))
    return part / scale, (whole - part) / scale
