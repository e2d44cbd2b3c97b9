"""What pictures of a song show: energies on a logarithmic frequency axis, no finer than is seen."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from jaxsep.stft_config import StftConfig

LOWEST_HZ = 40
MAX_COLUMNS, ROWS = 1600, 320
WINDOW_SECONDS = 0.093
BLOCK_FRAMES = 1024
SIGNED_RANGE_DB = 60


@dataclasses.dataclass(frozen=True)
class Picture:
    """Energies by time and frequency.

    Attributes:
      energy: squared magnitudes, float32 `[rows, columns]`, low frequencies first.
      seconds: where the first column begins and where the last one ends.
      hertz: where the first row begins and where the last one ends, in equal musical intervals.
    """

    energy: np.ndarray
    seconds: tuple[float, float]
    hertz: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class SeparationError:
    """What is wrong with an estimated stem.

    Attributes:
      leaked: Picture of what the mask let through of the rest.
      lost: Picture of what it took away of the true stem.
      loudest: Greatest energy in the picture of the mixture.
      leaked_db: Energy of what leaked, all frequencies together, in dB over the true stem's; None
        if that is silent.
      lost_db: Energy of what is lost, likewise.
    """

    leaked: Picture
    lost: Picture
    loudest: float
    leaked_db: float | None
    lost_db: float | None

    def signed_levels(self) -> np.ndarray:
        """Levels in dB above a floor, `SIGNED_RANGE_DB` below the mixture's loudest.

        Returns:
          `[rows, columns]`: of what leaked where that is more, else the negative of what is lost.
        """
        leaked, lost = self.leaked.energy, self.lost.energy
        levels = decibels(np.maximum(leaked, lost), self.loudest, floor=-SIGNED_RANGE_DB)
        return np.where(leaked > lost, 1, -1) * (levels + SIGNED_RANGE_DB)


def decibels(energy: np.ndarray, loudest: float, *, floor: float) -> np.ndarray:
    """Returns levels relative to `loudest`, none below `floor`; all of them are it in silence."""
    ratio = energy / loudest if loudest else np.zeros_like(energy)
    return 10 * np.log10(np.maximum(ratio, 10 ** (floor / 10)))


def to_picture(
    energy: np.ndarray, stft: StftConfig, *, start: float = 0.0, columns: int = MAX_COLUMNS
) -> Picture:
    """Shrinks a spectrogram to what can be seen.

    As many frames are averaged as leave `columns` at most. Each of `ROWS` rows averages the
    bins that it covers; where bins are wider than rows it interpolates between two.

    Args:
      energy: squared magnitudes `[frames, bins]`.
      stft: their format.
      start: time of the first frame, in seconds.
      columns: that fit in the picture.
    """
    per_column = -(-len(energy) // columns)
    firsts = np.arange(0, len(energy), per_column)
    counts = np.diff(firsts, append=len(energy))
    averages = np.add.reduceat(energy, firsts, axis=0) / counts[:, None]

    highest = stft.sample_rate / 2
    hertz = (min(LOWEST_HZ, highest / 10), highest)
    edges = np.geomspace(*hertz, ROWS + 1)
    bin_width = stft.sample_rate / stft.n_fft
    centres = np.sqrt(edges[1:] * edges[:-1])[:, None]
    half_widths = np.maximum(np.diff(edges), bin_width)[:, None] / 2
    bins = np.arange(stft.bins) * bin_width
    overlap = np.minimum(centres + half_widths, bins + bin_width / 2)
    overlap -= np.maximum(centres - half_widths, bins - bin_width / 2)
    weights = np.maximum(overlap, 0)
    weights /= weights.sum(axis=1, keepdims=True)

    hop = stft.hop_length / stft.sample_rate
    begin = start - hop / 2
    seconds = (begin, begin + len(averages) * per_column * hop)
    return Picture((weights @ averages.T).astype(np.float32), seconds, hertz)


def window_samples(sample_rate: int) -> int:
    """Returns the window's length of `picture_of`: of a waveform at that rate, in Hz."""
    return max(64, 2 ** round(math.log2(WINDOW_SECONDS * sample_rate)))


