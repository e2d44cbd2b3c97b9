"""The one description of signal and transform that all of jaxsep shares. Needs no JAX."""

import dataclasses
from typing import Literal

import numpy as np

from jaxsep.fields import check_fields


@dataclasses.dataclass(frozen=True)
class StftConfig:
    """Signal format and short-time Fourier transform.

    The convention is librosa's (and PyTorch's): a periodic Hann window in the middle of the frame,
    frames centred on multiples of `hop_length`, and no scaling, so that a full-scale sine has the
    magnitude `full_scale`.

    Attributes:
      sample_rate: Samples per second, in Hz.
      channels: Number of channels of the waveform.
      n_fft: Samples in a frame.
      hop_length: Samples between frames, at most half a window: with less overlap some samples
        would stand under the feet of windows alone, and not come back.
      win_length: Samples in a window, the rest of the frame counts as 0; None for `n_fft`.
      padding: What the frames at both ends of a signal see beyond it: zeros, or the signal
        reflected at its first and last sample.
    """

    sample_rate: int = 44100
    channels: int = 2
    n_fft: int = 4096
    hop_length: int = 1024
    win_length: int | None = None
    padding: Literal["zeros", "reflect"] = "zeros"

    def __post_init__(self):
        check_fields(StftConfig, vars(self))
        window = self.n_fft if self.win_length is None else self.win_length
        if window > self.n_fft:
            raise ValueError(f"win_length={window} must be at most n_fft={self.n_fft}")
        if window < 2 * self.hop_length:
            raise ValueError(
                f"hop_length={self.hop_length} must be at most half a window of {window} samples;"
                f" use {max(1, window // 4)}, say"
            )
        if self.padding == "reflect" and 2 * self.hop_length >= self.n_fft:
            raise ValueError(
                f"hop_length={self.hop_length} must be less than half of n_fft={self.n_fft} where"
                " the ends are reflected"
            )

    @property
    def bins(self) -> int:
        """Frequency bins from 0 Hz to half the sample rate, both included."""
        return self.n_fft // 2 + 1

    @property
    def overlap(self) -> int:
        """Frames that begin within the length of one, itself included."""
        return -(-self.n_fft // self.hop_length)

    @property
    def lead_in(self) -> int:
        """Samples before a signal from which on frames reach into it, on the grid of its frames."""
        half = self.n_fft // 2
        return half + (-(-half // self.hop_length) - 1) * self.hop_length

    @property
    def full_scale(self) -> float:
        """Largest magnitude of a sine of amplitude 1."""
        return (self.n_fft if self.win_length is None else self.win_length) / 4

    @property
    def magnitude_floor(self) -> float:
        """A magnitude 100 dB below `full_scale`: what is smaller counts as silence."""
        return 1e-5 * self.full_scale

    def window(self) -> np.ndarray:
        """Returns the periodic Hann window, float32 `[n_fft]`."""
        length = self.n_fft if self.win_length is None else self.win_length
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        before = (self.n_fft - length) // 2
        return np.pad(window, (before, self.n_fft - length - before)).astype("f4")

    def synthesis_window(self) -> np.ndarray:
        """Returns the window of frames that are to be added up, float32 `[n_fft]`.

        Where all overlapping frames are present, its products with `window` add up to 1.
        """
        window, whole = self.window(), self.overlap * self.hop_length
        squares = np.pad(np.square(window), (0, whole - self.n_fft))
        squares = squares.reshape(-1, self.hop_length).sum(axis=0)
        return window / np.tile(squares, self.overlap)[: self.n_fft]

    def num_frames(self, num_samples: int) -> int:
        """Counts the frames of a signal of `num_samples` samples."""
        return 1 + num_samples // self.hop_length

    def num_samples(self, num_frames: int) -> int:
        """Counts the samples from the start of the first frame to the end of the last."""
        return (num_frames - 1) * self.hop_length + self.n_fft

    def frames_in(self, seconds: float) -> int:
        """Counts the hops nearest to a duration, at least one."""
        return max(1, round(seconds * self.sample_rate / self.hop_length))
