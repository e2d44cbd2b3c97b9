"""Which folder each song's stems go to: never one that holds another song's."""

import functools
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from jaxsep.audio.reader import STDIN
from jaxsep.audio.writer import FORMATS
from jaxsep.console import as_utf8, composed
from jaxsep.files import sha256_of
from jaxsep.separation import song_record

LONGEST = 240  # bytes of a name; a number and the names of file systems need some, too
# What exFAT, NTFS and SMB refuse: some characters, a dot or space at the end, names of devices.
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]+$')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


class SongFolders:
    """Chooses folders for the songs of one call.

    A folder is named after its song's file, without the extension. Names that differ only in case
    or Unicode form, or that some file systems take for the same, count as equal: `-2` and so on
    tells songs of equal names apart. A folder that holds stems of the same song, by SHA-256, is
    used again whatever comes before it, so songs keep their names in any order of calls.

    Args:
      output: Folder of the songs' folders.
      songs: Paths of the songs.
      stems: Names of the stems to write.
      overwrite: Whether stems of another song may be replaced, if they have the song's plain name.

    Attributes:
      displaced: By the song's index, the folder that holds another's stems and would have been its
        own.
    """

    def __init__(
        self, output: Path, songs: Sequence[Path], stems: Sequence[str], *, overwrite: bool
    ):
        self._output, self._songs, self._overwrite = output, songs, overwrite
        self._files = stem_names(stems)
        self._bases = [base_name(song) for song in songs]
        self._inputs = {identity for song in songs if (identity := _identity(song))}
        self._chosen: dict[int, Path] = {}
        self._taken: set[str] = set()
        self._there = self._list()
        self._refused: dict[str, bool] = {}
        self.displaced: dict[int, Path] = {}

    def choose(self, index: int) -> Path:
        """Returns the folder of a song; always the same one, until `give_up`."""
        if index in self._chosen:
            return self._chosen[index]
        # Together, so that songs that have a folder come before those that need one.
        key = _key(self._bases[index])
        same = [i for i, base in enumerate(self._bases) if _key(base) == key]
        missing = [i for i in same if i not in self._chosen]
        for i in missing:
            digest = source_digest(self._songs[i]) if key in self._there else None
            own = (f for _, f in self._there.get(key, []) if self._is_own(i, f, digest))
            if folder := next(own, None):
                self._take(i, folder)
        for i in missing:
            if i not in self._chosen:
                self._take(i, self._free(i))
        return self._chosen[index]

    def give_up(self, index: int) -> None:
        """Has another folder chosen for a song: another process has just taken its own."""
        del self._chosen[index]
        self._there = self._list()

    def _take(self, index: int, folder: Path) -> None:
        self._chosen[index] = folder
        self._taken.add(_key(folder.name))

    def _list(self) -> dict[str, list[tuple[int, Path]]]:
        """Lists what is in the output folder by name, `song-2` also as number 2 of `song`."""
        found: dict[str, list[tuple[int, Path]]] = {}
        if self._output.is_dir():
            for path in sorted(self._output.iterdir()):
                key = _key(path.name)
                found.setdefault(key, []).append((1, path))
                if match := re.fullmatch(r"(.+)-([1-9]\d{0,8})", path.name, re.DOTALL):
                    found.setdefault(_key(match[1]), []).append((int(match[2]), path))
        return {key: sorted(paths) for key, paths in found.items()}

    def _is_own(self, index: int, folder: Path, digest: str | None) -> bool:
        """Tells whether a folder is a song's, and not taken."""
        if _key(folder.name) in self._taken or not song_record.read_own(folder, digest):
            return False
        return not self._holds(folder, {_identity(self._songs[index])})

    def _free(self, index: int) -> Path:
        """Returns the first folder that is free."""
        base = self._bases[index]
        number, name = 1, base
        while True:
            key = _key(name)
            there = [path for n, path in self._there.get(key, []) if n == 1]
            if key not in self._taken:
                if not there:
                    return self._output / self._accepted(name)
                if all(self._may_use(path, is_plain=number == 1) for path in there):
                    return there[0]
                self.displaced.setdefault(index, there[0])
            number += 1
            name = f"{base}-{number}"

    def _may_use(self, folder: Path, *, is_plain: bool) -> bool:
        """Tells whether nothing is lost if a song's stems are written to a folder."""
        if not folder.is_dir() or self._holds(folder, self._inputs):
            return False
        return is_free(folder, self._files) or (self._overwrite and is_plain)

    def _holds(self, folder: Path, songs: set) -> bool:
        return any(_identity(folder / name) in songs for name in self._files)

    def _accepted(self, name: str) -> str:
        """Returns a name that the output's file system takes."""
        portable = portable_name(name)
        if portable == name:
            return name
        if os.name != "nt":
            if name not in self._refused:
                self._refused[name] = _is_refused(self._output, name)
            if not self._refused[name]:
                return name
        return portable


def is_free(folder: Path, files: set[str]) -> bool:
    """Tells whether a folder holds no song's stems.

    Args:
      folder: Path of a folder; it may be missing.
      files: Names that stems may have.
    """
    try:
        record = song_record.read(folder)
    except song_record.SongRecordError:
        return False
    if record is not None and record.runs:
        return False
    return not any(os.path.lexists(folder / name) for name in files)


def stem_names(stems: Sequence[str]) -> set[str]:
    """Returns the names that the files of stems may have."""
    return {f"{stem}.{name}" for stem in stems for name in FORMATS}


def base_name(song: Path) -> str:
    """Names a song's folder after its file; no name leads out of the output folder.

    Bytes that aren't UTF-8 become `_`; what is longer than 240 bytes is cut off.
    """
    name = "stdin" if song == STDIN else song.stem
    name = re.sub(r"[\ud800-\udfff]", "_", as_utf8(name))
    name = name.encode()[:LONGEST].decode(errors="ignore")
    return _for_system(name if name.strip(".") else "_")


def portable_name(name: str) -> str:
    """Makes a name of a folder that every file system takes.

    What exFAT, NTFS or SMB refuse becomes `_`: each of `<>:"/\\|?*` and controls, and dots and
    spaces at the end. Names of Windows' devices, such as `CON`, get a `_` in front.
    """
    name = _REFUSED.sub(lambda match: "_" * len(match.group()), name)
    return f"_{name}" if _DEVICE.match(name) else name


def source_digest(song: Path) -> str | None:
    """Identifies a song by the SHA-256 of its file; None for a pipe and what can't be read."""
    if song == STDIN:
        return None
    try:
        status = song.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        return _digest(song, status.st_ino, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        return None


@functools.cache
def _digest(song: Path, *status: int) -> str:
    """Reads a file once, as long as its status stays the same."""
    del status
    return sha256_of(song)


def _for_system(name: str) -> str:
    """Writes a name in the letters that this process may give to the system."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # the locale C has ASCII alone, but passes bytes on
        return os.fsdecode(name.encode())
    return name


def _key(name: str) -> str:
    """Returns what names have in common that some file system takes for the same."""
    return composed(portable_name(as_utf8(name)))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_refused(folder: Path, name: str) -> bool:
    """Tells whether a file system refuses a name, by trying."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        (folder / name).mkdir()
        (folder / name).rmdir()
    except FileExistsError:
        return False
    except OSError:
        return True
    return False
