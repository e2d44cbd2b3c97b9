"""The one folder that the studio reads and writes."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

PREFIX, LOCK = "jaxsep-studio-", "lock"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Makes a temporary folder, and removes it in the end.

    A program that is killed can't do that; the next one does it instead. A lock, which the system
    releases when its holder dies, tells whose folder is still in use.
    """
    _remove_left_over()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with filelock.FileLock(folder / LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        # What others have put there isn't touched, and what is in use can't be locked: both stay.
        with contextlib.suppress(OSError, filelock.Timeout):
            if _is_own(lock.parent) and not lock.is_symlink():
                with filelock.FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent, ignore_errors=True)


def _is_own(folder: Path) -> bool:
    """Tells whether a folder is this user's, and no link to one."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and (
        not hasattr(os, "getuid") or status.st_uid == os.getuid()
    )
