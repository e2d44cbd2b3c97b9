"""Decodes audio files with libsndfile.

It returns Ogg Vorbis and Opus at exactly the length that was encoded, which FFmpeg doesn't, and
knows a few formats that FFmpeg doesn't, such as PAF and MAT5.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import soundfile

from jaxsep.audio import layouts
from jaxsep.audio.part import Part
from jaxsep.audio.timeline import Timeline
from jaxsep.audio.track import AudioError, Sound, Track, UnknownFormatError, check_format

_BIT_DEPTHS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_PIECE = 4_096  # samples


class SndfileTrack(Track):
    """The sound of a file.

    Args:
      path: Path of the file, for messages.
      file: The file, at its beginning.

    Raises:
      UnknownFormatError: libsndfile doesn't know the format.
      AudioError: The file has no samples, or its format exceeds the limits.
    """

    def __init__(self, path: Path, file: Part):
        try:
            self._file = soundfile.SoundFile(cast(Any, file))
        # TypeError: a file name that ends in ".raw".
        except (soundfile.SoundFileError, TypeError) as error:
            raise UnknownFormatError(path) from error
        if not self._file.frames:
            raise AudioError(f"{path}: has no audio samples in it")
        self.sample_rate, channels = self._file.samplerate, self._file.channels
        check_format(path, self.sample_rate, channels)
        self.layout = layouts.unknown(channels)
        self._order = tuple(range(channels))
        if self._file.format == "OGG" and channels <= 8:
            self.layout, self._order = layouts.from_vorbis(channels)
        self.bit_depth = _BIT_DEPTHS.get(self._file.subtype)
        self.seconds = Fraction(self._file.frames, self.sample_rate)

    def close(self) -> None:
        self._file.close()

    def sounds(self, timeline: Timeline) -> Iterator[Sound]:
        while True:
            try:
                samples = self._file.read(_PIECE, always_2d=True)
            except soundfile.SoundFileError:
                return
            if not len(samples):
                return
            timeline.place(None, Fraction(len(samples), self.sample_rate), True)
            yield Sound(layouts.reorder(samples, self._order), self.sample_rate, self.layout)

    def end_notes(self, position: Fraction) -> list[str]:
        if position == self.seconds:
            return []
        end, claimed = float(position), self._file.frames / self.sample_rate
        return [f"damaged or cut off: ends at {end:.2f} s of {claimed:.2f} s"]
