"""One process at a time writes a song's stems to a folder, and clears what crashes left there."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from jaxsep.separation import song_record
from jaxsep.separation.song_folders import is_free, source_digest, stem_names
from jaxsep.separation.song_record import SongRecord

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PART = re.compile(r"\..*part-(\d+)")  # of `jaxsep.files`


class OutputExistsError(Exception):
    """Stems are already there and were not to be overwritten."""


class FolderTakenError(OutputExistsError):
    """A folder holds another song's stems, or another process is making them."""


@contextlib.contextmanager
def claim(
    song: Path, folder: Path, stems: Sequence[str], *, overwrite: bool
) -> Iterator[SongRecord]:
    """Keeps a folder for a song's stems, and yields their record.

    What is raised inside leaves no unfinished files, nor folders that are new.

    Args:
      song: Path of the song.
      folder: Path of the folder; made if need be.
      stems: Names of the stems to write.
      overwrite: Whether the folder may hold another song's.

    Raises:
      FolderTakenError: If the folder is another song's.
      OutputExistsError: If another process is at work on this song.
      OSError: If the folder can't be written.
    """
    digest = source_digest(song)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(song, folder, digest):
            had_record = os.path.lexists(folder / song_record.NAME)
            record = song_record.read_own(folder, digest)
            if record is None:
                if not overwrite and not is_free(folder, stem_names(stems)):
                    raise FolderTakenError(
                        f"{folder} holds stems that aren't known to be of {song}; --overwrite"
                        " replaces them"
                    )
                record = SongRecord(digest, song.name)
            try:
                yield record
            except BaseException:
                with contextlib.suppress(OSError):
                    clear_parts(folder)
                if not had_record and is_free(folder, set()):  # nothing but `begin` wrote it
                    _remove(folder / song_record.NAME)
                raise
    except BaseException:
        with contextlib.suppress(OSError):  # what holds something stays
            for path in made:
                path.rmdir()
        raise


def begin(folder: Path, record: SongRecord) -> None:
    """Says in a claimed folder, before the work, which song it is for; clears what crashes left."""
    clear_parts(folder)
    if not os.path.lexists(folder / song_record.NAME):
        record.write(folder)


def clear_parts(folder: Path) -> None:
    """Removes unfinished files from a claimed folder, but for those of other living processes."""
    for path in folder.iterdir():
        match = _PART.fullmatch(path.name)
        if match and (int(match[1]) == os.getpid() or not _is_alive(int(match[1]))):
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return False  # and there a file that is open can't be removed
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


@contextlib.contextmanager
def _locked(song: Path, folder: Path, digest: str | None) -> Iterator[None]:
    """Locks a folder; a crash leaves no lock behind."""
    with contextlib.ExitStack() as stack:
        try:
            if fcntl is None:
                lock = folder / ".jaxsep.lock"
                stack.callback(_remove, lock)
                stack.enter_context(FileLock(lock, blocking=False))
            else:
                file = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, file)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, Timeout) as error:
            raise _busy(song, folder, digest) from error
        except OSError as error:
            # Some network file systems can't lock folders: there two calls may meet.
            if error.errno not in (errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise
        yield


def _busy(song: Path, folder: Path, digest: str | None) -> OutputExistsError:
    """Says whose stems another process is making in a folder."""
    for _ in range(20):  # until it has said so
        if os.path.lexists(folder / song_record.NAME):
            break
        time.sleep(0.05)
    if song_record.read_own(folder, digest):
        return OutputExistsError(f"{song}: another call is making its stems in {folder}")
    return FolderTakenError(f"{folder}: another call is making another song's stems there")
