"""From a data set on disk to batches: random access, crops, padding, augmentation (Grain).

Batches are dicts of NumPy arrays: the magnitudes `mixture`, `vocals`, `accompaniment`, float16
`[batch, frames, channels, bins]`; and int32 `[batch]` each: `num_frames` (frames behind are
padding) and where the example is from, so that it can be named when something goes wrong.
"""

from collections.abc import Iterable
from typing import Any

import grain
import numpy as np

from jaxsep.records import REQUIRED_TARGETS, Dataset
from jaxsep.tfrecord import RecordSource

ENDLESS = 10**6  # passes over the data; Grain can't cut shares from a truly infinite data set
STEMS = ("mixture", *REQUIRED_TARGETS)
# An element is a whole batch here: two in the making and two ready keep memory small.
READ_OPTIONS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)


def train_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    crop_frames: int,
    seed: int,
    first_batch: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Yields training batches, practically without end.

    What batch s holds depends on the data, the seed and s alone.

    Each pass shuffles all examples anew. An example contributes a random crop, with its channels
    swapped every other time. Beside the magnitudes a batch tells each example's `record` (its
    number in the split), `first_frame` and whether its channels are `swapped`.

    Args:
      dataset: with a training split.
      batch_size: of all processes together.
      crop_frames: frames of a crop; shorter examples are padded.
      seed: decides order, crops and augmentation.
      first_batch: number of the batch to begin with.
      process_index: which share of each batch is yielded.
      process_count: number of shares.
    """
    source = RecordSource(dataset.shards("train"))

    def to_crop(record: int, rng: np.random.Generator) -> dict[str, Any]:
        example = dataset.codec.decode(source[record])
        frames = len(example["mixture"])
        first = rng.integers(0, max(0, frames - crop_frames), endpoint=True)
        channels = rng.choice([1, -1])
        crop = {
            stem: pad_frames(example[stem][first : first + crop_frames, ::channels], crop_frames)
            for stem in STEMS
        }
        numbers = {
            "num_frames": min(frames, crop_frames),
            "record": record,
            "first_frame": first,
            "swapped": channels < 0,
        }
        return {**crop, **{name: np.int32(number) for name, number in numbers.items()}}

    batches = (
        grain.MapDataset.range(len(source))
        .seed(seed)
        .shuffle()
        .repeat(ENDLESS)
        .random_map(to_crop)
        .batch(batch_size // process_count)
    )
    mine = batches[process_index + first_batch * process_count :: process_count]
    return iter(mine.to_iter_dataset(READ_OPTIONS))


def eval_batches(
    dataset: Dataset, split: str, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterable[dict[str, np.ndarray]]:
    """Yields a split once, in order.

    Beside the magnitudes a batch tells each example's `track`, its place in
    `dataset.track_names(split)`. The last batch is filled up with examples of no frames, whose
    track is -1.

    Args:
      dataset: may lack the split.
      split: "validation" or "test".
      batch_size: of all processes together.
      process_index: which share of each batch is yielded.
      process_count: number of shares.
    """
    source = RecordSource(dataset.shards(split))
    tracks = {name: place for place, name in enumerate(dataset.track_names(split))}
    frames = dataset.manifest["settings"]["segment_frames"]
    empty = np.zeros((frames, dataset.stft.channels, dataset.stft.bins), np.float16)

    def load(record: int) -> dict[str, Any]:
        if record >= len(source):
            return {**dict.fromkeys(STEMS, empty), "num_frames": np.int32(0), "track": np.int32(-1)}
        example = dataset.codec.decode(source[record])
        return {
            **{stem: pad_frames(example[stem], frames) for stem in STEMS},
            "num_frames": np.int32(len(example["mixture"])),
            "track": np.int32(tracks[example["track"]]),
        }

    if not len(source):
        return []
    num_batches = -(-len(source) // batch_size)
    batches = (
        grain.MapDataset.range(num_batches * batch_size)
        .map(load)
        .batch(batch_size // process_count)
    )
    return batches[process_index::process_count].to_iter_dataset(READ_OPTIONS)


def pad_frames(magnitude: np.ndarray, frames: int) -> np.ndarray:
    """Appends zero frames to `[frames, channels, bins]` up to a number of frames."""
    return np.pad(magnitude, ((0, frames - len(magnitude)), (0, 0), (0, 0)))
