"""Statistics of the mixtures that a masker will see, for its first layer."""

import itertools

import jax
import numpy as np

from jaxsep import sharding
from jaxsep.data import bin_statistics
from jaxsep.data.input_pipeline import train_batches
from jaxsep.data.mixing import UNVARIED
from jaxsep.data.records import Dataset
from jaxsep.models.masker import Masker
from jaxsep.training.step import to_parts

COUNTED_SEGMENTS = 128


def mixture_statistics(dataset: Dataset, masker: Masker) -> dict[str, np.ndarray]:
    """Returns statistics of the training mixtures, those of `Dataset.statistics`.

    A data set has them for its own transform. For another one they are taken here, of up to
    `COUNTED_SEGMENTS` segments of the songs as they are; on one device, so that all processes of a
    training find the same.

    Args:
      dataset: Data set with the recipe's transform.
      masker: Masker to train.
    """
    if dataset.stft == dataset.own_stft:
        return dataset.statistics()
    segments = sum(record.stem in masker.targets for record in dataset.stem_records("train"))
    batches = train_batches(
        dataset,
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
