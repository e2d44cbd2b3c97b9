"""Statistics of the mixtures that a masker will see, for its first layer."""

import itertools

import jax
import numpy as np

from jaxsep import sharding
from jaxsep.data import bin_statistics
from jaxsep.data.input_pipeline import train_batches
from jaxsep.data.mixing import UNVARIED
from jaxsep.data.records import Dataset
from jaxsep.data.training_data import TrainingData
from jaxsep.models.masker import Masker
from jaxsep.training.step import to_parts

COUNTED_SEGMENTS = 128


def mixture_statistics(data: TrainingData, masker: Masker) -> dict[str, np.ndarray]:
    """Returns statistics of the training mixtures, those of `Dataset.statistics`.

    Those of several data sets count by their weights. A data set has them for its own transform.
    For another one they are taken here, of up to `COUNTED_SEGMENTS` segments of the songs as they
    are; on one device, so that all processes of a training find the same.

    Args:
      data: Data sets with the recipe's transform.
      masker: Masker to train.
    """
    statistics = [_statistics_of(dataset, masker) for dataset in data.sets]
    return bin_statistics.average(statistics, data.weights)


def _statistics_of(dataset: Dataset, masker: Masker) -> dict[str, np.ndarray]:
    if dataset.stft == dataset.own_stft:
        return dataset.statistics()
    segments = sum(record.stem in masker.targets for record in dataset.stem_records("train"))
    batches = train_batches(
        TrainingData((dataset,)),
        targets=masker.targets,
        batch_size=1,
        crop_frames=dataset.segment_frames,
        seed=0,
        mesh=sharding.make_mesh(jax.local_devices()[:1]),
        mixing=UNVARIED,
    )
    statistics = bin_statistics.BinStatistics(dataset.stft)
    for batch in itertools.islice(batches, min(segments, COUNTED_SEGMENTS)):
        statistics.add(np.abs(np.asarray(to_parts(batch, masker).mixture)))
    merged = bin_statistics.merge([statistics.sums()])
    return {name: np.array(values, np.float32) for name, values in merged.items()}
