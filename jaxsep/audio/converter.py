"""Brings the sounds of a file to one format, whatever it changes to part-way."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from jaxsep.audio import layouts
from jaxsep.audio.track import AudioError, Sound, check_format


class Converter:
    """Gives the sounds of a file as float64 [samples, channels] of the first one's format.

    Args:
      path: Path of the file, for messages.
      sample_rate: Rate to give, in Hz.
      layout: Layout to give.

    Attributes:
      notes: One line if the file changed its format.
    """

    def __init__(self, path: Path, sample_rate: int, layout: str):
        self.notes: list[str] = []
        self._path = path
        self._wanted = self._last = (sample_rate, layout)
        self._resampler: av.AudioResampler | None = None

    def convert(self, sound: Sound) -> Iterator[np.ndarray]:
        """Yields what is ready of a sound.

        Raises:
          AudioError: The file changes to a format that can't be converted.
        """
        form = sound.sample_rate, sound.layout
        if form != self._last:
            yield from self.flush()
            self._change_to(*form)
        if self._resampler is None:
            yield sound.samples
            return
        frame = av.AudioFrame.from_ndarray(sound.samples.reshape(1, -1), "dbl", sound.layout)
        frame.sample_rate = sound.sample_rate
        try:
            yield from map(samples_of, self._resampler.resample(frame))
        except (FFmpegError, ValueError) as error:
            raise AudioError(
                f"{self._path}: changes part-way from {_describe(*self._wanted)} to"
                f" {_describe(*form)}, which can't be converted; convert it to WAV first"
            ) from error

    def _change_to(self, sample_rate: int, layout: str) -> None:
        check_format(self._path, sample_rate, av.AudioLayout(layout).nb_channels)
        self._last = sample_rate, layout
        if self._last != self._wanted:
            rate, wanted_layout = self._wanted
            self._resampler = av.AudioResampler("dbl", wanted_layout, rate)
            change = f"changes part-way to {_describe(*self._last)}; converted to"
            self.notes = self.notes or [f"{change} {_describe(*self._wanted)}"]

    def flush(self) -> Iterator[np.ndarray]:
        """Yields what a change of rate has held back; the file or a format ends here."""
        if self._resampler is not None:
            resampler, self._resampler = self._resampler, None
            yield from map(samples_of, resampler.resample(None))


def _describe(sample_rate: int, layout: str) -> str:
    return f"{sample_rate} Hz {layout}"


def sound_of(frame: Any) -> Sound:
    """Returns the sound of a frame of PyAV's."""
    return Sound(samples_of(frame), frame.sample_rate, layouts.name_of(frame.layout))


def samples_of(frame: Any) -> np.ndarray:
    """Returns the samples of a frame of PyAV's as float64 [samples, channels]."""
    if frame.format.is_planar and frame.layout.nb_channels > 7:
        # PyAV 18 reads behind the pointers of more planes.
        [frame] = av.AudioResampler(frame.format.packed).resample(frame)
    if frame.format.packed.name == "s64":  # which NumPy's side of PyAV doesn't know
        [frame] = av.AudioResampler("dbl").resample(frame)
    samples = frame.to_ndarray()  # [channels, samples], or [1, samples * channels] if packed.
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    scaled = samples / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return scaled - 1.0 if samples.dtype.kind == "u" else scaled


def silence(seconds: Fraction, like: Sound) -> Iterator[Sound]:
    """Yields silence of a sound's format."""
    left, channels = round(seconds * like.sample_rate), like.samples.shape[1]
    while left:
        length = min(left, 2**16)
        yield like._replace(samples=np.zeros((length, channels)))
        left -= length
