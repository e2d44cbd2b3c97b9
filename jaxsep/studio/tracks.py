"""What the page hears and sees of a song: samples, peaks, and pictures of a part."""

import io
import math

import numpy as np
from matplotlib.image import imsave

from jaxsep.plots.spectra import LOWEST_HZ, decibels, picture_of, window_samples
from jaxsep.studio.jobs import Job

# One scale for all songs and tracks: dB below a sine at full scale.
LOUDEST_DB, QUIETEST_DB = -10, -90
PEAKS_PER_TILE, COLUMNS_PER_TILE = 120, 240
MARGIN_SECONDS = 0.1  # at both sides of a part, for the frames at its edges
KEPT_COLOUR = (0.15, 0.95, 0.85)


class NotReadyError(Exception):
    """That part of a song isn't separated yet, or behind its end."""


def track_names(job: Job) -> list[str]:
    """Names the tracks of a song: `original`, `vocals-0`, `accompaniment-0` and so on.

    Behind a stem stands the number of the model.
    """
    return ["original", *(f"{stem}-{n}" for n, stems in enumerate(job.stems) for stem in stems)]


def split_name(track: str) -> tuple[str, int | None]:
    """Returns the stem and the model's number of a track; None for the original."""
    stem, sign, number = track.rpartition("-")
    return (stem, int(number)) if sign else (track, None)


def read_samples(job: Job, track: str, start: int, count: int) -> np.ndarray:
    """Reads a part of a track.

    Args:
      job: The song.
      track: One of `track_names`.
      start: First sample of the part.
      count: Number of samples; those that aren't there yet, or behind the end, are left out.

    Returns:
      float32 `[samples, channels]`.
    """
    stem, number = split_name(track)
    count = max(0, min(count, job.ready - start))  # once for all tracks, as more may come meanwhile
    if number is not None and stem == job.stems[number][-1]:
        rest = read_samples(job, "original", start, count)
        for target in job.stems[number][:-1]:
            rest -= read_samples(job, f"{target}-{number}", start, count)
        return rest
    if not count:
        return np.zeros((0, job.channels), np.float32)
    path, width = job.folder / f"{track}.f32", job.channels
    samples = np.fromfile(path, "<f4", count * width, offset=4 * start * width)
    return samples.reshape(-1, width)


def peaks(job: Job, track: str, tile: int) -> list[float]:
    """Returns the greatest absolute samples of equal parts of a tile, `PEAKS_PER_TILE` or fewer.

    Args:
      job: The song.
      track: One of `track_names`.
      tile: Number of the tile; each has `Job.tile_samples`, the last one of a song fewer.

    Raises:
      NotReadyError: if the tile isn't there.
    """
    part = _part(job, tile)
    samples = np.abs(read_samples(job, track, part.start, len(part))).max(axis=1)
    bounds = np.arange(0, len(samples), math.ceil(job.tile_samples / PEAKS_PER_TILE))
    return np.maximum.reduceat(samples, bounds).astype(float).round(3).tolist()


def spectrogram(job: Job, track: str, tile: int) -> bytes:
    """Draws a tile of a track, as PNG; see `peaks`."""
    levels = _levels(job, track, _part(job, tile))
    return _png(levels, cmap="magma", vmin=QUIETEST_DB, vmax=LOUDEST_DB)


def mask(job: Job, track: str, tile: int) -> bytes:
    """Draws what a model keeps of a tile, over the original in grey, as PNG; see `peaks`.

    The more of the original's magnitude is in the track, the more colour.
    """
    part = _part(job, tile)
    original, kept = (_levels(job, name, part) for name in ("original", track))
    brightness = np.clip((original - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB), 0, 1)
    share = np.clip(10 ** ((kept - original) / 20), 0, 1) * (original > QUIETEST_DB)
    grey = 0.75 * brightness[..., None] * np.ones(3)
    colour = np.array(KEPT_COLOUR) * (0.2 + 0.8 * brightness[..., None])
    return _png(grey + share[..., None] * (colour - grey))


def picture_hertz(job: Job) -> tuple[float, float]:
    """Returns the frequencies at the bottom and at the top of a song's pictures."""
    highest = job.sample_rate / 2
    return min(LOWEST_HZ, highest / 10), highest


def _part(job: Job, tile: int) -> range:
    """Returns a tile's samples, if it is there: whole, or the last one."""
    start, end = tile * job.tile_samples, (tile + 1) * job.tile_samples
    end = min(end, job.num_samples) if job.state == "done" else end
    if end > job.ready or start >= end:
        raise NotReadyError(f"part {tile} isn't separated yet, or behind the end")
    return range(start, end)


def _levels(job: Job, track: str, part: range) -> np.ndarray:
    """Returns levels of a part's picture `[rows, columns]`, dB below a sine at full scale."""
    rate = job.sample_rate
    margin = round(MARGIN_SECONDS * rate)
    begin = max(0, part.start - margin)
    samples = read_samples(job, track, begin, part.stop + margin - begin)
    seconds = ((part.start - begin) / rate, (part.stop - begin) / rate)
    loudest = (window_samples(rate) / 4) ** 2  # of a sine at full scale, see `StftConfig`
    picture = picture_of(samples, rate, seconds, columns=COLUMNS_PER_TILE)
    return decibels(picture.energy, loudest, floor=QUIETEST_DB)


def _png(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    imsave(file, values, format="png", origin="lower", **options)
    return file.getvalue()
