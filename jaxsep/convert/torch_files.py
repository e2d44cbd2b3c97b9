"""Files of weights: pickles, and PyTorch's checkpoints in their two formats. Needs no PyTorch.

They are read as streams, and of what lies beside the pickle only what its arrays need: a checkpoint
of a gigabyte takes a gigabyte of memory, and its optimizer's state none.
"""

import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxsep.console import first_line
from jaxsep.convert.pickle_stand_ins import PickledArray, Tensor, UnsafePickleError
from jaxsep.convert.safe_pickle import load
from jaxsep.files import open_ordinary

# What PyTorch's files before version 1.6 begin with: two pickles of these numbers.
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
# Where training programs keep the weights, beside numbers and the optimizer's state.
WRAPPERS = ("state", "state_dict", "model_state_dict")
LONGEST_NAME = 500
PIECE = 2**20  # bytes that are read at a time

Blocks = dict[str, np.ndarray]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a dict of arrays that `torch.save` has written, or `pickle.dump`.

    The dict may be an entry of another one, under a name of `WRAPPERS`; the rest isn't read then.

    Returns:
      The arrays by name; those of one storage share its memory, and none can be written to.

    Raises:
      UnsafePickleError: There is anything else in it; the message names file and reason.
      OSError: It can't be opened.
    """
    with open_ordinary(path) as file:
        try:
            return _read(file)
        except Exception as error:  # a damaged pickle raises any kind
            reason = first_line(error)
            raise UnsafePickleError(f"{path}: refused, {reason}; only arrays are read") from error


def _read(file: IO[bytes]) -> dict[str, np.ndarray]:
    size = file.seek(0, os.SEEK_END)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            arrays, blocks = _read_zip(archive, size)
    else:
        file.seek(0)
        tree = load(file, size)
        if tree == LEGACY_MAGIC:
            arrays, blocks = _read_legacy(file, size)
        else:
            arrays, blocks = _arrays_in(tree), {}
    values = {name: array.read(blocks) for name, array in arrays.items()}
    # Many can be views of one block, but whoever uses them copies each.
    if sum(value.nbytes for value in values.values()) > size:
        raise UnsafePickleError("its arrays are larger than the file")
    return values


def _arrays_in(tree: Any) -> dict[str, PickledArray | Tensor]:
    if isinstance(tree, dict):
        wrapped = (tree.get(name) for name in WRAPPERS)
        tree = next((state for state in wrapped if isinstance(state, dict)), tree)
    if not isinstance(tree, dict):
        raise UnsafePickleError("it is no dict of arrays")
    for name, value in tree.items():
        # A name is shown in messages.
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
            raise UnsafePickleError("it has an entry without a proper name")
        if not isinstance(value, PickledArray | Tensor):
            raise UnsafePickleError(f"it has an entry that is a {type(value).__name__}")
    return tree


def _keys(arrays: dict[str, PickledArray | Tensor]) -> Collection[str]:
    return {array.storage.key for array in arrays.values() if isinstance(array, Tensor)}


def _read_zip(archive: zipfile.ZipFile, size: int) -> tuple[dict[str, Any], Blocks]:
    """Reads a pickle `NAME/data.pkl`, and the storages `NAME/data/KEY`."""
    # PyTorch never packs, and what is packed may be endless, whatever size the archive states.
    members = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise UnsafePickleError("it is a packed zip file")
    if sum(info.file_size for info in members) > size:  # members that share bytes
        raise UnsafePickleError("it holds more than its size")
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnsafePickleError(f"it is a zip file with {len(pickles)} data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") == b"big":
        raise UnsafePickleError("it was written on a big-endian machine")
    with archive.open(pickles[0]) as member:
        arrays = _arrays_in(load(member, archive.getinfo(pickles[0]).file_size))
    blocks = {}
    for key in _keys(arrays):
        info = archive.getinfo(f"{folder}data/{key}")
        with archive.open(info) as member:
            blocks[key] = _read_block(member, info.file_size)
    return arrays, blocks


def _read_legacy(file: IO[bytes], size: int) -> tuple[dict[str, Any], Blocks]:
    """Reads the pickles behind the first: version, platform, tensors and keys; then the storages.

    Each storage is a count of numbers, in 8 bytes, and the numbers.
    """
    dtypes: dict[str, np.dtype] = {}
    version, platform, tree, keys = (load(file, size - file.tell(), dtypes) for _ in range(4))
    if version != LEGACY_VERSION:
        raise UnsafePickleError("it has an unknown version")
    if not platform["little_endian"]:
        raise UnsafePickleError("it was written on a big-endian machine")
    arrays = _arrays_in(tree)
    needed, blocks = _keys(arrays), {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
        if count > size - file.tell():
            raise UnsafePickleError("it ends too early")
        if key in needed:
            blocks[key] = _read_block(file, count)
        else:
            file.seek(count, os.SEEK_CUR)
    return arrays, blocks


def _read_block(file: IO[bytes], size: int) -> np.ndarray:
    """Reads bytes, uint8 `[size]`, without a copy of them."""
    block, position = np.empty(size, np.uint8), 0
    while position < size:
        piece = file.read(min(PIECE, size - position))
        if not piece:
            raise UnsafePickleError("it ends too early")
        block[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
        position += len(piece)
    return block
