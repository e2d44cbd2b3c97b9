"""From a data set on disk to batches: random access, crops, padding, augmentation (Grain).

Batches are dicts of NumPy arrays: the magnitudes `mixture`, `vocals`, `accompaniment`, float16
`[batch, frames, channels, bins]`; and `num_frames`, int32 `[batch]`: frames behind are padding.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from jaxsep.records import REQUIRED_TARGETS, Dataset
from jaxsep.tfrecord import RecordSource

ENDLESS = 10**6  # passes over the data; Grain can't cut shares from a truly infinite data set
STEMS = ("mixture", *REQUIRED_TARGETS)


def train_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    crop_frames: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Yields training batches, practically without end.

    What batch s holds depends on the data, the seed and s alone.

    Each pass shuffles all examples anew. An example contributes a random crop, with its channels
    swapped every other time.

    Args:
      dataset: with a training split.
      batch_size: of all processes together.
      crop_frames: frames of a crop; shorter examples are padded.
      seed: decides order, crops and augmentation.
      process_index: which share of each batch is yielded.
      process_count: number of shares.
    """

    def to_crop(payload: bytes, rng: np.random.Generator) -> dict[str, Any]:
        example = dataset.codec.decode(payload)
        frames = len(example["mixture"])
        first = rng.integers(0, max(0, frames - crop_frames), endpoint=True)
        channels = rng.choice([1, -1])
        crop = {
            stem: pad_frames(example[stem][first : first + crop_frames, ::channels], crop_frames)
            for stem in STEMS
        }
        return {**crop, "num_frames": np.int32(min(frames, crop_frames))}

    share = batch_size // process_count
    batches = (
        grain.MapDataset.source(RecordSource(dataset.shards("train")))
        .seed(seed)
        .shuffle()
        .repeat(ENDLESS)
        .random_map(to_crop)
        .batch(share)[process_index::process_count]
    )
    # An element is a whole batch here: two in the making and two ready keep memory small.
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    return iter(batches.to_iter_dataset(options))


def eval_batches(
    dataset: Dataset, split: str, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """Yields a split once, in order, as (the global batch's track names, this process's share).

    The last batch is filled up with examples of no frames, named "".
    """
    source = RecordSource(dataset.shards(split))
    frames = dataset.manifest["settings"]["segment_frames"]
    share = batch_size // process_count
    empty = np.zeros((frames, dataset.stft.channels, dataset.stft.bins), np.float16)
    for first in range(0, len(source), batch_size):
        names, mine = [], []
        for position in range(batch_size):
            is_mine = position // share == process_index
            if first + position >= len(source):
                names.append("")
                example: dict[str, Any] = dict.fromkeys(STEMS, empty) | {"num_frames": 0}
            else:
                decoded = dataset.codec.decode(source[first + position])
                names.append(decoded["track"])
                example = {stem: pad_frames(decoded[stem], frames) for stem in STEMS}
                example["num_frames"] = len(decoded["mixture"])
            if is_mine:
                mine.append(example)
        batch = {stem: np.stack([example[stem] for example in mine]) for stem in STEMS}
        batch["num_frames"] = np.array([example["num_frames"] for example in mine], np.int32)
        yield names, batch


def pad_frames(magnitude: np.ndarray, frames: int) -> np.ndarray:
    """Appends zero frames to `[frames, channels, bins]` up to a number of frames."""
    return np.pad(magnitude, ((0, frames - len(magnitude)), (0, 0), (0, 0)))
