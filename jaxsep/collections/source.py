"""What a collection of songs must offer to become a data set."""

import dataclasses
import hashlib
import typing
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from jaxsep.audio.reader import AudioError, AudioReader
from jaxsep.console import printable
from jaxsep.stems import ACCOMPANIMENT

SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = 0.15


class PreparationError(Exception):
    """A data set can't be prepared; the message says why and what to do."""


class TrackError(Exception):
    """One track can't be used; the message says why, without the track's name."""


@dataclasses.dataclass(frozen=True)
class Track:
    """A song of a collection, not yet read.

    Attributes:
      name: Name, unique in its split; made `printable`, for it is stored as text and shown.
      split: One of `SPLITS`.
      seconds: Length that the files' headers claim; for planning only.
      files: Paths of its files, relative to the collection's root.
      stems: Names of its stems as far as they are known before it is read, without the mixture.
    """

    name: str
    split: str
    seconds: float
    files: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "name", printable(self.name))


@dataclasses.dataclass(frozen=True)
class Song:
    """A track's audio: float32 `[samples, channels]`, all of one length.

    Attributes:
      stems: Stems by name. They sum to the song; but beside an `accompaniment`, which is all of it
        but the `vocals`, others are parts of that.
      mixture: Released mixture, or None if it is just the sum of the stems.
      sample_rate: Sample rate in Hz.
    """

    stems: dict[str, np.ndarray]
    mixture: np.ndarray | None
    sample_rate: int


class Source(typing.Protocol):
    """A collection of songs. It travels to worker processes, so it must be picklable."""

    @property
    def name(self) -> str:
        """The data set's name."""
        ...

    @property
    def licence(self) -> str:
        """What the manifest says about rights."""
        ...

    @property
    def root(self) -> Path | None:
        """Folder of the tracks' files, if there are any."""
        ...

    def tracks(self) -> list[Track]:
        """Lists all tracks, in a fixed order."""
        ...

    def load(self, track: Track) -> Song:
        """Reads one track.

        Raises:
          TrackError: if it can't be used.
        """
        ...


def stems_beside(stems: Collection[str], wanted: Collection[str]) -> list[str]:
    """Returns the stems of a song that are beside the wanted ones: in the song, in none of them.

    Args:
      stems: Names of the song's stems.
      wanted: Names of stems that it may have, or `accompaniment`.
    """
    parts = {"vocals", ACCOMPANIMENT} if ACCOMPANIMENT in stems else set(stems)
    if ACCOMPANIMENT in wanted:
        parts &= {"vocals"}
    return [stem for stem in stems if stem in parts and stem not in wanted]


def has_rest(song: Song, wanted: Collection[str]) -> bool:
    """Tells whether a song has sound beside the wanted stems, be it that of a mixture alone."""
    is_single = song.mixture is not None and len(song.stems) == 1 and ACCOMPANIMENT not in wanted
    return is_single or bool(stems_beside(song.stems, wanted))


def audio_seconds(files: Iterable[Path]) -> float:
    """Returns the longest duration that the files' headers promise; 0 for what can't be read."""
    longest = 0.0
    for file in filter(Path.is_file, files):  # a pipe would be waited for
        try:
            with AudioReader(file) as reader:
                longest = max(longest, (reader.num_samples or 0) / reader.sample_rate)
        except AudioError:
            continue  # told, by name, when the track's turn comes
    return longest


def is_hidden(path: Path) -> bool:
    """Tells a system's own files and folders, such as `._song.wav`, from a collection's."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def hold_out(tracks: Iterable[Track]) -> list[Track]:
    """Moves `VALIDATION_SHARE` of the training tracks to validation, at least one.

    Which ones is a matter of their names' hashes, not of their number or order. A single track
    stays in training.
    """
    tracks = list(tracks)
    training = [track for track in tracks if track.split == "train"]
    if len(training) < 2:
        return tracks
    by_hash = sorted(training, key=lambda track: hashlib.sha256(track.name.encode()).digest())
    held_out = set(by_hash[: max(1, round(VALIDATION_SHARE * len(training)))])
    return [
        dataclasses.replace(track, split="validation") if track in held_out else track
        for track in tracks
    ]
