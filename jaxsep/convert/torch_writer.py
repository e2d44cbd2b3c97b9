"""Writes arrays as `torch.save` writes a state_dict. Needs no PyTorch.

The file is a zip archive of a pickle and, beside it, the bytes of each array. The pickle is put
together here, because Python's own module only names functions that it can import.

Reference: the files that PyTorch 2.13 writes.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}  # of PyTorch, by the type of numbers
ORDERED_DICT = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
REBUILD_TENSOR = pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n"


def write_torch_file(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a file that `torch.load` reads as tensors by name.

    Args:
      path: Path of the file.
      arrays: Arrays by name, of types in `STORAGES`.
    """
    folder = path.stem  # in the archive, as PyTorch names it
    with zipfile.ZipFile(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            # Of no date, so that the same arrays make the same file.
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), content)

        add("data.pkl", _pickle(arrays))
        add("byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            add(f"data/{key}", array.astype(array.dtype.newbyteorder("<")).tobytes())
        add("version", b"3\n")


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Pickles a dict of tensors, each the whole of a storage, numbered in their order."""
    tensors = [
        _plain(name) + _tensor(array, str(key)) for key, (name, array) in enumerate(arrays.items())
    ]
    items = pickle.MARK + b"".join(tensors) + pickle.SETITEMS
    return pickle.PROTO + b"\x02" + ORDERED_DICT + items + pickle.STOP


def _tensor(array: np.ndarray, key: str) -> bytes:
    storage_type = pickle.GLOBAL + f"torch\n{STORAGES[array.dtype.name]}\n".encode()
    size = _plain(array.size)
    storage = _tuple(_plain("storage"), storage_type, _plain(key), _plain("cpu"), size)
    strides = tuple(step // array.itemsize for step in np.empty_like(array, order="C").strides)
    view = (_plain(0), _plain(array.shape), _plain(strides), pickle.NEWFALSE, ORDERED_DICT)
    return REBUILD_TENSOR + _tuple(storage + pickle.BINPERSID, *view) + pickle.REDUCE


def _tuple(*pickled: bytes) -> bytes:
    return pickle.MARK + b"".join(pickled) + pickle.TUPLE


def _plain(value: Any) -> bytes:
    """Pickles text, a number or a tuple of numbers, without the pickle's first and last bytes."""
    return pickle.dumps(value, 2)[2:-1]
