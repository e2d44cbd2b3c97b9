"""From a data set on disk to batches: random access, crops, padding, augmentation (Grain).

Batches are dicts of NumPy arrays: the magnitudes `mixture`, `vocals`, `accompaniment`, float16
`[batch, frames, channels, bins]`; and int32 `[batch]` each: `num_frames` (frames behind are
padding) and where the example is from, so that it can be named when something goes wrong.

From a data set of waveforms, `stems` and `gains` take the magnitudes' place (`jaxsep.data.mixer`):
the device makes the magnitudes (`train_step.to_magnitudes`). Or the batches are plans
(`jaxsep.data.mixing`), of which it makes the stems, too (`jaxsep.data.device_mixer`).
"""

import functools
from collections.abc import Iterable
from typing import Any

import grain
import numpy as np

from jaxsep.data.mixer import Mixer
from jaxsep.data.mixing import UNVARIED, Mixing, Planner
from jaxsep.data.records import REQUIRED_TARGETS, WAVEFORM, Dataset
from jaxsep.data.tfrecord import RecordSource

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
    mixing: Mixing | None = None,
    plans: bool = False,
    first_batch: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Yields training batches, practically without end.

    What batch s holds depends on the data, the seed and s alone.

    Each pass shuffles all examples anew. An example contributes a random crop, with its channels
    swapped every other time. Beside the magnitudes a batch tells each example's `record` (its
    number in the split), `first_frame` and whether its channels are `swapped`. Of waveforms a pass
    has every record of a voice once, in a mixture of `Mixer.mix`.

    Args:
      dataset: with a training split.
      batch_size: of all processes together.
      crop_frames: frames of a crop; shorter examples are padded.
      seed: decides order, crops and augmentation.
      mixing: how waveforms are mixed.
      plans: yield what waveforms are mixed of, for `jaxsep.data.device_mixer`, and don't mix them.
      first_batch: number of the batch to begin with.
      process_index: which share of each batch is yielded.
      process_count: number of shares.

    Raises:
      jaxsep.data.records.DatasetError: if waveforms of some stem are missing.
    """
    if dataset.representation == WAVEFORM:
        mixing = mixing or Mixing()
        if plans:
            planner = Planner(dataset, "train", mixing)
            examples, load = planner.voices, planner.plan
        else:
            mixer = Mixer(dataset, "train", frames=crop_frames, mixing=mixing)
            examples, load = mixer.voices, mixer.mix
    else:
        source = RecordSource(dataset.shards("train"))
        examples = range(len(source))
        load = functools.partial(_load_crop, dataset, source, crop_frames)
    batches = (
        grain.MapDataset.source(examples)
        .seed(seed)
        .shuffle()
        .repeat(ENDLESS)
        .random_map(load)
        .batch(batch_size // process_count)
    )
    mine = batches[process_index + first_batch * process_count :: process_count]
    return iter(mine.to_iter_dataset(READ_OPTIONS))


def _load_crop(
    dataset: Dataset,
    source: RecordSource,
    crop_frames: int,
    record: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
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


def eval_batches(
    dataset: Dataset, split: str, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterable[dict[str, np.ndarray]]:
    """Yields a split once, in order.

    Beside the magnitudes a batch tells each example's `track`, its place in
    `dataset.track_names(split)`, and `start` in seconds. The last batch is filled up with examples
    of no frames, whose track is -1. Of waveforms each record of a voice is yielded once, with its
    own backing or else with one that is the same each time.

    Args:
      dataset: may lack the split.
      split: "validation" or "test".
      batch_size: of all processes together.
      process_index: which share of each batch is yielded.
      process_count: number of shares.

    Raises:
      jaxsep.data.records.DatasetError: if waveforms of some stem are missing.
    """
    if not dataset.num_tracks(split):
        return []
    frames = dataset.manifest["settings"]["segment_frames"]
    if dataset.representation == WAVEFORM:
        mixer = Mixer(dataset, split, frames=frames, mixing=UNVARIED)
        size, load = len(mixer.voices), functools.partial(_load_mixture, mixer)
    else:
        source = RecordSource(dataset.shards(split))
        size, load = len(source), functools.partial(_load_whole, dataset, source, frames)
    tracks = {name: place for place, name in enumerate(dataset.track_names(split))}

    def load_or_fill(index: int) -> dict[str, Any]:
        example, track, start = load(min(index, size - 1))
        if index >= size:
            example = {name: np.zeros_like(value) for name, value in example.items()}
        place = tracks[track] if index < size else -1
        return {**example, "track": np.int32(place), "start": np.float32(start)}

    num_batches = -(-size // batch_size)
    batches = (
        grain.MapDataset.range(num_batches * batch_size)
        .map(load_or_fill)
        .batch(batch_size // process_count)
    )
    return batches[process_index::process_count].to_iter_dataset(READ_OPTIONS)


def _load_whole(
    dataset: Dataset, source: RecordSource, frames: int, index: int
) -> tuple[dict[str, Any], str, float]:
    example = dataset.codec.decode(source[index])
    magnitudes = {stem: pad_frames(example[stem], frames) for stem in STEMS}
    num_frames = np.int32(len(example["mixture"]))
    return {**magnitudes, "num_frames": num_frames}, example["track"], example["start"]


def _load_mixture(mixer: Mixer, index: int) -> tuple[dict[str, Any], str, float]:
    voice = mixer.voices[index]
    example = mixer.mix(voice, np.random.default_rng(index))
    track, _, start = mixer.origin(voice)
    return example, track, start


def pad_frames(magnitude: np.ndarray, frames: int) -> np.ndarray:
    """Appends zero frames to `[frames, channels, bins]` up to a number of frames."""
    return np.pad(magnitude, ((0, frames - len(magnitude)), (0, 0), (0, 0)))
