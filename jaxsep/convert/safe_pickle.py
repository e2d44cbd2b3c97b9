"""Loads pickles of NumPy's and PyTorch's arrays without running what a pickle may ask for.

A pickle is a program: it can name any function and call it. Here it may use the few instructions
that arrays need, and what it names is looked up in `STAND_INS`: classes and functions of this
module that only describe an array. Nothing is made that is larger than the file says it holds.
"""

import dataclasses
import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

# NEWOBJ is for classes, which no stand-in is: let through, so that what it names is refused.
INSTRUCTIONS = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE"
    " SHORT_BINUNICODE BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST"
    " APPEND APPENDS EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET"
    " GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPERSID"
)
NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")  # as NumPy names them
STORAGES = {  # as PyTorch does
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


class UnsafePickleError(Exception):
    """A pickle doesn't just describe arrays; the text says what else it wants."""


def load(file: BinaryIO) -> Any:
    """Loads one pickle, from a file's position on.

    Args:
      file: left at the end of the pickle.

    Returns:
      Lists, tuples, dicts, numbers and text, with a `PickledArray` or `Tensor` for each array.

    Raises:
      UnsafePickleError: if the pickle asks for anything else.
      Exception: of any other kind, if it is damaged.
    """
    start = file.tell()
    for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if instruction.name not in INSTRUCTIONS.split():
            raise UnsafePickleError(f"it has the instruction {instruction.name}")
        # The unpickler reserves memory up to the largest number under which it keeps a value.
        if instruction.name in ("BINPUT", "LONG_BINPUT") and (argument or 0) > count:
            raise UnsafePickleError(f"it keeps its value {count} under the number {argument}")
    end = file.tell()
    file.seek(start)
    return _Unpickler(io.BytesIO(file.read(end - start))).load()


class _Unpickler(pickle.Unpickler):
    """Finds stand-ins instead of classes and functions."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise UnsafePickleError(f"it asks for {f'{module}.{name}'[:100]!r}")
        return STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> "Storage":
        """Finds what PyTorch keeps outside of the pickle."""
        kind, storage, key, _, _, *view = pid
        if kind != "storage" or not isinstance(storage, Storage) or any(view):
            raise UnsafePickleError("it refers to something that is no array")
        return dataclasses.replace(storage, key=key)


class _Constant:
    """What a pickle can name but not change."""

    def __setstate__(self, state: Any) -> None:
        raise UnsafePickleError(f"it changes a {type(self).__name__.strip('_').lower()}")


@dataclasses.dataclass(frozen=True)
class _Function(_Constant):
    """Something that a pickle can call."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


class _Class(_Constant):
    """The class of NumPy's arrays: named, but never called."""


class _Dict(dict):
    """An OrderedDict, without the attributes that PyTorch gives it."""

    def __setstate__(self, state: Any) -> None:
        del state


class _Dtype:
    """A type of numbers; a pickle sets the order of bytes afterwards."""

    def __init__(self, code: str, *_: Any):
        if code not in NUMBERS:
            raise UnsafePickleError(f"it has values of the type {code:.50}")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, *fields = state[:5]
        if any(field is not None for field in fields):
            raise UnsafePickleError("it has values of a compound type")
        self.value = self.value.newbyteorder(order)


class PickledArray:
    """A NumPy array; a pickle fills it after it was made."""

    def __init__(self):
        self._value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        values = np.frombuffer(data, dtype.value)
        _check_size(values, shape)
        self._value = values.reshape(shape, order="F" if is_fortran else "C")

    def read(self, blocks: Mapping[str, bytes]) -> np.ndarray:
        """Returns the array; it stands in the pickle itself."""
        del blocks
        return self._value


@dataclasses.dataclass(frozen=True)
class Storage(_Constant):
    """A block of numbers beside the pickle.

    Attributes:
      dtype: of the numbers.
      key: of the block.
    """

    dtype: np.dtype
    key: str = ""


@dataclasses.dataclass(frozen=True)
class Tensor(_Constant):
    """A PyTorch tensor: a view of a storage.

    Attributes:
      storage: where its numbers are.
      offset: of its first number.
      shape: of the tensor.
      strides: from one number to the next, along each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, blocks: Mapping[str, bytes]) -> np.ndarray:
        """Returns the array.

        Args:
          blocks: the storages' bytes, by key.
        """
        values = np.frombuffer(blocks[self.storage.key], self.storage.dtype)[self.offset :]
        _check_size(values, self.shape, self.strides)
        steps = [step * values.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, steps, writeable=False).copy()


def _check_size(values: np.ndarray, shape: tuple, strides: tuple | None = None) -> None:
    """Raises UnsafePickleError if an array's values aren't all there, and none twice."""
    sizes = (*shape, *(strides or ()))
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise UnsafePickleError("it has an array of no possible shape")
    count = math.prod(shape)
    if strides is None:
        fits = count == len(values)
    else:
        end = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        fits = not count or max(count, end) <= len(values)
    if not fits:
        raise UnsafePickleError(f"it has {len(values)} values for an array of shape {shape}")


def _reconstruct(kind: Any, shape: tuple, code: bytes) -> PickledArray:
    """Makes NumPy's empty array."""
    del kind, shape, code
    return PickledArray()


def _no_bytes() -> bytes:
    """Makes the bytes of an empty array, which old pickles don't keep as text."""
    return b""


def _encode(text: str, encoding: str) -> bytes:
    """Makes bytes, which old pickles keep as text."""
    if encoding != "latin1":
        raise UnsafePickleError(f"it has text in {encoding:.50}")
    return text.encode("latin1")


def _rebuild_tensor(storage: Any, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(offset, int) or offset < 0:
        raise UnsafePickleError("it has a tensor without a storage")
    return Tensor(storage, offset, shape, strides)


STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Function(_Dict),
    ("_codecs", "encode"): _Function(_encode),
    ("__builtin__", "bytes"): _Function(_no_bytes),
    ("numpy", "ndarray"): _Class(),
    ("numpy", "dtype"): _Function(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Function(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _Function(_reconstruct),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_rebuild_tensor),
    **{("torch", name): Storage(np.dtype(code)) for name, code in STORAGES.items()},
}
