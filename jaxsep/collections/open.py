"""Tells by its files what kind of collection a folder holds."""

from pathlib import Path

from jaxsep.collections.mir1k import EXTENSIONS, FOLDERS, Mir1k
from jaxsep.collections.musdb18 import open_root
from jaxsep.collections.source import PreparationError, Source, is_hidden
from jaxsep.collections.stems_folder import StemsFolder


def open_collection(root: Path, kind: str | None = None) -> Source:
    """Opens a folder of songs.

    Args:
      root: Path of the folder.
      kind: "musdb18", "stems_folder" or "mir1k"; None looks at the files. MUSDB18-HQ then counts
        as a stems folder, which it is as well.

    Raises:
      PreparationError: if there is nothing there that could be of that kind.
    """
    if not root.is_dir():
        raise PreparationError(f"{root}: no such folder")
    kind = kind or _guess(root)
    if kind == "musdb18":
        return open_root(root)
    return Mir1k(root) if kind == "mir1k" else StemsFolder(root, "stems_folder", "not stated")


def _guess(root: Path) -> str:
    if any(root.glob("t*/*.stem.mp4")):
        return "musdb18"
    clips = [
        path
        for parent in (root, *(root / folder for folder in FOLDERS))
        for path in parent.glob("*.*")
        if path.suffix.lower() in EXTENSIONS and not is_hidden(path)
    ]
    if any(path.stem == "vocals" for path in clips):
        raise PreparationError(f"{clips[0].parent}: the stems of one song; give the folder above")
    has_songs = any(root.glob("*/vocals.*")) or any(root.glob("*/*/vocals.*"))
    if clips and has_songs:
        raise PreparationError(
            f"{root}: {clips[0].name} looks like a clip of MIR-1K, the rest like a folder of stems;"
            " say which it is by --kind"
        )
    return "mir1k" if clips else "stems_folder"
