"""What a pickle of arrays may name, and what stands in its place: descriptions of arrays."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

MOST_AXES = 32
LARGEST = 2**48  # size or step of an axis
NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")  # as NumPy names them
STORAGES = {  # as PyTorch does
    "BFloat16Storage": ml_dtypes.bfloat16,
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "BoolStorage": "?",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


class UnsafePickleError(Exception):
    """A pickle doesn't just describe arrays; the text says what else it wants."""


class Dtype:
    """A type of numbers; a pickle sets the order of bytes afterwards."""

    def __init__(self, code: Any, *_: Any):
        if code not in NUMBERS:
            shown = code if isinstance(code, str) else type(code).__name__
            raise UnsafePickleError(f"it has values of the type {shown[:50]!r}")
        self.value = np.dtype(code)

    def build(self, state: Any) -> None:
        _, order, *fields = state[:5]
        if any(field is not None for field in fields) or order not in ("<", ">", "|"):
            raise UnsafePickleError("it has values of a compound type")
        self.value = self.value.newbyteorder(order)


class PickledArray:
    """A NumPy array, whose numbers stand in the pickle."""

    def __init__(self):
        self._value = np.zeros(0)

    def build(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        shape = _sizes(shape)
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
            raise UnsafePickleError("it has an array without numbers")
        count = len(data) // dtype.value.itemsize
        if math.prod(shape) != count:
            raise UnsafePickleError(f"it has {count} values for an array of shape {shape}")
        self._value = np.ndarray(shape, dtype.value, data, order="F" if is_fortran else "C")

    def read(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the array, which can't be written to."""
        del blocks
        return self._value


@dataclasses.dataclass(frozen=True)
class Storage:
    """A block of numbers beside the pickle.

    Attributes:
      dtype: Type of the numbers.
      key: Name of the block; empty for the type of a storage alone.
    """

    dtype: np.dtype
    key: str = ""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A PyTorch tensor: a view of a storage.

    Attributes:
      storage: The block of its numbers.
      offset: Place of its first number.
      shape: Sizes of its axes.
      strides: Steps from one number to the next along each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the array: a view of its block, which can't be written to.

        Args:
          blocks: Bytes of the storages by key, uint8.

        Raises:
          UnsafePickleError: The numbers aren't all there, or the tensor has more than they are.
        """
        values = blocks[self.storage.key].view(self.storage.dtype)
        count, steps = math.prod(self.shape), zip(self.shape, self.strides, strict=True)
        end = self.offset + 1 + sum((size - 1) * step for size, step in steps)
        if not count:
            return np.zeros(self.shape, values.dtype)
        if max(count, end) > len(values):
            raise UnsafePickleError(f"it has {len(values)} values for an array of {self.shape}")
        strides = [step * values.itemsize for step in self.strides]
        start = self.offset * values.itemsize
        array = np.ndarray(self.shape, values.dtype, values, start, strides)  # pyright: ignore
        array.flags.writeable = False
        return array


@dataclasses.dataclass(frozen=True)
class Function:
    """Something that a pickle can call."""

    call: Callable[..., Any]


def _sizes(sizes: Any) -> tuple[int, ...]:
    """Returns sizes or steps.

    Raises:
      UnsafePickleError: No array can have them.
    """
    if (
        not isinstance(sizes, tuple)
        or len(sizes) > MOST_AXES
        or not all(type(size) is int and 0 <= size < LARGEST for size in sizes)
    ):
        raise UnsafePickleError("it has an array of no possible shape")
    return sizes


def _encode(text: Any, encoding: Any) -> bytes:
    """Makes bytes, which old pickles keep as text."""
    if encoding != "latin1" or not isinstance(text, str):
        raise UnsafePickleError("it has text in another encoding than latin1")
    return text.encode("latin1")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or not storage.key:
        raise UnsafePickleError("it has a tensor without a storage")
    [offset], shape, strides = _sizes((offset,)), _sizes(shape), _sizes(strides)
    if len(shape) != len(strides):
        raise UnsafePickleError("it has an array of no possible shape")
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise UnsafePickleError("it has a parameter without a tensor")
    return tensor


STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Function(dict),
    ("_codecs", "encode"): Function(_encode),
    ("__builtin__", "bytes"): Function(lambda: b""),  # of an empty array, in old pickles
    ("numpy", "ndarray"): object(),  # named, but never called
    ("numpy", "dtype"): Function(Dtype),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_rebuild_parameter),
    **{("torch", name): Storage(np.dtype(code)) for name, code in STORAGES.items()},
}
for _core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{_core}.multiarray", "_reconstruct"] = Function(lambda *_: PickledArray())
    # A number that isn't wanted, such as a training's best score.
    STAND_INS[f"{_core}.multiarray", "scalar"] = Function(lambda *_: None)
