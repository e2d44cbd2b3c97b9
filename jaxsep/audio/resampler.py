"""Changes of sample rate for a signal that comes in blocks."""

import functools

import numpy as np
import soxr


class Resampler:
    """Changes the rate of one signal, block by block; the lengths of the blocks don't matter.

    The state of soxr's filters can't be read. So the last seconds of the input are kept: a new
    stream that is given them again goes on where the old one was, up to rounding.

    Args:
      from_rate: Sample rate of the input in Hz.
      to_rate: Sample rate of the output in Hz; if it is the same, blocks pass unchanged.
      channels: Number of channels.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int):
        self._rates = (from_rate, to_rate)
        self._nothing = np.zeros((0, channels), np.float32)
        self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
        self._is_needed = from_rate != to_rate
        self._history = self._nothing  # begins at a whole second, where both rates have a sample
        self._num_out = 0  # since then
        self._ready = self._nothing  # output of the restored stream that the old one hadn't made
        self._skip = 0  # output that the old stream had made, but the restored one hasn't

    def push(self, block: np.ndarray) -> np.ndarray:
        """Maps float32 `[samples, channels]` to what of the output is ready."""
        if not self._is_needed:
            return block
        self._history = np.concatenate([self._history, block])
        output = self._take(self._stream.resample_chunk(block))
        from_rate, to_rate = self._rates
        # No filter of soxr's is as long as a second.
        if (seconds := len(self._history) // from_rate - 1) > 0:
            self._history = self._history[seconds * from_rate :]
            self._num_out -= seconds * to_rate
        return output

    def finish(self) -> np.ndarray:
        """Returns the rest of the output; nothing can be pushed after that."""
        if not self._is_needed:
            return self._nothing
        return self._take(self._stream.resample_chunk(self._nothing, last=True))

    def _take(self, made: np.ndarray) -> np.ndarray:
        output = np.concatenate([self._ready, made[self._skip :]])
        self._skip = max(0, self._skip - len(made))
        self._ready = self._nothing
        self._num_out += len(output)
        return output

    def save(self) -> dict[str, np.ndarray]:
        """Returns what `load` of another resampler needs to go on from here."""
        return {"history": self._history, "num_out": np.array(self._num_out)}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Goes on where another resampler of these rates and channels was.

        Args:
          state: What the other's `save` returned. Nothing may have been pushed to this one.
        """
        self._history, self._num_out = state["history"], int(state["num_out"])
        made = self._stream.resample_chunk(self._history)
        self._ready = made[max(self._num_out, 0) :]
        self._skip = max(0, self._num_out - len(made))


@functools.cache
def worst_delay(from_rate: int, to_rate: int) -> float:
    """Returns how far the output may lag behind the input, in seconds.

    soxr works in blocks of its own, so the lag varies; this is the largest of the first second.
    """
    if from_rate == to_rate:
        return 0.0
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")
    sample, num_out, worst = np.zeros((1, 1), np.float32), 0, 0.0
    for num_in in range(1, from_rate + 1):
        num_out += len(stream.resample_chunk(sample))
        worst = max(worst, num_in / from_rate - num_out / to_rate)
    return worst + 1 / min(from_rate, to_rate)  # at other phases of the rates up to a sample more
