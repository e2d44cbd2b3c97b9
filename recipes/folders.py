"""Folders at hand: recordings with the licence beside them, and albums of stems."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxsep.collections.musdb18 import open_root
from jaxsep.collections.source import PreparationError, Song, Source, Track
from jaxsep.collections.stems_folder import StemsFolder
from recipes.sources import SONG, VOICE, Item, SourceError, plain

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
LICENCES = {  # by their short names, or as their own texts say it
    "CC-BY-SA-{}": r"(?:CC[ -]BY[ -]SA[ -]|Attribution-ShareAlike )(\d\.\d)",
    "CC-BY-SA": r"CC[ -]BY[ -]SA\b",  # of which some collections don't name the version
    "CC-BY-{}": r"(?:CC[ -]BY[ -]|Attribution )(\d\.\d)",
    "MIT": r"Permission is hereby granted, free of charge|MIT License",
    "CC0": r"CC0",  # the last: the texts of other Creative Commons licences are themselves under it
}
RESTRICTED = r"(?i)\bBY[ -](SA[ -])?N[CD]\b|Attribution-(NonCommercial|NoDeriv)"


def recordings(root: Path, texts: Path, *, by_speaker: bool) -> list[Item]:
    """Lists the voices in a folder of folders.

    Args:
      root: see `collections`.
      texts: folder for copies of the licence texts.
      by_speaker: whether files whose names begin alike, up to a number, are a speaker's; else a
        collection is one voice.

    Raises:
      SourceError: if the folder isn't there.
    """
    found = []
    for name, licence, files in collections(root, texts):
        groups: dict[str, list[Path]] = {}
        for path in files:
            # kathleen_a0001_15.ogg is spoken by kathleen, nl_NL_pim.ogg by nl_NL_pim.
            speaker = re.split(r"[_-][a-z]?\d", path.stem)[0] if by_speaker else ""
            groups.setdefault(plain(f"{name}-{speaker}"), []).append(path)
        found += [
            Item(voice, VOICE, tuple(group), name, "", licence, name)
            for voice, group in groups.items()
        ]
    return found


def unlabelled_songs(root: Path, texts: Path) -> list[Item]:
    """Lists the songs in a folder of folders, in which voice and backing aren't apart.

    Args:
      root: see `collections`. A file is a song; but if one is called `mixture`, the others are
        tracks that add up to it.
      texts: folder for copies of the licence texts.

    Raises:
      SourceError: if the folder isn't there.
    """
    found = []
    for collection, licence, files in collections(root, texts):
        tracks = [path for path in files if path.stem != "mixture"]
        groups = [tracks] if 1 < len(tracks) < len(files) else [[path] for path in files]
        for group in groups:
            name = collection if len(groups) == 1 else f"{collection}-{group[0].stem}"
            found.append(Item(plain(name), SONG, tuple(group), collection, "", licence, collection))
    return found


def collections(root: Path, texts: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """Finds the recordings in `root/COLLECTION/*`, and says which collections can't be used.

    Args:
      root: with LICENSE or NOTE or README in each collection.
      texts: folder for copies of these.

    Yields:
      Name, licence and files of each collection.

    Raises:
      SourceError: if the folder isn't there.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder")
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            licence = note_licence(folder, texts)
        except SourceError as error:
            print(f"left out: {error}", flush=True)
            continue
        files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in AUDIO]
        yield folder.name, licence, files


def note_licence(folder: Path, texts: Path) -> str:
    """Copies the licence text of a folder and returns its short name.

    Raises:
      SourceError: if it states none that is known, or one that restricts use or changes.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in ("", ".txt", ".md")]
    text = "\n\n".join(path.read_text() for path in files if path.is_file())
    if match := re.search(RESTRICTED, f"{text} {folder.name}"):
        raise SourceError(f"{folder}: {match[0]} allows no such use, or no changes")
    for short, pattern in LICENCES.items():
        if match := re.search(pattern, f"{text} {folder.name}"):
            (texts / f"{folder.name}.txt").write_text(f"{folder.name}\n\n{text}")
            return short.format(*match.groups())
    raise SourceError(f"{folder}: no known licence ({', '.join(LICENCES)}) in a text beside it")


def open_album(root: Path) -> tuple[Source, list[Track]]:
    """Opens songs in stems: MUSDB18's layout, or that of `data_prep.stems_folder`.

    Raises:
      SourceError: if it is neither.
    """
    is_musdb = any(root.glob("t*/*.stem.mp4")) or any(root.glob("t*/*/mixture.wav"))
    try:
        source = open_root(root) if is_musdb else StemsFolder(root, root.name, "")
        return source, source.tracks()
    except PreparationError as error:
        raise SourceError(str(error)) from error


def vocals_and_rest(song: Song) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the two stems of a song, at a level that 16 bits hold, and no silent vocals."""
    stems = dict(song.stems)
    vocals = stems.pop("vocals")
    rest = np.sum(list(stems.values()), axis=0)
    gain = min(1.0, 0.98 / max(np.max(np.abs(vocals)), np.max(np.abs(rest)), 1e-9))
    if np.max(np.abs(vocals)) > 1e-3:
        yield "vocals", gain * vocals
    yield "accompaniment", gain * rest
