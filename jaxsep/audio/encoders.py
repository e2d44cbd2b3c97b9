"""Encoders of the formats that can be written: FFmpeg's for most, libsndfile's for Ogg and MP3.

PyAV's wheels bring no good encoder for Vorbis; FFmpeg alone writes channel layouts and M4A, and
changes a WAV file to RF64 once it exceeds 4 GiB. Each encoder has `write` and `close`.
"""

import contextlib
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import av
import numpy as np
import soundfile

from jaxsep.audio import layouts

AAC_BITS_PER_SECOND = 160_000  # of each channel
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES = (7350, *_MPEG_RATES, 64000, 88200, 96000)


class Format(NamedTuple):
    """A format that can be written.

    Attributes:
      samples: Bit depths that it can hold; None is float or lossy. To each FFmpeg's codec and its
        format of samples, or libsndfile's subtype.
      container: FFmpeg's name of the file format; None if libsndfile writes it.
      options: Of FFmpeg's file format, or of libsndfile.
      rates: Sample rates that it can hold, in Hz.
      max_channels: Greatest number of channels.
      bytes_per_second: Of each channel, roughly, where it is lossy.
      loudest: Largest magnitude that its encoder survives, times full scale.
    """

    samples: dict[int | None, tuple[str, str]]
    container: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    rates: range | tuple[int, ...] = range(1, 2**31)
    max_channels: int = 8
    bytes_per_second: int | None = None
    loudest: float = math.inf


_PCM = {
    None: ("pcm_f32le", "flt"),
    8: ("pcm_u8", "u8"),
    16: ("pcm_s16le", "s16"),
    24: ("pcm_s24le", "s32"),
    32: ("pcm_s32le", "s32"),
}
FORMATS = {
    # Becomes RF64, the variant of WAV that may exceed 4 GiB, if it does.
    "wav": Format(_PCM, "wav", {"rf64": "auto"}, max_channels=1024),
    "flac": Format({16: ("flac", "s16"), 24: ("flac", "s32")}, "flac", rates=range(1, 655_351)),
    # libsndfile's compression is from 0 (largest) to 1.
    "mp3": Format(
        {None: ("MPEG_LAYER_III", "")},
        options={"compression_level": 0.0, "bitrate_mode": "VARIABLE"},
        rates=_MPEG_RATES,
        max_channels=2,
        bytes_per_second=16_000,
        loudest=100.0,  # LAME aborts the process somewhere between 3,000 and 10,000.
    ),
    # Some 260 kbit/s for stereo, as it varies with the music. libvorbis takes no higher rate.
    "ogg": Format(
        {None: ("VORBIS", "")},
        options={"compression_level": 0.2},
        rates=range(1_000, 200_001),
        bytes_per_second=16_000,
    ),
    "m4a": Format(
        {None: ("aac", "flt")},
        "ipod",
        rates=_AAC_RATES,
        bytes_per_second=AAC_BITS_PER_SECOND // 8,
    ),
}


class FfmpegEncoder:
    """Writes WAV, FLAC or M4A in blocks.

    An M4A file tells players to leave out the encoder's delay. Its last frame is filled with up to
    1023 samples of silence, which most of them play, too.

    Args:
      path: Path of the file to write.
      form: The format.
      sample_rate: In Hz, one of the format's.
      layout: Name of the channel layout, see `jaxsep.audio.layouts.stored_as`.
      bit_depth: One of the format's.
    """

    def __init__(
        self, path: Path, form: Format, sample_rate: int, layout: str, bit_depth: int | None
    ):
        codec, self._sample_format = form.samples[bit_depth]
        self._rate, self._layout, self._num_written = sample_rate, layout, 0
        self._is_closed = False
        # FFmpeg calls Python to write, and an interrupt in there would be lost: no signals come to
        # this thread.
        self._thread = ThreadPoolExecutor(1)
        options = {"fflags": "bitexact", **form.options}
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("wb"))
            self._container = av.open(file, "w", format=form.container, options=options)
            stack.enter_context(self._container)
            stream = self._container.add_stream(codec, rate=sample_rate, layout=layout)
            self._stream = cast(av.AudioStream, stream)
            self._files = stack.pop_all()
        if codec == "aac":
            self._stream.bit_rate = AAC_BITS_PER_SECOND * self._stream.codec_context.channels
        else:  # AAC takes planes, PyAV converts to them
            self._stream.codec_context.format = self._sample_format

    def write(self, samples: np.ndarray) -> None:
        """Appends float32 or left-justified int32 [samples, channels]."""
        if not len(samples):  # FFmpeg takes no frame without samples.
            return
        if self._sample_format == "u8":
            samples = ((samples >> 24) + 128).astype(np.uint8)
        elif self._sample_format == "s16":
            samples = (samples >> 16).astype(np.int16)
        self._thread.submit(self._encode, samples).result()

    def _encode(self, samples: np.ndarray) -> None:
        packed = np.ascontiguousarray(samples).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, self._sample_format, self._layout)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._num_written
        self._container.mux(self._stream.encode(frame))
        self._num_written += len(samples)

    def close(self) -> None:
        """Writes what the encoder still has, and the length; a second time does nothing."""
        if not self._is_closed:
            self._is_closed = True
            with self._thread:
                self._thread.submit(self._finish).result()

    def _finish(self) -> None:
        with self._files:
            self._container.mux(self._stream.encode(None))


class LibsndfileEncoder:
    """Writes MP3 or Ogg Vorbis in blocks; see `FfmpegEncoder`."""

    def __init__(
        self, path: Path, form: Format, sample_rate: int, layout: str, bit_depth: int | None
    ):
        subtype, _ = form.samples[bit_depth]
        channels = av.AudioLayout(layout).nb_channels
        is_vorbis = subtype == "VORBIS"
        self._order = layouts.VORBIS[layout] if is_vorbis else tuple(range(channels))
        self._file = soundfile.SoundFile(
            path,
            "w",
            sample_rate,
            channels,
            subtype,
            format="OGG" if is_vorbis else "MP3",
            **form.options,
        )

    def write(self, samples: np.ndarray) -> None:
        """Appends float32 [samples, channels]."""
        self._file.write(layouts.reorder(samples, self._order))

    def close(self) -> None:
        """Writes what the encoder still has; a second time does nothing."""
        self._file.close()
