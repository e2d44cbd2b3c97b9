"""From data sets on disk to batches on the devices: shuffling, crops, padding, mixing (Grain).

A batch is a dict of arrays, each spread over the mesh along its first axis: the magnitudes
`mixture`, float16 `[batch, frames, channels, bins]`, and `targets` and `rests` (what the mixture
holds beside each target), float16 `[batch, targets, frames, channels, bins]`; and int32 `[batch]`
each: `num_frames` (frames behind are padding) and where the example is from, so that it can be
named when something goes wrong.

Of a data set of waveforms, `stems` and `gains` take the magnitudes' place: mixtures that are drawn
by `mix_plan` and rendered by `mix_render`.

Of several data sets, a training takes examples in turns, by their weights; an evaluation goes
through one after the other. The records of a split are numbered from one data set to the next.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from jaxsep import sharding
from jaxsep.data.mixing import UNVARIED, Mixing
from jaxsep.data.mixtures import Mixtures
from jaxsep.data.records import WAVEFORM, Dataset, rest_of
from jaxsep.data.tfrecord import RecordSource
from jaxsep.data.training_data import Rounds, TrainingData

ENDLESS = 10**6  # passes over the data; Grain can't cut shares from a truly infinite data set
# An element is a whole batch here: two in the making and two ready keep memory small.
READ_OPTIONS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)

Batch = dict[str, jax.Array]
Batches = Generator[Batch, None, None]


def train_batches(
    data: TrainingData,
    *,
    targets: Sequence[str],
    batch_size: int,
    crop_frames: int,
    seed: int,
    mesh: Mesh,
    mixing: Mixing | None = None,
    mix_on_device: bool = False,
    first_batch: int = 0,
) -> Batches:
    """Yields training batches, practically without end.

    What batch s holds depends on the data, the seed and s alone.

    Each pass through a data set shuffles its examples anew. An example contributes a random crop,
    with its channels swapped every other time. Beside the magnitudes a batch tells each example's
    `record` (its number in the split), `first_frame` and whether its channels are `swapped`. Of
    waveforms a pass has every segment with a target once, in a mixture that `MixPlanner` draws.

    Args:
      data: Data sets with these targets and their weights.
      targets: Names of the targets.
      batch_size: Examples of all processes together.
      crop_frames: Frames of a crop; shorter examples are padded.
      seed: Decides order, crops and augmentation.
      mesh: Devices that share the batch.
      mixing: How waveforms are mixed.
      mix_on_device: Whether to keep all waveforms in the devices' memory.
      first_batch: Number of the batch to begin with.

    Raises:
      jaxsep.data.records.DatasetError: if waveforms of some stem are missing.
    """
    if data.representation == WAVEFORM:
        mixes = Mixtures(
            data,
            "train",
            targets=targets,
            frames=crop_frames,
            mixing=mixing or Mixing(),
            mesh=mesh,
            in_memory=mix_on_device,
        )
        examples, finish = mixes.leads, mixes.render
        loads = [mixes.load] * len(examples)
    else:
        source = RecordSource(data.shards("train"))
        examples, finish = data.records("train"), None
        loads = [
            functools.partial(_load_crop, dataset, targets, source, crop_frames)
            for dataset in data.sets
        ]
    parts = [
        grain.MapDataset.source(part).seed(seed + place).shuffle().repeat(ENDLESS).random_map(load)
        for place, (part, load) in enumerate(zip(examples, loads, strict=True))
    ]
    rounds = Rounds(data.weights, [len(part) for part in parts])
    batches = grain.MapDataset.select_from_datasets(parts, rounds)
    return _to_devices(batches, batch_size, mesh, finish, first_batch=first_batch)


def _to_devices(
    examples: grain.MapDataset,
    batch_size: int,
    mesh: Mesh,
    finish: Callable[[Batch], Batch] | None,
    *,
    first_batch: int = 0,
) -> Batches:
    """Yields batches, each put together of the shares of the mesh's processes."""
    processes = sorted({device.process_index for device in mesh.devices.flat})
    index, count = processes.index(jax.process_index()), len(processes)
    batches = examples.batch(batch_size // count)
    shares = iter(batches[index + first_batch * count :: count].to_iter_dataset(READ_OPTIONS))
    with contextlib.closing(shares):
        for share in shares:
            batch = sharding.to_global_batch(share, mesh)
            yield finish(batch) if finish else batch


def _load_crop(
    dataset: Dataset,
    targets: Sequence[str],
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
        name: pad_frames(magnitude[..., first : first + crop_frames, ::channels, :], crop_frames)
        for name, magnitude in _magnitudes(example, dataset, targets).items()
    }
    numbers = {
        "num_frames": min(frames, crop_frames),
        "record": record,
        "first_frame": first,
        "swapped": channels < 0,
    }
    return {**crop, **{name: np.int32(number) for name, number in numbers.items()}}


def _magnitudes(
    example: Mapping[str, Any], dataset: Dataset, targets: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns `mixture`, `targets` and `rests` of an example."""
    rests = [example[rest_of(target, dataset.targets)] for target in targets]
    return {
        "mixture": example["mixture"],
        "targets": np.stack([example[target] for target in targets]),
        "rests": np.stack(rests),
    }


def eval_batches(
    data: TrainingData, split: str, *, targets: Sequence[str], batch_size: int, mesh: Mesh
) -> Iterator[Batch]:
    """Yields a split once, in order, data set after data set.

    Beside the magnitudes a batch tells each example's `track`, its place in
    `data.track_names(split)`, and `start` in seconds. The last batch of a data set is filled up
    with examples of no frames, whose track is -1. Of waveforms each segment with a target is
    yielded once, with its own other stems or else with some that are the same each time.

    Args:
      data: Data sets with these targets, perhaps without the split.
      split: "validation" or "test".
      targets: Names of the targets.
      batch_size: Examples of all processes together.
      mesh: Devices that share the batch.

    Raises:
      jaxsep.data.records.DatasetError: if waveforms of some stem are missing.
    """
    found, num_tracks = [], 0
    for dataset in data.sets:
        found.append(_eval_batches(dataset, split, targets, batch_size, mesh, num_tracks))
        num_tracks += len(dataset.track_names(split))
    return itertools.chain(*found)


def _eval_batches(
    dataset: Dataset,
    split: str,
    targets: Sequence[str],
    batch_size: int,
    mesh: Mesh,
    first_track: int,
) -> Iterator[Batch]:
    """Yields a data set's batches, whose tracks are counted from a number on."""
    if not dataset.num_tracks(split):
        return iter(())
    frames, finish = dataset.segment_frames, None
    if dataset.representation == WAVEFORM:
        alone = TrainingData((dataset,))
        mixes = Mixtures(alone, split, targets=targets, frames=frames, mixing=UNVARIED, mesh=mesh)
        size, load = len(mixes.leads[0]), functools.partial(_load_mixture, mixes)
        finish = mixes.render
    else:
        source = RecordSource(dataset.shards(split))
        size, load = len(source), functools.partial(_load_whole, dataset, targets, source, frames)
    tracks = {name: place for place, name in enumerate(dataset.track_names(split), first_track)}

    def load_or_fill(index: int) -> dict[str, Any]:
        example, track, start = load(min(index, size - 1))
        if index >= size:
            example = {name: np.zeros_like(value) for name, value in example.items()}
        place = tracks[track] if index < size else -1
        return {**example, "track": np.int32(place), "start": np.float32(start)}

    num_batches = -(-size // batch_size)
    examples = grain.MapDataset.range(num_batches * batch_size).map(load_or_fill)
    return _to_devices(examples, batch_size, mesh, finish)


def _load_whole(
    dataset: Dataset, targets: Sequence[str], source: RecordSource, frames: int, index: int
) -> tuple[dict[str, Any], str, float]:
    example = dataset.codec.decode(source[index])
    magnitudes = {
        name: pad_frames(magnitude, frames)
        for name, magnitude in _magnitudes(example, dataset, targets).items()
    }
    num_frames = np.int32(len(example["mixture"]))
    return {**magnitudes, "num_frames": num_frames}, example["track"], example["start"]


def _load_mixture(mixes: Mixtures, index: int) -> tuple[dict[str, Any], str, float]:
    lead = mixes.leads[0][index]
    track, _, start = mixes.origin(lead)
    return mixes.load(lead, np.random.default_rng(index)), track, start


def pad_frames(magnitude: np.ndarray, frames: int) -> np.ndarray:
    """Appends zero frames to `[..., frames, channels, bins]` up to a number of frames."""
    behind = ((0, frames - magnitude.shape[-3]), (0, 0), (0, 0))
    return np.pad(magnitude, (*[(0, 0)] * (magnitude.ndim - 3), *behind))
