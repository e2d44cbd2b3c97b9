"""Separation of whole files and arrays, block by block."""

import functools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from flax import linen as nn
from tqdm import tqdm

from jaxsep import checkpoints
from jaxsep.audio_reader import AudioReader
from jaxsep.audio_writer import WavWriter, split_exactly
from jaxsep.spectrogram import analyse, overlap_weight, stft, synthesise

STEMS = ("vocals", "accompaniment")
BLOCK_FRAMES = 128
MASK_FRAMES = 1024
READ_SAMPLES = 2**16


class OutputExistsError(Exception):
    """Stems are already there and were not to be overwritten."""


class Separator:
    """A restored masker, ready to separate.

    A causal masker goes through a song block by block with its state carried along, in memory that
    doesn't grow with the song. A bidirectional one sees the whole song at once.

    Args:
      masker: of `jaxsep.models`.
      variables: its parameters and statistics.
    """

    def __init__(self, masker: nn.Module, variables: dict):
        self.stft = masker.stft
        self._masker = masker
        self._variables = variables
        self._separate_window = jax.jit(functools.partial(_separate_window, masker))
        self._apply = jax.jit(masker.apply)

    @classmethod
    def restore(cls, path) -> "Separator":
        """Restores a trained masker.

        Args:
          path: a workdir, of which the best sound checkpoint is taken, one checkpoint's folder, or
            the name of a published model, see `jaxsep.published`.

        Raises:
          jaxsep.checkpoints.CheckpointError: if there is none.
        """
        _, masker, variables = checkpoints.restore_best(path)
        return cls(masker, variables)

    def __call__(self, waveform: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Separates a waveform.

        A single channel is fed to a stereo masker twice; if there are more or fewer channels than
        the masker's otherwise, each is separated alone.

        Args:
          waveform: float `[samples, channels]`, at least one sample.
          sample_rate: in Hz, of the waveform; it needn't be the masker's.

        Returns:
          `vocals` and `accompaniment`, float32 of the same shape; they add up to the waveform.
        """
        if waveform.ndim != 2 or 0 in waveform.shape:
            raise ValueError(f"waveform of shape {waveform.shape} isn't [samples, channels]")
        bounds = range(0, len(waveform), READ_SAMPLES)
        blocks = (waveform[start : start + READ_SAMPLES] for start in bounds)
        vocals = np.concatenate([vocals for _, vocals in self.stream(blocks, sample_rate)])
        return {"vocals": vocals, "accompaniment": (waveform - vocals).astype(np.float32)}

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
          The vocals' mask for the frames of `jaxsep.spectrogram.stft`, float32
          `[frames, channels, bins]` in 0 to 1.
        """
        magnitude = np.abs(stft(jnp.asarray(waveform), self.stft))
        frames = len(magnitude)
        block = MASK_FRAMES if self._masker.is_causal else -(-frames // MASK_FRAMES) * MASK_FRAMES
        padded = np.pad(magnitude, ((0, -frames % block), (0, 0), (0, 0)))[None]
        valid = (np.arange(padded.shape[1]) < frames)[None]
        carry, masks = self._masker.initial_carry(1), []
        for start in range(0, frames, block):
            now = slice(start, start + block)
            mask, carry = self._apply(self._variables, padded[:, now], carry, valid=valid[:, now])
            masks.append(np.asarray(mask[0]))
        return np.concatenate(masks)[:frames]

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Separates a waveform that comes in blocks.

        Args:
          blocks: float `[samples, channels]` each, of any lengths.
          sample_rate: of the blocks, in Hz.

        Yields:
          Blocks of the mixture, unchanged but of other lengths, each with its vocals, float32.
        """
        waiting: deque[np.ndarray] = deque()

        def remember() -> Iterator[np.ndarray]:
            for block in blocks:
                waiting.append(block)
                yield block.astype(np.float32)

        rate = self.stft.sample_rate
        vocals = self._vocals(_resample(remember(), sample_rate, rate))
        for estimate in _resample(vocals, rate, sample_rate):
            mixture = _take(waiting, len(estimate))
            if len(mixture):
                yield mixture, estimate[: len(mixture)]

    def _vocals(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Maps float32 blocks `[samples, channels]` at the masker's rate to blocks of vocals.

        More samples come out than went in: some of the silence that is put behind.
        """
        hop, overlap = self.stft.hop_length, self.stft.n_fft - self.stft.hop_length
        step, in_front = BLOCK_FRAMES * hop, overlap
        if not self._masker.is_causal:
            in_front += self._masker.lead_frames * hop
            whole = np.concatenate(list(blocks))
            # Rounded up, so that songs of similar length share a compiled program.
            step *= -(-_with_margin(len(whole), in_front) // step)
            blocks = [whole]
        pending = tail = carry = None
        for block in _add_silence(blocks, in_front, step):
            channels = block.shape[1]
            items = _to_items(block, self.stft.channels)
            pending = items if pending is None else np.concatenate([pending, items], axis=1)
            while pending.shape[1] >= step + overlap:
                if carry is None:
                    carry = self._masker.initial_carry(len(items))
                window, pending = pending[:, : step + overlap], pending[:, step:]
                carry, estimate = self._separate_window(self._variables, carry, window)
                estimate = np.array(estimate)
                if tail is not None:
                    estimate[:, :overlap] += tail
                # The first samples stem from the silence in front.
                yield _to_channels(estimate[:, in_front if tail is None else 0 : step], channels)
                tail = estimate[:, step:]


def _separate_window(masker, variables, carry, window: jax.Array):
    """Separates some frames.

    Args:
      masker: of `jaxsep.models`.
      variables: its parameters and statistics.
      carry: its state.
      window: `[items, (frames - 1) * hop_length + n_fft, channels]`.

    Returns:
      The next carry, and vocals of the window's shape: what these frames contribute. The first and
      last `n_fft - hop_length` samples need the neighbouring windows' contributions added.
    """
    config = masker.stft
    spectrogram = analyse(window, config)
    mask, carry = masker.apply(variables, jnp.abs(spectrogram), carry)
    return carry, synthesise(mask * spectrogram, config) / overlap_weight(config)


def _with_margin(num_samples: int, in_front: int) -> int:
    """Returns a length that is surely enough, even if changes of rate round samples away."""
    return num_samples + in_front + 16


def _add_silence(blocks: Iterable[np.ndarray], in_front: int, step: int) -> Iterator[np.ndarray]:
    """Puts zeros around a signal: `in_front`; and behind, to a whole number of windows."""
    num_samples = channels = 0
    for block in blocks:
        if not channels:
            channels = block.shape[1]
            yield np.zeros((in_front, channels), np.float32)
        num_samples += len(block)
        yield block
    if channels:
        end = -(-_with_margin(num_samples, in_front) // step) * step
        yield np.zeros((end - num_samples, channels), np.float32)


def _to_items(block: np.ndarray, channels: int) -> np.ndarray:
    """Arranges `[samples, n]` as `[items, samples, channels]` of a masker; see `Separator`."""
    if block.shape[1] == channels:
        return block[None]
    return np.repeat(block.T[:, :, None], channels, axis=2)


def _to_channels(items: np.ndarray, channels: int) -> np.ndarray:
    """Undoes `_to_items`; what was fed twice is averaged."""
    if len(items) == 1 and items.shape[2] == channels:
        return items[0]
    return items.mean(axis=2).T


def _take(blocks: deque[np.ndarray], num_samples: int) -> np.ndarray:
    """Takes up to a number of samples from the front of a queue of blocks."""
    taken: list[np.ndarray] = []
    while blocks and num_samples:
        block = blocks.popleft()
        taken.append(block[:num_samples])
        if len(block) > num_samples:
            blocks.appendleft(block[num_samples:])
        num_samples -= len(taken[-1])
    return np.concatenate(taken) if taken else np.zeros((0, 0))


def _resample(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Changes the rate (in Hz) of a signal that comes in float32 blocks `[samples, channels]`."""
    if from_rate == to_rate:
        yield from blocks
        return
    resampler, channels = None, 0
    for block in blocks:
        if resampler is None:
            channels = block.shape[1]
            resampler = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
        yield resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def separate_file(
    separator: Separator, path: Path, folder: Path, *, overwrite: bool = False, label: str = ""
) -> None:
    """Separates a file into `vocals.wav` and `accompaniment.wav`, which add up to it.

    They have the file's length, sample rate and channels; its bit depth too if it holds integer
    samples, else they are 32-bit float. Neither appears under its name before it is whole.

    Args:
      separator: restored.
      path: of the song, in any format that libsndfile or FFmpeg reads.
      folder: for the stems; made if need be.
      overwrite: whether stems that are there may be replaced.
      label: stands before the file's name in the progress bar.

    Raises:
      OutputExistsError: if they may not.
      jaxsep.audio_reader.AudioError: if the song can't be read or the stems can't be written.
    """
    targets = [folder / f"{stem}.wav" for stem in STEMS]
    present = [target for target in targets if target.exists()]
    if present and not overwrite:
        raise OutputExistsError(f"{present[0]} is already there; --overwrite replaces it")
    with AudioReader(path) as reader:
        folder.mkdir(parents=True, exist_ok=True)
        rate, depth, length = reader.sample_rate, reader.bit_depth, reader.num_samples
        wav_format, position = (rate, reader.channels, depth, length), 0
        with (
            WavWriter(targets[0], *wav_format) as vocals_writer,
            WavWriter(targets[1], *wav_format) as accompaniment_writer,
            tqdm(
                total=length and -(-length // rate),
                desc=f"{label}{path.name}",
                leave=False,
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} s [{remaining} left]",
            ) as progress,
        ):
            for mixture, estimate in separator.stream(reader.blocks(READ_SAMPLES), rate):
                vocals, accompaniment = split_exactly(mixture, estimate, depth)
                vocals_writer.write(vocals)
                accompaniment_writer.write(accompaniment)
                position += len(mixture)
                progress.update(position // rate - progress.n)
            # Both are whole before either gets its name.
            vocals_writer.finish()
            accompaniment_writer.finish()
