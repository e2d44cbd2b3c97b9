"""AAC in an M4A file, which libsndfile doesn't write."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS_PER_SECOND = 160_000  # of each channel


class M4aFile:
    """Writes an M4A file in blocks; has what the writer needs of `soundfile.SoundFile`.

    The file tells players to leave out the encoder's delay. Its last frame is filled with up to
    1023 samples of silence, which most of them play, too.

    Args:
      path: the file to write.
      sample_rate: in Hz, one of AAC's.
      channels: 1 or 2.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int):
        self._layout = "stereo" if channels == 2 else "mono"
        self._rate, self._num_written, self._is_closed = sample_rate, 0, False
        self._container = av.open(str(path.absolute()), "w", format="ipod")
        self._stream = self._container.add_stream("aac", rate=sample_rate, layout=self._layout)
        self._stream.bit_rate = BITS_PER_SECOND * channels

    def write(self, samples: np.ndarray) -> None:
        """Appends float32 `[samples, channels]`."""
        planes = np.ascontiguousarray(samples.T)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self._layout)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._num_written
        self._container.mux(self._stream.encode(frame))
        self._num_written += len(samples)

    def close(self) -> None:
        """Writes what the encoder still has, and the index; a second time does nothing."""
        if not self._is_closed:
            self._is_closed = True
            with self._container:
                self._container.mux(self._stream.encode(None))
