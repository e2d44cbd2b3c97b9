"""Files that are there whole or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes a JSON file under a temporary name and renames it."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: epath.PathLike, text: str) -> None:
    """Writes a text file under a temporary name and renames it."""
    path = epath.Path(path)
    part = path.with_name(f".part-{os.getpid()}")  # short, for the name may be as long as can be
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives a folder to be filled, which is renamed to `path` if nothing is raised.

    Args:
      path: of a folder that isn't there yet, on a local disk; its parent is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part:
        folder = Path(part) / path.name
        folder.mkdir()
        yield folder
        folder.rename(path)


def read_json(path: epath.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      OSError: if it can't be read or isn't JSON; the message names it.
    """
    path = epath.Path(path)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise OSError(f"{path}: damaged, not JSON ({error})") from error


def absolute(path: epath.PathLike) -> epath.Path:
    """Makes a local path absolute, as Orbax wants it; a bucket's stays as it is."""
    path = epath.Path(path)
    return path if is_remote(path) else path.absolute()


def is_remote(path: epath.PathLike) -> bool:
    """Tells whether a path is on a bucket."""
    return "://" in str(path)
