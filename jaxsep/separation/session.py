"""One waveform under way through a masker: buffers, sample rates, and silence around it."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxsep.audio.resampler import Resampler
from jaxsep.models.masker import Windows
from jaxsep.separation.waveforms import Ready, Waveform
from jaxsep.separation.windows import State
from jaxsep.stft_config import StftConfig

# Samples by which resampling may round a signal shorter.
ROUNDING = 16


class Session:
    """One waveform under way through a masker, in blocks.

    A mono waveform is fed to both channels of a stereo masker. If the numbers of channels differ
    otherwise, each channel is separated alone, as an item of a batch.

    Args:
      step: `separate_window` with a masker and its variables, compiled.
      state: State before the first window.
      stft: Format of the masker's spectra.
      targets: Names of the masker's targets.
      windows: How the song is cut into windows.
      sample_rate: Sample rate of the waveform in Hz.
      channels: Number of channels of the waveform.
      mono_gain: Gain of a channel that is fed to a stereo masker twice; undone afterwards.
    """

    def __init__(
        self,
        step: Callable[[State, np.ndarray, np.ndarray], tuple[State, jax.Array]],
        state: State,
        *,
        stft: StftConfig,
        targets: Sequence[str],
        windows: Windows,
        sample_rate: int,
        channels: int,
        mono_gain: float = 1.0,
    ):
        self._step, self._windows, self._stft, self._channels = step, windows, stft, channels
        self._targets = tuple(targets)
        self._to_masker = Resampler(sample_rate, stft.sample_rate, channels)
        self._from_masker = Resampler(stft.sample_rate, sample_rate, len(targets) * channels)
        self._format = np.array([sample_rate, channels, windows.frames])
        self._gain = mono_gain if channels != stft.channels > 1 else 1.0
        in_front = stft.lead_in + windows.lead * stft.hop_length
        self._state = state
        self._nothing = np.zeros((0, channels), np.float32)
        self._waiting: deque[np.ndarray] = deque()  # the mixture whose targets aren't ready
        # What frames see before the start, see `_add_ends`; it isn't returned.
        self._pending = _to_items(np.zeros((in_front, channels), np.float32), stft.channels)
        self._num_in, self._num_out, self._frame = 0, -in_front, 0  # at the masker's rate
        self._in_front = in_front

    def push(self, block: Waveform) -> tuple[Ready, dict[str, Ready]]:
        """Separates the next samples.

        Args:
          block: The next samples of the waveform; any number of them.

        Returns:
          The next samples of the mixture whose estimates are ready, unchanged, and the estimate of
          each target by name, float32.
        """
        self._waiting.append(block)
        signal = self._to_masker.push(block.astype(np.float32))
        self._num_in += len(signal)
        return self._pair(self._from_masker.push(self._separate(signal)))

    def finish(self) -> tuple[Ready, dict[str, Ready]]:
        """Returns the rest, like `push`; nothing can be pushed afterwards."""
        signal = self._to_masker.finish()
        self._num_in += len(signal)
        hop, frames = self._stft.hop_length, self._windows.frames
        num_samples = self._pending.shape[1] + len(signal)
        # Windows until everything pushed is returned.
        num_windows = -(-(self._num_in + ROUNDING - self._num_out) // (self._windows.step * hop))
        last_window = (num_windows - 1) * self._windows.step * hop
        num_behind = max(0, last_window + self._stft.num_samples(frames) - num_samples)
        # Frames centred within the song, as in `spectrogram.stft`.
        num_valid = 1 + (self._in_front + self._num_in - self._stft.n_fft // 2) // hop
        found = self._separate(signal, num_valid, num_behind)
        found = np.concatenate([self._from_masker.push(found), self._from_masker.finish()])
        return self._pair(found)

    def _separate(
        self, signal: np.ndarray, num_valid: float = np.inf, num_behind: int = 0
    ) -> np.ndarray:
        """Separates the next samples at the masker's sample rate.

        Args:
          signal: Next samples, `[samples, channels]`.
          num_valid: Number of frames until the song's end.
          num_behind: Number of samples behind the song's end that the last window reaches to.

        Returns:
          Estimates of the targets side by side, `[samples, targets * channels]`.
        """
        stft, frames, step = self._stft, self._windows.frames, self._windows.step
        items = np.float32(self._gain) * _to_items(signal, stft.channels)
        self._pending = np.concatenate([self._pending, items], axis=1)
        length = stft.num_samples(frames)
        # The first window waits until the song's first samples can be reflected.
        is_ready = self._frame > 0 or self._pending.shape[1] > self._in_front + stft.lead_in
        if num_behind or (self._frame == 0 and is_ready):
            self._add_ends(num_behind)
        pieces = [np.zeros((len(items), len(self._targets), 0, stft.channels), np.float32)]
        while self._pending.shape[1] >= length and (is_ready or num_behind):
            valid = np.arange(self._frame, self._frame + frames) < num_valid
            self._state, found = self._step(self._state, self._pending[:, :length], valid)
            pieces.append(np.asarray(found))
            self._frame += step
            self._pending = self._pending[:, step * stft.hop_length :]
        found = np.concatenate(pieces, axis=2) / np.float32(self._gain)
        samples = _to_samples(found, self._channels)
        in_front = max(0, -self._num_out)
        self._num_out += len(samples)
        return samples[in_front:]

    def _add_ends(self, num_behind: int) -> None:
        """Puts what frames see beyond the song around its samples: silence, or the song reflected.

        Args:
          num_behind: Number of samples to append.
        """
        num_before = self._in_front if self._frame == 0 else 0
        before = self._stft.lead_in if self._frame == 0 else 0
        behind = min(num_behind, self._stft.n_fft // 2)
        mode = "reflect" if self._stft.padding == "reflect" else "constant"
        song = np.pad(self._pending[:, num_before:], ((0, 0), (before, behind), (0, 0)), mode)
        silence = ((0, 0), (num_before - before, num_behind - behind), (0, 0))
        self._pending = np.pad(song, silence)

    def _pair(self, found: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Pairs estimates with the mixture that waits for them; drops those behind its end."""
        taken, missing = [self._nothing], len(found)
        while self._waiting and missing:
            block = self._waiting.popleft()
            taken.append(block[:missing])
            if len(block) > missing:
                self._waiting.appendleft(block[missing:])
            missing -= len(taken[-1])
        mixture = np.concatenate(taken)
        parts = np.split(found[: len(mixture)], len(self._targets), axis=1)
        return mixture, dict(zip(self._targets, parts, strict=True))

    def save(self) -> dict[str, np.ndarray]:
        """Returns everything that `load` needs to continue from here, as arrays by name."""
        leaves = jax.tree.leaves_with_path(self._everything())
        return {_name(path): np.array(leaf) for path, leaf in leaves}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continues where another session was; nothing may have been pushed to this one.

        Args:
          arrays: Arrays that the other's `save` returned.

        Raises:
          ValueError: If the other had another model, format or block length.
        """
        leaves, structure = jax.tree.flatten_with_path(self._everything())
        shapes = {_name(path): np.shape(leaf) for path, leaf in leaves}
        if arrays.keys() != shapes.keys() or any(
            np.shape(arrays[name]) != shape
            for name, shape in shapes.items()
            if name.startswith("masker/")
        ):
            raise ValueError("the state is one of another model; load it with the one that made it")
        if not np.array_equal(arrays["format"], self._format):
            raise ValueError(
                "the state is one of {} Hz, {} channels and blocks of {} frames, not".format(
                    *arrays["format"]
                )
                + " {}, {} and {}; make the stream like the one that it was saved from".format(
                    *self._format
                )
            )
        everything = jax.tree.unflatten(structure, [arrays[name] for name in shapes])
        self._state, self._pending = everything["masker"], everything["pending"]
        self._waiting = deque([everything["waiting"]])
        self._num_in, self._num_out, self._frame = map(int, everything["counts"])
        self._to_masker.load(everything["to_masker"])
        self._from_masker.load(everything["from_masker"])

    def _everything(self) -> dict[str, Any]:
        return {
            "format": self._format,
            "masker": self._state,
            "pending": self._pending,
            "waiting": np.concatenate([self._nothing, *self._waiting]),
            "counts": np.array([self._num_in, self._num_out, self._frame]),
            "to_masker": self._to_masker.save(),
            "from_masker": self._from_masker.save(),
        }


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _to_items(block: np.ndarray, channels: int) -> np.ndarray:
    """Arranges `[samples, n]` as `[items, samples, channels]` of a masker."""
    if block.shape[1] == channels:
        return block[None]
    return np.repeat(block.T[:, :, None], channels, axis=2)


def _to_samples(items: np.ndarray, channels: int) -> np.ndarray:
    """Arranges `[items, targets, samples, n]` of a masker as `[samples, targets * channels]`.

    This undoes `_to_items`: a channel that was fed twice is averaged.
    """
    if len(items) == 1 and items.shape[3] == channels:
        samples = items[0].transpose(1, 0, 2)
    else:
        samples = items.mean(axis=3).T
    return samples.reshape(len(samples), items.shape[1] * channels)
