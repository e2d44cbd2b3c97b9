"""Separates whole waveforms, block by block."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from etils import epath
from jaxtyping import Float, Inexact

from jaxsep.audio.track import LOUDEST
from jaxsep.models.load import OWN, load_model
from jaxsep.models.masker import Masker, Variables, observe
from jaxsep.processes import refuse_forked_jax
from jaxsep.separation.session import Session
from jaxsep.separation.song_record import digest_of
from jaxsep.separation.waveforms import (
    Waveform,
    check_estimates,
    check_format,
    check_waveform,
    describe_silenced,
    make_finite,
)
from jaxsep.separation.wiener import MOST_ITERATIONS, WINDOW_FRAMES
from jaxsep.separation.windows import (
    choose_windows,
    initial_mask_state,
    initial_state,
    predict_masks,
    separate_window,
)
from jaxsep.spectrogram import stft
from jaxsep.stems import RESIDUAL, choose, complements, make_stems, needed_targets

BLOCK_FRAMES = 128
MASK_FRAMES = 1024
READ_SAMPLES = 2**16


class Separator:
    """Separates waveforms by a masker, in memory that doesn't grow with the song.

    Args:
      masker: The masker.
      variables: Parameters and statistics of the masker.
      stems: Stems to return: any of the model's targets, `accompaniment` (the mixture without the
        vocals, or without the only target), `no_NAME` (without that target) or `residual` (without
        all of the targets). None stands for all targets, and beside a single one the accompaniment.
      wiener_iterations: Iterations of `jaxsep.separation.wiener`, which refines the masked spectra.
        Its sources are all of the model's targets, and the residual if it is asked for or the model
        has one target.

    Attributes:
      stems: Names of the stems, in the order in which they are returned.
      stft: Format of the masker's spectra.

    Raises:
      jaxsep.stems.StemError: If the model has no such stem.
      ValueError: If `wiener_iterations` is negative.
    """

    def __init__(
        self,
        masker: Masker,
        variables: Variables,
        *,
        stems: Sequence[str] | None = None,
        wiener_iterations: int = 0,
    ):
        refuse_forked_jax()
        if not 0 <= wiener_iterations <= MOST_ITERATIONS:
            raise ValueError(
                f"wiener_iterations={wiener_iterations} must be from 0 to {MOST_ITERATIONS}"
            )
        self.wiener_iterations = wiener_iterations
        self._identity = (masker, variables)
        self.stems = choose(masker.targets, stems)
        has_one_target = len(masker.targets) == 1
        if not wiener_iterations:
            masker = masker.only(needed_targets(masker.targets, self.stems))
        self.stft = masker.stft
        self._masker = masker
        self._variables = variables
        self._refines = wiener_iterations > 0
        step = functools.partial(
            separate_window,
            masker,
            wiener_iterations=wiener_iterations,
            residual=RESIDUAL in self.stems or has_one_target,
        )
        self._separate_window = jax.jit(step)
        self._predict_masks = jax.jit(functools.partial(predict_masks, masker))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the model, whichever of its stems are wanted; see `digest_of`."""
        return digest_of(*self._identity)

    def __reduce__(self):
        raise TypeError(
            "a Separator can't be pickled or copied; call Separator.restore where it is needed"
        )

    @property
    def is_causal(self) -> bool:
        """Whether the separator can stream: no frame depends on later ones."""
        return self._masker.traits.windows is None and not self._refines

    @classmethod
    def restore(
        cls,
        path: epath.PathLike = OWN,
        *,
        stems: Sequence[str] | Callable[[tuple[str, ...]], Sequence[str]] | None = None,
        wiener_iterations: int = 0,
    ) -> "Separator":
        """Restores a trained masker.

        Args:
          path: Path of the model, see `jaxsep.models.load.load_model`.
          stems: The separator's stems, or a function that chooses them by the model's targets.
          wiener_iterations: The separator's Wiener filter iterations.

        Raises:
          jaxsep.models.files.ModelError: if there is none.
          jaxsep.stems.StemError: if the model has no such stem.
        """
        refuse_forked_jax()  # before JAX hangs
        masker, variables, _ = load_model(path)
        stems = stems(masker.targets) if callable(stems) else stems
        return cls(masker, variables, stems=stems, wiener_iterations=wiener_iterations)

    def __call__(self, waveform: Waveform, sample_rate: int) -> dict[str, Waveform]:
        """Separates a waveform.

        A waveform with other channels than the masker's is treated as `Session` says.

        Args:
          waveform: Float with full scale +-1, at least one sample. What is NaN, infinite or over
            1e5 counts as silence, with a warning in the log.
          sample_rate: Sample rate of the waveform in Hz; it needn't be the masker's.

        Returns:
          The stems by name, float32 of the same shape. Vocals and accompaniment sum to the
          waveform, and so do all targets and the residual.

        Raises:
          ValueError: If the waveform isn't of such a shape and type, or the rate is out of range.
          jaxsep.models.files.ModelError: If the model answers with what isn't finite.
          RuntimeError: In a process that was forked after a separator was made.
        """
        waveform = check_waveform(waveform)
        if not len(waveform):
            raise ValueError(f"a waveform of shape {waveform.shape} isn't sound: it has no samples")
        bounds = range(0, len(waveform), READ_SAMPLES)
        blocks = (waveform[start : start + READ_SAMPLES] for start in bounds)
        parts = [self.to_stems(*pair) for pair in self.stream(blocks, sample_rate)]
        return {stem: np.concatenate([part[stem] for part in parts]) for stem in self.stems}

    def to_stems(self, mixture: Waveform, estimates: Mapping[str, Waveform]) -> dict[str, Waveform]:
        """Turns what `stream` yields into the stems, float32."""
        stems, _ = make_stems(mixture, estimates, self.stems)
        return {stem: part.astype(np.float32) for stem, part in stems.items()}

    def to_format(
        self, waveform: Waveform, sample_rate: int
    ) -> Float[np.ndarray, "resampled model_channels"]:
        """Brings a waveform to the masker's sample rate and channels, float32.

        If the number of channels differs, they are averaged, and a stereo masker gets the average
        twice.
        """
        waveform = waveform.astype(np.float32)
        if waveform.shape[1] != self.stft.channels:
            waveform = np.repeat(waveform.mean(axis=1, keepdims=True), self.stft.channels, axis=1)
        return soxr.resample(waveform, sample_rate, self.stft.sample_rate)

    def masks(self, waveform: Waveform) -> dict[str, Inexact[np.ndarray, "frames channels bins"]]:
        """Predicts the masks of a whole song at once, to look at them.

        Args:
          waveform: Song in the masker's format, see `to_format`.

        Returns:
          The stems' masks, real or complex as the masker answers, for the frames of
          `jaxsep.spectrogram.stft`.
        """
        seen = np.asarray(observe(self._masker, stft(jnp.asarray(waveform), self.stft)))
        frames, windows = len(seen), choose_windows(self._masker, MASK_FRAMES)
        starts = range(0, frames, windows.step)
        padding = starts[-1] + windows.frames - frames
        padded = np.pad(seen, ((0, padding), (0, 0), (0, 0)))[None]
        valid = np.arange(frames + padding) < frames
        state, pieces = initial_mask_state(self._masker, 1, windows), []
        for start in starts:
            now = slice(start, start + windows.frames)
            state, masks = self._predict_masks(self._variables, state, padded[:, now], valid[now])
            pieces.append(np.asarray(masks[0]))
        whole = np.concatenate(pieces, axis=1)[:, :frames]
        found = dict(zip(self._masker.targets, whole, strict=True))
        for stem, target in complements(self._masker.targets).items():
            if stem in self.stems:
                found[stem] = 1 - found[target]
        if RESIDUAL in self.stems:
            found[RESIDUAL] = 1 - whole.sum(axis=0)
        return {stem: found[stem] for stem in self.stems}

    def stream(
        self, blocks: Iterable[Waveform], sample_rate: int
    ) -> Iterator[tuple[Waveform, dict[str, Waveform]]]:
        """Separates a waveform that comes in blocks.

        Args:
          blocks: Consecutive parts of the waveform, of any lengths.
          sample_rate: Sample rate of the waveform in Hz.

        Yields:
          Consecutive parts of the mixture, unchanged but cut elsewhere, each with the estimate of
          each target by name, float32. Samples that are no sound became silence in the mixture.
        """
        session, block_frames = None, WINDOW_FRAMES if self._refines else BLOCK_FRAMES
        num_silenced = 0
        for block in blocks:
            if session is None:
                session = self.begin(sample_rate, block.shape[1], block_frames=block_frames)
            block, num_bad = make_finite(block, LOUDEST)
            num_silenced += num_bad
            yield check_estimates(*session.push(block))
        if num_silenced:
            logging.warning("%s", describe_silenced(num_silenced))
        if session is not None:
            yield check_estimates(*session.finish())

    def begin(self, sample_rate: int, channels: int, *, block_frames: int) -> Session:
        """Begins to separate a waveform.

        Args:
          sample_rate: Sample rate of the waveform in Hz.
          channels: Number of channels of the waveform.
          block_frames: Frames that a causal masker gets at a time; others have windows.
        """
        refuse_forked_jax()
        check_format(sample_rate=sample_rate, channels=channels, block_frames=block_frames)
        windows = choose_windows(self._masker, block_frames)
        items = 1 if channels == self.stft.channels else channels
        return Session(
            functools.partial(self._separate_window, self._variables),
            initial_state(self._masker, items, windows),
            stft=self.stft,
            targets=self._masker.targets,
            windows=windows,
            sample_rate=int(sample_rate),
            channels=channels,
            mono_gain=self._masker.traits.mono_gain,
        )
