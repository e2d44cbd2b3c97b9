"""What the decoders give: the sound of one track, or of one link of a chained file."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from jaxsep.audio.timeline import Timeline

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_536_000  # Hz
MOST_CHANNELS = 64
LONGEST = 7 * 24 * 3600  # seconds
# Times full scale; beyond lies only what a broken program or cable made. Waveforms that are scaled
# like 16-bit integers by mistake are within.
LOUDEST = 1e5


class AudioError(Exception):
    """An audio file can't be read or written; the one-line text names the file and the reason."""


class UnknownFormatError(AudioError):
    """A decoder doesn't know the format of a file, or its beginning is damaged."""

    def __init__(self, path: object):
        super().__init__(
            f"{path}: not an audio file that libsndfile or FFmpeg can read (or it is damaged)"
        )


class Sound(NamedTuple):
    """Some samples and their format, which may change within a track.

    Attributes:
      samples: float64 [samples, channels] with full scale at +-1, the channels in WAV's order.
      sample_rate: In Hz.
      layout: Name of the channel layout, see `jaxsep.audio.layouts`.
    """

    samples: np.ndarray
    sample_rate: int
    layout: str


class Track:
    """An open track, or one link of a chained file.

    Attributes:
      sample_rate: Rate of the first sound, in Hz.
      layout: Name of the first sound's channel layout.
      bit_depth: 8, 16, 24 or 32 for integer samples, None for float ones and for lossy codecs.
      seconds: Length that the file claims, or None.
      origin: Time stamp at which the file begins, in seconds; None if with its first sound.
    """

    sample_rate: int
    layout: str
    bit_depth: int | None
    seconds: Fraction | None
    origin: Fraction | None = None

    def sounds(self, timeline: Timeline) -> Iterator[Sound]:
        """Yields the track from start to end, once, with silence where its time line has none."""
        raise NotImplementedError

    def end_notes(self, position: Fraction) -> list[str]:
        """Says in one line if the file has less or more than its header claims.

        Args:
          position: Seconds that were read.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Frees what the decoder needed."""
        raise NotImplementedError


def check_format(path: object, sample_rate: int, channels: int) -> None:
    """Refuses formats that need too much memory or time, whatever a file claims.

    Raises:
      AudioError: The rate or the number of channels isn't within the limits.
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise AudioError(
            f"{path}: has a sample rate of {sample_rate:,} Hz; {LOWEST_RATE:,} to"
            f" {HIGHEST_RATE:,} Hz can be read"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(
            f"{path}: has {channels:,} channels; up to {MOST_CHANNELS} can be read, so split it"
        )
