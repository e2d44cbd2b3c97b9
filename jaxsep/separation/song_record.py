"""Records of stems: of which song they are, how they were made, and their checksums.

Each folder of stems belongs to one song and holds a record, `.jaxsep.json`. It is written before
the stems get their names, so whatever a crash leaves behind can be told from what is finished.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsep.files import read_json, sha256_of, write_json
from jaxsep.models.masker import Masker
from jaxsep.version import __version__

NAME = ".jaxsep.json"


class SongRecordError(Exception):
    """A record can't be read; nobody knows whose stems they are."""


@dataclasses.dataclass(frozen=True)
class Making:
    """How stems are made; equal ones of one song give equal stems.

    Attributes:
      model: SHA-256 of the model, see `digest_of`.
      options: Stems, format, bit depth and whatever else changes the samples; what JSON can hold.
    """

    model: str
    options: dict[str, Any]


@dataclasses.dataclass
class SongRecord:
    """The stems in a folder and how they were made.

    Attributes:
      source: SHA-256 of the song's file; None if it can't be read twice, as from a pipe.
      name: File name of the song, for people.
      runs: For each time that stems were made: `model` and `options` of a `Making`, the
        `jaxsep_version`, the song's length in `seconds`, and `stems`, SHA-256 by file name. A
        stem that was made again belongs to the last run alone.
    """

    source: str | None
    name: str
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def holds(self, making: Making, stems: list[Path]) -> bool:
        """Tells whether stems were made like this, and are still what they were then."""
        for run in self.runs:
            if (run["model"], run["options"]) == (making.model, making.options):
                known = run["stems"]
                return known.keys() == {stem.name for stem in stems} and all(
                    stem.is_file() and sha256_of(stem) == known[stem.name] for stem in stems
                )
        return False

    def add(self, making: Making, stems: Mapping[str, str], seconds: float) -> None:
        """Adds a run.

        Args:
          making: How the stems were made.
          stems: SHA-256 of each, by the name that its file gets.
          seconds: Length of the song.
        """
        for run in self.runs:
            run["stems"] = {n: digest for n, digest in run["stems"].items() if n not in stems}
        run = {
            **dataclasses.asdict(making),
            "jaxsep_version": __version__,
            "seconds": seconds,
            "stems": dict(stems),
        }
        self.runs = [*(run for run in self.runs if run["stems"]), run]

    def write(self, folder: Path) -> None:
        """Writes the record of a folder."""
        source = {"name": self.name, "sha256": self.source}
        write_json(folder / NAME, {"source": source, "runs": self.runs})


def read(folder: Path) -> SongRecord | None:
    """Reads the record of a folder; None if it has none.

    Raises:
      SongRecordError: If it is damaged.
    """
    try:
        value = read_json(folder / NAME)
        source, runs = value["source"], value["runs"]
        texts = [source["name"], *(run["model"] for run in runs)]
        texts += [text for run in runs for pair in run["stems"].items() for text in pair]
        texts += [source["sha256"]] if source["sha256"] is not None else []
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("names and checksums are text")
        _ = [run["options"] for run in runs]
        return SongRecord(source["sha256"], source["name"], runs)
    except FileNotFoundError:
        return None
    except (OSError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SongRecordError(f"{folder / NAME}: damaged ({error})") from error


def read_own(folder: Path, digest: str | None) -> SongRecord | None:
    """Reads the record of a folder; None if it isn't known to be of the song with this SHA-256."""
    try:
        record = read(folder) if digest else None
    except SongRecordError:
        return None
    return record if record and record.source == digest else None


def digest_of(masker: Masker, variables: Mapping[str, Any]) -> str:
    """Identifies a model by its config and its weights: a SHA-256, hexadecimal.

    Args:
      masker: One of `jaxsep.models`.
      variables: Its parameters and statistics.
    """
    fields = {
        field.name: repr(getattr(masker, field.name))
        for field in dataclasses.fields(masker)  # pyright: ignore[reportArgumentType]
        if field.name not in ("parent", "name")
    }
    text = json.dumps([type(masker).__name__, fields], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for path, leaf in jax.tree.leaves_with_path(variables):
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
