"""Separates a stream: samples in, stems out, as soon as they are ready."""

import math
from collections.abc import Mapping

import numpy as np

from jaxsep.audio.resampler import worst_delay
from jaxsep.separation.separator import Separator
from jaxsep.separation.waveforms import (
    LOUDEST_IN_STREAM,
    Ready,
    Waveform,
    check_estimates,
    check_format,
    check_waveform,
    make_finite,
)


class Streamer:
    """Separates one endless waveform.

    The stems equal those that `Separator` returns for the whole waveform, within 1e-5 of full
    scale, however the samples are cut.

    A streamer has no lock: one thread at a time may use it. Streamers that share a separator may
    run in several threads at once.

    Args:
      separator: Separator with a causal model.
      sample_rate: Sample rate of the samples in Hz. Latency is smallest at the model's own rate.
      channels: Number of channels of the samples.
      block_frames: Frames that the model gets at a time. More frames need less time per sample;
        each adds `hop_length` samples of latency.

    Attributes:
      stems: Names of the stems, in the order in which they are returned.
      latency: Latency in samples: how far the stems lag behind the pushed mixture, at most.
      num_silenced: How many samples became silence because they were NaN, infinite or over 100
        times full scale, which the model would remember for minutes.

    Raises:
      ValueError: If the model isn't causal, or a number is out of its range.
    """

    def __init__(
        self, separator: Separator, sample_rate: int, channels: int, *, block_frames: int = 1
    ):
        if not separator.is_causal:
            raise ValueError(
                "this model looks ahead and needs whole songs; stream with one that is causal (an"
                " LSTM without bidirectional), or separate files"
            )
        check_format(sample_rate=sample_rate, channels=channels, block_frames=block_frames)
        self.num_silenced = 0
        self._channels, self._to_stems = channels, separator.to_stems
        self.stems = separator.stems
        self.latency = _latency(separator, sample_rate, block_frames)

        def begin():
            return separator.begin(sample_rate, channels, block_frames=block_frames)

        # Compile now: the first samples shouldn't wait for it.
        begin().push(np.zeros((self.latency + 1, channels), np.float32))
        self._session = begin()

    def push(self, samples: Waveform) -> dict[str, Ready]:
        """Separates the next samples.

        Args:
          samples: The next samples; any number of them, even none.

        Returns:
          The next samples of each stem by name, float32; their number may be 0. Vocals and
          accompaniment sum to the mixture `latency` samples earlier.

        Raises:
          ValueError: If there are other channels, or the samples aren't float.
          jaxsep.models.files.ModelError: If the model answers with what isn't finite.
        """
        samples, num_bad = make_finite(check_waveform(samples, self._channels), LOUDEST_IN_STREAM)
        self.num_silenced += num_bad
        return self._stems(self._session.push(samples.astype(np.float32)))

    def finish(self) -> dict[str, Ready]:
        """Returns the rest of the stems; nothing can be pushed afterwards."""
        return self._stems(self._session.finish())

    def _stems(self, pair: tuple[Ready, dict[str, Ready]]) -> dict[str, Ready]:
        return self._to_stems(*check_estimates(*pair))

    def __reduce__(self):
        raise TypeError("a Streamer can't be pickled or copied; keep its state() instead")

    def state(self) -> dict[str, np.ndarray]:
        """Returns the state as arrays by name, such as `np.savez` stores."""
        return self._session.save()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues where another streamer was; nothing may have been pushed to this one.

        Args:
          state: State of a streamer of the same model, rate, channels and `block_frames`.

        Raises:
          ValueError: If the other streamer differed in one of these.
        """
        self._session.load(state)


def _latency(separator: Separator, sample_rate: int, block_frames: int) -> int:
    stft = separator.stft
    own = stft.n_fft - 1 + (block_frames - 1) * stft.hop_length
    if sample_rate == stft.sample_rate:
        return own
    there = worst_delay(sample_rate, stft.sample_rate)
    back = worst_delay(stft.sample_rate, sample_rate)
    return math.ceil((there + own / stft.sample_rate + back) * sample_rate)
