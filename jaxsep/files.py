"""Files that are there whole or not at all."""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

LARGEST_JSON = 16 * 2**20  # bytes
DEEPEST_JSON = 100


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes a JSON file under a temporary name and renames it."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: epath.PathLike, text: str) -> None:
    """Writes a text file under a temporary name and renames it."""
    write_bytes(path, text.encode())


def write_bytes(path: epath.PathLike, content: bytes) -> None:
    """Writes a file under a temporary name and renames it."""
    with replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a hidden path to write a file at, which is stored and renamed to `path` in the end.

    If anything is raised inside, the hidden file is removed and what was at `path` stays.

    Args:
      path: Path of the file; its folder must exist.
    """
    path = epath.Path(path)
    # Short, for the name may be as long as can be; the number tells others who is writing.
    part = path.with_name(f".{secrets.token_hex(4)}.part-{os.getpid()}")
    try:
        yield part
        if not is_remote(part):
            sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sync(path: str | os.PathLike[str]) -> None:
    """Has the system store a file or a folder's names now, lest a power cut leave it empty."""
    is_folder = os.path.isdir(path)
    if is_folder and os.name == "nt":
        return  # Windows opens no folders
    file = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems can't
            raise
    finally:
        os.close(file)


@contextlib.contextmanager
def new_folder(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a folder to be filled, which is renamed to `path` if nothing is raised.

    Args:
      path: Path of a folder that isn't there yet; its parent is made if need be.
    """
    path = epath.Path(path)
    part = path.with_name(f".part-{secrets.token_hex(4)}")
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(path)
    finally:
        if part.exists():
            part.rmtree()


def read_bytes(path: epath.Path, most: int) -> bytes:
    """Reads a file, which may be anybody's, into memory.

    Args:
      path: Path of the file.
      most: Bytes that it may have.

    Raises:
      OSError: The file can't be read, or is no ordinary one.
      ValueError: It is larger.
    """
    if is_remote(path):
        if path.stat().length > most:
            raise ValueError(f"larger than {most:,} bytes")
        return path.read_bytes()
    with open_ordinary(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"larger than {most:,} bytes")
        return file.read(size)


def open_ordinary(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens a file to read it, unless it is a device or a pipe, which may never end.

    A folder from a stranger can hold these, and links to them.

    Raises:
      OSError: The file can't be opened, or is no ordinary one.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "no ordinary file", os.fspath(path))
    return open(path, "rb")


def read_json(path: epath.PathLike, *, allow_nan: bool = False) -> Any:
    """Reads a JSON file, which may be anybody's.

    Args:
      path: Path of the file.
      allow_nan: Whether numbers may be NaN or infinite, as in a config.

    Raises:
      OSError: The file can't be read, or `parse_json` refuses it; the message names it.
    """
    path = epath.Path(path)
    try:
        return parse_json(read_bytes(path, LARGEST_JSON), allow_nan=allow_nan)
    except ValueError as error:
        raise OSError(f"{path}: damaged, not JSON ({error})") from error


def parse_json(content: bytes, *, allow_nan: bool = False) -> Any:
    """Reads JSON, which may be anybody's.

    Raises:
      ValueError: It isn't JSON, has a number that isn't finite or a key twice in an object, or is
        deeper than `DEEPEST_JSON`.
    """
    number = float if allow_nan else _finite
    try:
        value = json.loads(
            content,
            object_pairs_hook=_without_twins,
            parse_float=number,
            parse_constant=number,
        )
        if _depth(value) > DEEPEST_JSON:
            raise RecursionError
    except RecursionError:
        deep = f"more than {DEEPEST_JSON} lists and objects in each other"
        raise ValueError(deep) from None
    return value


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text:.20} is no finite number")
    return number


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has a key twice")
    return value


def _depth(value: Any) -> int:
    """Counts the levels of lists and objects in each other."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        children = (item.values() if isinstance(item, dict) else item for item in level)
        level = list(itertools.chain.from_iterable(children))
    return depth


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of an ordinary file, read in blocks; hexadecimal."""
    with open_ordinary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_EpathOfFiles: Any = type(epath.Path())


class _LocalPath(_EpathOfFiles):
    """Takes no part of itself for a pattern, as epath's own `glob` takes the folder `a[1]`."""

    def glob(self, pattern: str) -> Iterator[epath.Path]:
        return map(type(self), Path(self).glob(pattern))


def locate(path: epath.PathLike) -> epath.Path:
    """Makes a local path absolute and fit for Orbax, whatever is in it; a bucket's stays as is.

    Raises:
      OSError: It is an address of a kind that can't be opened here; the message names it.
    """
    try:
        located = epath.Path(path)
        if not is_remote(located):
            return _LocalPath(located).absolute()
        located.exists()  # needs the package for such addresses
    except KeyError as error:  # epath knows no such addresses
        raise OSError(f"{path}: addresses that begin so can't be opened; use a folder") from error
    except ImportError as error:
        raise OSError(f"{path}: can't be opened ({error})") from error
    return located


def is_remote(path: epath.PathLike) -> bool:
    """Tells whether a path is on a bucket."""
    return "://" in str(path)
