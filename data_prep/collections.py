"""Tells by its files what kind of collection a folder holds."""

from pathlib import Path

from data_prep.mir1k import EXTENSIONS, FOLDERS, Mir1k
from data_prep.musdb18 import open_root
from data_prep.sources import PreparationError, Source
from data_prep.stems_folder import StemsFolder

KINDS = ("musdb18", "stems_folder", "mir1k")


def open_collection(root: Path, kind: str | None = None) -> Source:
    """Opens a folder of songs.

    Args:
      root: the folder.
      kind: one of `KINDS`; None looks at the files. MUSDB18-HQ then counts as a stems folder,
        which it is as well.

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
    parents = [root, *(root / folder for folder in FOLDERS)]
    is_clip = any(
        path.suffix.lower() in EXTENSIONS for parent in parents for path in parent.glob("*.*")
    )
    return "mir1k" if is_clip else "stems_folder"
