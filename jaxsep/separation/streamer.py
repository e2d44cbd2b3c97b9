"""Separation of sound as it comes."""

import math
from collections.abc import Mapping

import numpy as np

from jaxsep.audio.resampler import worst_delay
from jaxsep.separation.separator import Separator


class Streamer:
    """Separates one endless waveform: push samples, get the stems so far.

    It does what `Separator` does with a file, in smaller blocks, and gives the same stems within
    1e-5 of full scale, however the samples are cut.

    One thread at a time may use a streamer; it has no lock. Several streamers of one separator may
    run in several threads at once.

    Attributes:
      latency: samples. Of all that was pushed, the stems of all but the last so many are out at
        least.

    Args:
      separator: of a causal model.
      sample_rate: of what is pushed, in Hz. At the model's own rate the latency is smallest.
      channels: of what is pushed.
      block_frames: frames that the model is given at a time. More need less time per sample, and
        add `hop_length` samples of latency each.

    Raises:
      ValueError: if the model isn't causal, or a number isn't positive.
    """

    def __init__(
        self, separator: Separator, sample_rate: int, channels: int, *, block_frames: int = 1
    ):
        if not separator.is_causal:
            raise ValueError(
                "this model looks ahead and needs whole songs; stream with one that is causal (an"
                " LSTM without bidirectional), or separate files"
            )
        numbers = {"sample_rate": sample_rate, "channels": channels, "block_frames": block_frames}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name}={number} must be 1 or more")
        self._channels, self._to_stems = channels, separator.to_stems
        self.latency = _latency(separator, sample_rate, block_frames)

        def begin():
            return separator.begin(sample_rate, channels, block_frames=block_frames)

        # Compiled now, for the first sound shouldn't wait for it.
        begin().push(np.zeros((self.latency + 1, channels), np.float32))
        self._passage = begin()

    def push(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Takes the next samples.

        Args:
          samples: float `[samples, channels]`; any number, also none.

        Returns:
          The next samples of the separator's stems, float32 `[samples, channels]`, which may be
          none; vocals and accompaniment add up to the mixture of `latency` samples before.

        Raises:
          ValueError: if there are other channels.
        """
        if samples.ndim != 2 or samples.shape[1] != self._channels:
            raise ValueError(
                f"samples of shape {samples.shape} aren't [samples, channels] of"
                f" {self._channels} channels"
            )
        return self._to_stems(*self._passage.push(samples.astype(np.float32)))

    def finish(self) -> dict[str, np.ndarray]:
        """Returns the rest of the stems; nothing can be pushed after that."""
        return self._to_stems(*self._passage.finish())

    def state(self) -> dict[str, np.ndarray]:
        """Returns the state as arrays by name, such as `np.savez` stores."""
        return self._passage.save()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on where another streamer was; nothing may have been pushed to this one.

        Args:
          state: of a streamer of the same model, rate, channels and `block_frames`.

        Raises:
          ValueError: if it was another kind of streamer.
        """
        self._passage.load(state)


def _latency(separator: Separator, sample_rate: int, block_frames: int) -> int:
    stft = separator.stft
    own = stft.n_fft - 1 + (block_frames - 1) * stft.hop_length
    if sample_rate == stft.sample_rate:
        return own
    there = worst_delay(sample_rate, stft.sample_rate)
    back = worst_delay(stft.sample_rate, sample_rate)
    return math.ceil((there + own / stft.sample_rate + back) * sample_rate)
