"""The studio's models, of which no more are in memory than one song can have."""

import functools
from collections.abc import Iterator, Mapping

from jaxsep.separation.separator import Separator
from jaxsep.stems import covering

MAX_MODELS = 2  # of a song: to compare


class Models(Mapping[str, Separator]):
    """Separators by name; those that were used last are kept, others are restored when needed.

    Each gives all of its model's targets and, as the last stem, what they leave of the song.

    Args:
      paths: Paths of the models, by name, see `Separator.restore`.

    Raises:
      jaxsep.models.files.ModelError: if one can't be restored.
    """

    def __init__(self, paths: Mapping[str, str]):
        self._paths = paths
        restore = functools.partial(Separator.restore, stems=covering)
        self._restore = functools.lru_cache(MAX_MODELS)(restore)
        for name in reversed(list(paths)):  # the first one, which is used by default, stays
            self[name]

    def __getitem__(self, name: str) -> Separator:
        return self._restore(self._paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