def picture_of(
    waveform: np.ndarray,
    sample_rate: int,
    part: tuple[float, float],
    *,
    columns: int = MAX_COLUMNS,
) -> Picture:
    """Pictures a part of a waveform, with a window of about `WINDOW_SECONDS`.

    Args:
      waveform: float `[samples, channels]`; the channels' energies are averaged.
      sample_rate: in Hz.
      part: where it begins and ends, in seconds.
      columns: that fit in the picture.
    """
    n_fft = window_samples(sample_rate)
    hop = n_fft // 4
    num_samples = (part[1] - part[0]) * sample_rate
    while hop > n_fft // 32 and num_samples / hop < columns / 2:  # a short part, more closely
        hop //= 2
    stft = StftConfig(sample_rate, waveform.shape[1], n_fft, hop)
    frames = _frames_within(part, stft.num_frames(len(waveform)), stft)
    energy = [_energy(_spectrum(waveform, stft, block)) for block in _blocks(frames)]
    seconds = frames.start * hop / sample_rate
    return to_picture(np.concatenate(energy), stft, start=seconds, columns=columns)


def separation_error(
    mask: np.ndarray,
    mixture: np.ndarray,
    truth: np.ndarray,
    rest: np.ndarray,
    stft: StftConfig,
    part: tuple[float, float],
) -> SeparationError:
    """Tells what a mask leaks from what it loses.

    Of a mixture `S + R` of a stem and the rest it makes the estimate `M * S + M * R`. So the error
    is `M * R - (1 - M) * S`: what leaked, and what is lost. The channels' energies are averaged.

    Args:
      mask: Mask of the stem, real or complex `[frames, channels, bins]` of the whole song.
      mixture: Mixture, float `[samples, channels]`; only says how loud the song is.
      truth: True stem.
      rest: Sound of which it is asked how much leaked: all the rest, or some instruments.
      stft: Format of the mask; the waveforms have its rate and channels.
      part: Begin and end of the part of the song that counts, in seconds.
    """
    frames = _frames_within(part, len(mask), stft)
    blocks = []
    for block in _blocks(frames):
        kept = mask[block.start : block.stop]
        stem, other, both = (_spectrum(w, stft, block) for w in (truth, rest, mixture))
        blocks.append([_energy(part) for part in (kept * other, (1 - kept) * stem, stem, both)])
    leaked, lost, stem, both = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    seconds = frames.start * stft.hop_length / stft.sample_rate
    return SeparationError(
        leaked=to_picture(leaked, stft, start=seconds),
        lost=to_picture(lost, stft, start=seconds),
        loudest=float(to_picture(both, stft).energy.max()),
        leaked_db=_ratio_db(leaked, stem),
        lost_db=_ratio_db(lost, stem),
    )


def _frames_within(part: tuple[float, float], num_frames: int, stft: StftConfig) -> range:
    """Returns the frames between two times in seconds, at least one of `num_frames`."""
    first, last = (int(second * stft.sample_rate / stft.hop_length) for second in part)
    return range(min(first, num_frames - 1), min(last + 1, num_frames))


def _blocks(frames: range) -> Iterator[range]:
    """Cuts frames in blocks, for the memory."""
    for first in frames[::BLOCK_FRAMES]:
        yield range(first, min(first + BLOCK_FRAMES, frames.stop))


def _spectrum(waveform: np.ndarray, stft: StftConfig, frames: range) -> np.ndarray:
    """Returns some frames of `spectrogram.stft`, complex64 `[frames, channels, bins]`."""
    begin = frames.start * stft.hop_length - stft.n_fft // 2
    length = stft.num_samples(len(frames))
    inside = waveform[max(begin, 0) : max(begin + length, 0)].astype(np.float32)
    before = max(-begin, 0)
    signal = np.pad(inside, ((before, length - before - len(inside)), (0, 0)))
    # In NumPy: JAX would compile, and keep, programs for every number of frames.
    hops = np.lib.stride_tricks.sliding_window_view(signal, stft.n_fft, axis=0)[:: stft.hop_length]
    return np.fft.rfft(hops * stft.window())


def _energy(spectrum: np.ndarray) -> np.ndarray:
    """Averages squared magnitudes `[frames, channels, bins]` over channels."""
    return np.square(np.abs(spectrum)).mean(axis=1)


def _ratio_db(energy: np.ndarray, reference: np.ndarray) -> float | None:
    total, whole = energy.sum(dtype=np.float64), reference.sum(dtype=np.float64)
    if not whole:
        return None
    return 10 * math.log10(total / whole) if total else -math.inf
