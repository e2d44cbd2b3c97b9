"""Folders at hand: recordings with the licence beside them, and albums of stems."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.musdb18 import open_root
from data_prep.sources import PreparationError, Song, Source, Track
from data_prep.stems_folder import StemsFolder
from recipes.sources import VOICE, Item, SourceError, plain

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
LICENCES = {
    "CC0": r"CC0",
    "CC-BY-SA-{}": r"CC[ -]BY[ -]SA[ -](\d\.\d)",
    "CC-BY-{}": r"CC[ -]BY[ -](\d\.\d)",
    "MIT": r"Permission is hereby granted, free of charge|MIT License",
}


def recordings(root: Path, texts: Path, *, by_speaker: bool) -> tuple[list[Item], list[str]]:
    """Lists the voices in a folder of folders, each with its licence text beside the files.

    Args:
      root: `root/COLLECTION/*`, with LICENSE or NOTE or README in each collection.
      texts: folder for copies of the licence texts.
      by_speaker: whether files whose names begin alike, up to a number, are a speaker's; else a
        collection is one voice.

    Returns:
      What was found, and one line for each collection that can't be used.

    Raises:
      SourceError: if the folder isn't there.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder")
    found, failures = [], []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            licence = note_licence(folder, texts)
        except SourceError as error:
            failures.append(str(error))
            continue
        groups: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in AUDIO:
                # kathleen_a0001_15.ogg is spoken by kathleen, nl_NL_pim.ogg by nl_NL_pim.
                speaker = re.split(r"[_-][a-z]?\d", path.stem)[0] if by_speaker else ""
                name = plain(f"{folder.name}-{speaker}")
                groups.setdefault(name, []).append(path)
        found += [
            Item(name, VOICE, tuple(files), folder.name, "", licence, folder.name)
            for name, files in groups.items()
        ]
    return found, failures


def note_licence(folder: Path, texts: Path) -> str:
    """Copies the licence text of a folder and returns its short name.

    Raises:
      SourceError: if it states none that is known.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in ("", ".txt", ".md")]
    text = "\n\n".join(path.read_text() for path in files if path.is_file())
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
