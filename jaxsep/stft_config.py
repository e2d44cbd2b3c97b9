"""The one description of signal and transform that all of jaxsep shares. Needs no JAX."""

import dataclasses

import numpy as np

from jaxsep.fields import check_fields


@dataclasses.dataclass(frozen=True)
class StftConfig:
    """Signal format and short-time Fourier transform.

    The convention is librosa's (and PyTorch's): a periodic Hann window, frames centred on
    multiples of `hop_length` with zeros beyond both ends of the signal, and no scaling, so that a
    full-scale sine has the magnitude `full_scale`.

    Attributes:
      sample_rate: in Hz.
      channels: of the waveform.
      n_fft: samples in a frame, which is also the window's length.
      hop_length: samples between frames. It divides `n_fft` into 2 parts at least: with less
        overlap some samples would stand under the feet of windows alone, and not come back.
    """

    sample_rate: int = 44100
    channels: int = 2
    n_fft: int = 4096
    hop_length: int = 1024

    def __post_init__(self):
        check_fields(StftConfig, vars(self))
        if self.n_fft % self.hop_length or self.n_fft < 2 * self.hop_length:
            raise ValueError(
                f"hop_length={self.hop_length} must divide n_fft={self.n_fft} into 2 or more parts;"
                f" use {self.n_fft // 4}, say"
            )

    @property
    def bins(self) -> int:
        """Frequency bins from 0 Hz to half the sample rate, both included."""
        return self.n_fft // 2 + 1

    @property
    def full_scale(self) -> float:
        """Largest magnitude of a sine of amplitude 1."""
        return self.n_fft / 4

    @property
    def magnitude_floor(self) -> float:
        """A magnitude 100 dB below `full_scale`: what is smaller counts as silence."""
        return 1e-5 * self.full_scale

    def window(self) -> np.ndarray:
        """Returns the periodic Hann window, float32 `[n_fft]`."""
        return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.n_fft) / self.n_fft)).astype("f4")

    def synthesis_window(self) -> np.ndarray:
        """Returns the window of frames that are to be added up, float32 `[n_fft]`.

        Where all overlapping frames are present, its products with `window` add up to 1.
        """
        window = self.window()
        squares = np.square(window).reshape(-1, self.hop_length).sum(axis=0)
        return window / np.tile(squares, self.n_fft // self.hop_length)

    def num_frames(self, num_samples: int) -> int:
        """Counts the frames of a signal of `num_samples` samples."""
        return 1 + num_samples // self.hop_length

    def frames_in(self, seconds: float) -> int:
        """Counts the hops nearest to a duration, at least one."""
        return max(1, round(seconds * self.sample_rate / self.hop_length))
