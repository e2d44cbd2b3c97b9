"""Separation of whole waveforms, block by block."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from etils import epath
from flax import linen as nn

from jaxsep.models import files as model_files
from jaxsep.models import targets_of
from jaxsep.separation.session import Passage
from jaxsep.separation.wiener import WINDOW_FRAMES
from jaxsep.separation.windows import (
    initial_masks,
    initial_state,
    predict,
    separate_window,
    windows_of,
)
from jaxsep.spectrogram import stft
from jaxsep.stems import RESIDUAL, choose, make_stems, needed_targets

STEMS = ("vocals", "accompaniment")  # of a model that finds vocals alone
BLOCK_FRAMES = 128
MASK_FRAMES = 1024
READ_SAMPLES = 2**16


class Separator:
    """A restored masker, ready to separate.

    A masker goes through a song in blocks or windows, see `jaxsep.separation.windows`, in memory
    that doesn't grow with the song.

    Args:
      masker: of `jaxsep.models`.
      variables: its parameters and statistics.
      stems: that are wanted: the model's targets; `accompaniment`, the mixture without the vocals;
        `residual`, the mixture without all of the model's targets. None stands for all targets,
        or for `STEMS` if these are the vocals alone.
      wiener_iterations: by which what the masks find is refined, see `jaxsep.separation.wiener`.
        The sources are all of the model's targets, and the residual if it is wanted or there is one
        target.

    Attributes:
      stems: that it gives.
      stft: format of what the masker hears.

    Raises:
      jaxsep.stems.StemError: if the model has no such stem.
      ValueError: if the iterations are negative.
    """

    def __init__(
        self,
        masker: nn.Module,
        variables: dict,
        *,
        stems: Sequence[str] | None = None,
        wiener_iterations: int = 0,
    ):
        if wiener_iterations < 0:
            raise ValueError(f"wiener_iterations={wiener_iterations} must be 0 or more")
        targets = targets_of(masker)
        self.stems = choose(targets, stems)
        needed = needed_targets(targets, self.stems)
        if needed != targets and not wiener_iterations:
            masker = masker.only(needed)
        self.stft = masker.stft
        self._masker = masker
        self._variables = variables
        self._refines = wiener_iterations > 0
        step = functools.partial(
            separate_window,
            masker,
            wiener_iterations=wiener_iterations,
            residual=RESIDUAL in self.stems or len(targets) == 1,
        )
        self._separate_window = jax.jit(step)
        self._predict = jax.jit(functools.partial(predict, masker))

    @property
    def is_causal(self) -> bool:
        """Whether it can separate sound as it comes."""
        return self._masker.is_causal and not self._refines

    @classmethod
    def restore(
        cls,
        path: epath.PathLike = model_files.OWN,
        *,
        stems: Sequence[str] | None = None,
        wiener_iterations: int = 0,
    ) -> "Separator":
        """Restores a trained masker.

        Args:
          path: a workdir, of which the best sound checkpoint is taken, one checkpoint's folder, or
            `jaxsep-vocals`, the model in the package.
          stems: of the separator.
          wiener_iterations: of the separator.

        Raises:
          jaxsep.models.files.CheckpointError: if there is none.
          jaxsep.stems.StemError: if the model has no such stem.
        """
        _, masker, variables = model_files.restore_best(path)
        return cls(masker, variables, stems=stems, wiener_iterations=wiener_iterations)

    def __call__(self, waveform: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Separates a waveform.

        Channels that aren't the masker's are treated as `jaxsep.separation.session.Passage` says.

        Args:
          waveform: float `[samples, channels]`, at least one sample.
          sample_rate: in Hz, of the waveform; it needn't be the masker's.

        Returns:
          The stems by name, float32 of the same shape. Vocals and accompaniment add up to the
          waveform, and so do all of the model's targets and the residual.
        """
        if waveform.ndim != 2 or 0 in waveform.shape:
            raise ValueError(f"waveform of shape {waveform.shape} isn't [samples, channels]")
        bounds = range(0, len(waveform), READ_SAMPLES)
        blocks = (waveform[start : start + READ_SAMPLES] for start in bounds)
        parts = [self.to_stems(*pair) for pair in self.stream(blocks, sample_rate)]
        return {stem: np.concatenate([part[stem] for part in parts]) for stem in self.stems}

    def to_stems(
        self, mixture: np.ndarray, estimates: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Makes the stems, float32, of what `stream` yields."""
        stems, _ = make_stems(mixture, estimates, self.stems)
        return {stem: part.astype(np.float32) for stem, part in stems.items()}

    def to_format(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Brings a waveform `[samples, channels]` to the masker's sample rate and channels.

        Channels that the masker hasn't are averaged to one, which it may get twice.
        """
        waveform = waveform.astype(np.float32)
        if waveform.shape[1] != self.stft.channels:
            waveform = np.repeat(waveform.mean(axis=1, keepdims=True), self.stft.channels, axis=1)
        return soxr.resample(waveform, sample_rate, self.stft.sample_rate)

    def mask(self, waveform: np.ndarray) -> np.ndarray:
        """Predicts the mask of a whole song at once, for looking at it.

        Args:
          waveform: float32 `[samples, channels]`, as `to_format` gives it.

        Returns:
          The mask of the first target that it estimates, usually the vocals, for the frames of
          `jaxsep.spectrogram.stft`, float32 `[frames, channels, bins]`.
        """
        magnitude = np.abs(stft(jnp.asarray(waveform), self.stft))
        frames, windows = len(magnitude), windows_of(self._masker, MASK_FRAMES)
        starts = range(0, frames, windows.step)
        padding = starts[-1] + windows.frames - frames
        padded = np.pad(magnitude, ((0, padding), (0, 0), (0, 0)))[None]
        valid = np.arange(frames + padding) < frames
        state, masks = initial_masks(self._masker, 1, windows), []
        for start in starts:
            now = slice(start, start + windows.frames)
            state, mask = self._predict(self._variables, state, padded[:, now], valid[now])
            masks.append(np.asarray(mask[0, 0]))
        return np.concatenate(masks)[:frames]

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Separates a waveform that comes in blocks.

        Args:
          blocks: float `[samples, channels]` each, of any lengths.
          sample_rate: of the blocks, in Hz.

        Yields:
          Blocks of the mixture, unchanged but of other lengths, each with the targets found in it
          by name, float32.
        """
        passage, block_frames = None, WINDOW_FRAMES if self._refines else BLOCK_FRAMES
        for block in blocks:
            if passage is None:
                passage = self.begin(sample_rate, block.shape[1], block_frames=block_frames)
            yield passage.push(block)
        if passage is not None:
            yield passage.finish()

    def begin(self, sample_rate: int, channels: int, *, block_frames: int) -> Passage:
        """Begins to separate a waveform.

        Args:
          sample_rate: of the waveform, in Hz.
          channels: of the waveform.
          block_frames: that a causal masker is given at a time; others know their windows.
        """
        windows = windows_of(self._masker, block_frames)
        items = 1 if channels == self.stft.channels else channels
        return Passage(
            functools.partial(self._separate_window, self._variables),
            initial_state(self._masker, items, windows),
            stft=self.stft,
            targets=targets_of(self._masker),
            windows=windows,
            sample_rate=sample_rate,
            channels=channels,
            mono_gain=self._masker.mono_gain,
        )
