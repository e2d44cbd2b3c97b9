"""Programs that were compiled once are kept for the next start, in the user's cache."""

import os
import platform
import re
import stat
import warnings
from pathlib import Path

import jax
import platformdirs

MAX_BYTES = 2**28  # of all that is kept; what wasn't used for longest goes first


def keep_compiled_programs() -> None:
    """Makes JAX keep what it compiles, and take what it kept.

    For programs that start, do one thing and end. What is kept is machine code, so the folder must
    belong to the user, and nobody else may write to it; otherwise nothing is kept. Machines that
    share a home have a folder each, for their processors may differ. A cache that the user has set
    up for JAX (`JAX_COMPILATION_CACHE_DIR`) stays in use. What is damaged in it is compiled again.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    machine = re.sub(r"[^A-Za-z0-9_-]", "_", platform.node()) or "_"
    folder = platformdirs.user_cache_path("jaxsep") / "compiled" / machine
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_private = _is_private(folder)
    except OSError:
        return  # as from a read-only home: it works without, only slower
    if is_private:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _is_private(folder: Path) -> bool:
    """Tells whether only this user can put files there; where that has no meaning, True."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.getuid() and not is_open and os.access(folder, os.W_OK)
