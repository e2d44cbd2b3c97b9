"""What a training learns from: one prepared data set, or several with weights."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

import grain
from etils import epath

from jaxsep.data.records import Dataset, DatasetError, load_dataset
from jaxsep.files import is_remote, locate
from jaxsep.stft_config import StftConfig

LONGEST_ROUND = 10_000  # examples
_WEIGHTED = re.compile(r"(.+):([0-9]+(?:\.[0-9]+)?)")


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Data sets of one format, each with its share of the training's examples.

    Attributes:
      sets: The data sets.
      weights: Examples of each in a round of `Rounds`.
    """

    sets: tuple[Dataset, ...]
    weights: tuple[int, ...] = (1,)

    @property
    def name(self) -> str:
        """Names of the data sets, with the weights of several: `A` or `A:2,B:1`."""
        return self._spell(dataset.manifest["name"] for dataset in self.sets)

    @property
    def folders(self) -> str:
        """Names of the folders, spelt the same."""
        return self._spell(dataset.path.name for dataset in self.sets)

    def _spell(self, names: Iterable[str]) -> str:
        if len(self.sets) == 1:
            return next(iter(names))
        return ",".join(map("{}:{}".format, names, self.weights))

    @property
    def stft(self) -> StftConfig:
        """Format, and the transform that all examples are seen with."""
        return self.sets[0].stft

    @property
    def representation(self) -> str:
        return self.sets[0].representation

    @property
    def segment_frames(self) -> int:
        """Frames of a whole example; of the shortest where the data sets differ."""
        return min(dataset.segment_frames for dataset in self.sets)

    def with_stft(self, stft: StftConfig) -> "TrainingData":
        """Returns the data as another transform shows them; see `Dataset.with_stft`."""
        sets = tuple(dataset.with_stft(stft) for dataset in self.sets)
        return dataclasses.replace(self, sets=sets)

    def check_targets(self, targets: Sequence[str]) -> None:
        """Checks that each data set has what a masker for these targets needs.

        Raises:
          DatasetError: A target or its rest isn't there.
        """
        for dataset in self.sets:
            dataset.check_targets(targets)

    def track_names(self, split: str) -> list[str]:
        """Returns the names of a split's tracks, data set after data set."""
        return [name for dataset in self.sets for name in dataset.track_names(split)]

    def shards(self, split: str) -> list[epath.Path]:
        """Returns the paths of a split's shards, data set after data set."""
        return [shard for dataset in self.sets for shard in dataset.shards(split)]

    def records(self, split: str) -> list[range]:
        """Numbers the records of a split's shards; returns those of each data set."""
        splits = (dataset.manifest["splits"].get(split, {}) for dataset in self.sets)
        ends = list(itertools.accumulate(here.get("num_examples", 0) for here in splits))
        return list(map(range, [0, *ends], ends))


class Rounds(grain.transforms.DatasetSelectionMap):
    """Takes examples of several data sets in turns.

    A round has as many examples of each data set as its weight, evenly spread.

    Args:
      weights: Examples of each data set in a round.
      lengths: Examples that each data set has.
    """

    def __init__(self, weights: Sequence[int], lengths: Sequence[int]):
        turns = [
            ((turn + 0.5) / weight, number, turn)
            for number, weight in enumerate(weights)
            for turn in range(weight)
        ]
        self._round = [(number, turn) for _, number, turn in sorted(turns)]
        self._weights = weights
        whole = zip(lengths, weights, strict=True)
        self._num_rounds = min(length // weight for length, weight in whole)

    def __len__(self) -> int:
        return self._num_rounds * len(self._round)

    def __getitem__(self, index: int) -> tuple[int, int]:
        rounds, place = divmod(index, len(self._round))
        number, turn = self._round[place]
        return number, rounds * self._weights[number] + turn


def load_training_data(data_dir: str) -> TrainingData:
    """Opens the data sets that a config names.

    Args:
      data_dir: Folders of prepared data sets, see `parse_data_dir`.

    Raises:
      DatasetError: A folder isn't a data set that can be used, or one of another format than the
        first; or a weight is impossible.
    """
    paths, weights = zip(*parse_data_dir(data_dir), strict=True)
    sets = tuple(map(load_dataset, paths))
    for one, other in itertools.combinations(sets, 2):
        if one.manifest_sha256 == other.manifest_sha256:
            raise DatasetError(
                f"{one.path} and {other.path} are the same data set; name it once, with the sum of"
                " their weights"
            )
    first = sets[0]
    for other in sets[1:]:
        if other.representation != first.representation:
            raise DatasetError(
                f"{other.path} holds {other.representation}s, {first.path} {first.representation}s;"
                " prepare one again with the other's --representation"
            )
    return TrainingData(sets, weights).with_stft(first.own_stft)


def parse_data_dir(data_dir: str) -> list[tuple[str, int]]:
    """Finds the folders and their weights in `A`, `A,B` or `A:2,B:1`.

    A path that exists on the disk as it stands is one, whatever is in its name. A folder without a
    weight has weight 1.

    Returns:
      Folders and weights; these are whole numbers without a common divisor.

    Raises:
      DatasetError: A weight is 0, a folder has no name, or the weights make too long a round.
    """
    parts = [data_dir] if _exists(data_dir) else data_dir.split(",")
    matches = [None if _exists(part) else _WEIGHTED.fullmatch(part) for part in parts]
    paths = [match[1] if match else part for part, match in zip(parts, matches, strict=True)]
    shares = [Fraction(match[2]) if match else Fraction(1) for match in matches]
    if len(parts) > 1 and not all(paths):
        raise DatasetError(f"data_dir={data_dir}: a folder has no name; join them as in A:2,B:1")
    if not all(shares):
        raise DatasetError(f"data_dir={data_dir}: each weight must be more than 0")
    unit = math.lcm(*(share.denominator for share in shares))
    weights = [int(share * unit) for share in shares]
    divisor = math.gcd(*weights)
    if (total := sum(weights) // divisor) > LONGEST_ROUND:
        raise DatasetError(
            f"data_dir={data_dir}: the weights come to {total:,} in whole numbers, more than"
            f" {LONGEST_ROUND:,}; use rounder ones"
        )
    return [(path, weight // divisor) for path, weight in zip(paths, weights, strict=True)]


def _exists(path: str) -> bool:
    if is_remote(path):
        return False
    try:
        return locate(path).exists()
    except OSError:  # `load_dataset` says why
        return False
