"""Files of weights: pickles, and PyTorch's checkpoints in their two formats. Needs no PyTorch."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxsep.convert.safe_pickle import PickledArray, Tensor, UnsafePickleError, load

Blocks = dict[str, bytes]

# What PyTorch's files before version 1.6 begin with: two pickles of these numbers.
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a dict of arrays that `torch.save` has written, or `pickle.dump`.

    Raises:
      UnsafePickleError: if there is anything else in it; the message names file and reason.
      OSError: if it can't be read.
    """
    try:
        # As a whole: reading from memory reserves none for bytes that a file only claims to have.
        return _read(io.BytesIO(path.read_bytes()))
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises any kind
        reason = (str(error) or type(error).__name__).split("\n")[0][:200]
        raise UnsafePickleError(f"{path}: refused, {reason}; only arrays are read") from error


def _read(file: io.BytesIO) -> dict[str, np.ndarray]:
    if zipfile.is_zipfile(file):
        tree, blocks = _read_zip(file)
    else:
        file.seek(0)
        tree, blocks = load(file), {}
        if tree == LEGACY_MAGIC:
            tree, blocks = _read_legacy(file)
    if not isinstance(tree, dict):
        raise UnsafePickleError("it is no dict of arrays")
    arrays = {}
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, PickledArray | Tensor):
            raise UnsafePickleError(f"it has an entry that is a {type(value).__name__}")
        arrays[name] = value.read(blocks)
    return arrays


def _read_zip(file: io.BytesIO) -> tuple[Any, Blocks]:
    """Reads a pickle `NAME/data.pkl`, and the storages `NAME/data/KEY`."""
    with zipfile.ZipFile(file) as archive:
        # Neither packed nor sharing bytes: what it holds is no larger than the file.
        if sum(info.file_size for info in archive.infolist()) > file.seek(0, io.SEEK_END):
            raise UnsafePickleError("it holds more than its size")
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UnsafePickleError(f"it is a zip file with {len(pickles)} data.pkl")
        folder = pickles[0].removesuffix(".pkl") + "/"
        tree = load(io.BytesIO(archive.read(pickles[0])))
        blocks = [name for name in names if name.startswith(folder)]
        return tree, {name.removeprefix(folder): archive.read(name) for name in blocks}


def _read_legacy(file: io.BytesIO) -> tuple[Any, Blocks]:
    """Reads the pickles behind the first: version, platform, tensors and keys; then the storages.

    Each storage is a count of numbers, in 8 bytes, and the numbers.
    """
    version, _, tree, keys = (load(file) for _ in range(4))
    if version != LEGACY_VERSION:
        raise UnsafePickleError("it has an unknown version")
    sizes = {tensor.storage.key: tensor.storage.dtype.itemsize for tensor in tree.values()}
    blocks = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        blocks[key] = file.read(count * sizes[key])
    return tree, blocks
