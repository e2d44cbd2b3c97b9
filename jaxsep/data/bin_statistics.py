"""Statistics of the bins of mixtures, which maskers normalise by. Needs no JAX."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from jaxsep.data.records import STATISTICS_FIELDS
from jaxsep.stft_config import StftConfig


class BinStatistics:
    """Sums of magnitudes and of their logarithms in each bin, over frames and channels.

    Args:
      stft: Format of the magnitudes.
    """

    def __init__(self, stft: StftConfig):
        self._floor = stft.magnitude_floor
        self._count = 0
        self._sums = np.zeros((4, stft.bins))

    def add(self, magnitude: Float[np.ndarray, "*frames bins"]) -> None:
        """Counts some frames."""
        rows = magnitude.astype(np.float64).reshape(-1, magnitude.shape[-1])
        logs = np.log(rows + self._floor)
        self._count += len(rows)
        self._sums += [rows.sum(0), np.square(rows).sum(0), logs.sum(0), np.square(logs).sum(0)]

    def sums(self) -> dict[str, Any]:
        """Returns the sums, for `merge`, as JSON can store them."""
        return {"count": self._count, "sums": self._sums.tolist()}


def merge(parts: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Combines sums to what `records.Dataset.statistics` describes."""
    count = sum(part["count"] for part in parts)
    sums = np.sum([part["sums"] for part in parts], axis=0)
    mean, square, log_mean, log_square = sums / count
    # No bin may stand so still that dividing by its deviation blows up noise.
    std = np.sqrt(np.maximum(square - mean**2, (1e-4 * mean.max()) ** 2))
    log_std = np.sqrt(np.maximum(log_square - log_mean**2, 1e-2))
    values = (mean, std, log_mean, log_std)
    return {
        name: [float(np.float32(v)) for v in value]
        for name, value in zip(STATISTICS_FIELDS, values, strict=True)
    }


def average(
    parts: Sequence[Mapping[str, Float32[np.ndarray, " bins"]]], weights: Sequence[float]
) -> dict[str, Float32[np.ndarray, " bins"]]:
    """Combines the statistics of data sets to those of frames drawn from them by weights.

    Args:
      parts: Statistics of each data set, see `records.Dataset.statistics`.
      weights: Weight of each data set; one alone keeps its statistics bit for bit.
    """
    averaged = {}
    for mean_name, std_name in (("mean", "std"), ("log_mean", "log_std")):
        means, stds = (
            np.stack([part[name] for part in parts]).astype(np.float64)
            for name in (mean_name, std_name)
        )
        mean = np.average(means, axis=0, weights=weights)
        square = np.average(np.square(stds) + np.square(means - mean), axis=0, weights=weights)
        averaged |= {mean_name: np.float32(mean), std_name: np.float32(np.sqrt(square))}
    return averaged
