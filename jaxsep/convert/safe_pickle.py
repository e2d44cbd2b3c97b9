"""Loads pickles of NumPy's and PyTorch's arrays without running them.

A pickle is a program: it can name any function and call it. Here a machine of our own follows the
few instructions that arrays need. It imports nothing, and it calls only the functions of
`pickle_stand_ins`, which describe an array. Whatever else a pickle names is refused.

A pickle's size bounds its cost: an instruction takes time in proportion to its own bytes, keys are
text or small numbers, and all that is made of text is no longer than the pickle.

Reference: the Python module `pickletools`, which describes the instructions.
"""

import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from jaxsep.convert.pickle_stand_ins import (
    STAND_INS,
    Dtype,
    Function,
    PickledArray,
    Storage,
    UnsafePickleError,
)

MOST_STEPS = 1_000_000  # instructions; a checkpoint has 40 for each tensor
LONGEST_NAME = 200  # of a module or a function


def load(file: IO[bytes], size: int, storages: dict[str, np.dtype] | None = None) -> Any:
    """Loads one pickle, from a file's position on.

    Args:
      file: A stream, which is left at the end of the pickle.
      size: Bytes that the stream still has.
      storages: Gets the type of the numbers of each storage that the pickle refers to, by key.

    Returns:
      Lists, tuples, dicts, numbers and text, with a `PickledArray` or `Tensor` for each array.

    Raises:
      UnsafePickleError: The pickle asks for anything else.
      Exception: The pickle is damaged.
    """
    return _Machine(file, size, {} if storages is None else storages).run()


class _Machine:
    """Follows a pickle's instructions."""

    def __init__(self, file: IO[bytes], size: int, storages: dict[str, np.dtype]):
        self._file, self._left, self._budget = file, size, size
        self._storages = storages
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below the marks
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns what the pickle makes."""
        for _ in range(MOST_STEPS):
            code = self.read(1)
            if code == pickle.STOP:
                return self._stack.pop()
            if code not in INSTRUCTIONS:
                raise UnsafePickleError(f"it has the instruction {code!r}")
            INSTRUCTIONS[code](self)
        raise UnsafePickleError(f"it has more than {MOST_STEPS} instructions")

    def read(self, count: int) -> bytes:
        """Reads an instruction's bytes; no memory is reserved for those that aren't there."""
        self._left -= count
        data = self._file.read(count) if self._left >= 0 else b""
        if len(data) != count:
            raise UnsafePickleError("it ends too early")
        return data

    def number(self, form: str) -> Any:
        """Reads a number, in a format of `struct`."""
        [number] = struct.unpack(form, self.read(struct.calcsize(form)))
        return number

    def line(self) -> str:
        line = self._file.readline(LONGEST_NAME)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise UnsafePickleError("it names something too long")
        return line[:-1].decode()

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def items(self) -> list[Any]:
        """Takes all values above the last mark."""
        items, self._stack = self._stack, self._outer.pop()
        return items

    def take(self, count: int) -> list[Any]:
        return [self._stack.pop() for _ in range(count)][::-1]

    def keep(self, key: int | None = None) -> None:
        self._memo[len(self._memo) if key is None else key] = self._stack[-1]

    def recall(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def append(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise UnsafePickleError("it appends to something that is no list")
        self._stack[-1].extend(values)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise UnsafePickleError("it sets an item of something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A tuple of tuples of ... can take for ever to hash. Small numbers name the parameters
            # in an optimizer's state.
            if type(key) is not str and not (type(key) is int and 0 <= key < 2**31):
                raise UnsafePickleError(f"it has a key that is a {type(key).__name__}")
            self._stack[-1][key] = value

    def find(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise UnsafePickleError("it asks for something without a name")
        if (module, name) not in STAND_INS:
            raise UnsafePickleError(f"it asks for {f'{module}.{name}'[:100]!r}")
        self._stack.append(STAND_INS[module, name])

    def reduce(self) -> None:
        function, arguments = self.take(2)
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise UnsafePickleError("it calls something that is no function")
        made = function.call(*arguments)
        if isinstance(made, bytes):
            self._budget -= len(made)
            if self._budget < 0:
                raise UnsafePickleError("it makes more bytes than it has")
        self._stack.append(made)

    def build(self) -> None:
        target, state = self.take(2)
        if isinstance(target, Dtype | PickledArray):
            target.build(state)
        elif not isinstance(target, dict):  # PyTorch gives an OrderedDict attributes: dropped
            raise UnsafePickleError(f"it changes a {type(target).__name__.lower()}")
        self._stack.append(target)

    def find_storage(self) -> None:
        """Finds what PyTorch keeps outside of the pickle."""
        [pid] = self.take(1)
        if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6:
            raise UnsafePickleError("it refers to something that is no array")
        kind, storage, key, _, _, *view = pid
        if kind != "storage" or not isinstance(storage, Storage) or any(view):
            raise UnsafePickleError("it refers to something that is no array")
        if not isinstance(key, str) or not key:
            raise UnsafePickleError("it has a storage without a name")
        self._storages[key] = storage.dtype
        self._stack.append(Storage(storage.dtype, key))


INSTRUCTIONS: dict[bytes, Callable[[_Machine], Any]] = {
    pickle.PROTO: lambda m: m.read(1),
    pickle.FRAME: lambda m: m.read(8),
    pickle.MARK: lambda m: m.mark(),
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("<B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.LONG1: lambda m: m.push(int.from_bytes(m.read(m.number("<B")), "little", signed=True)),
    pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
    pickle.BINUNICODE: lambda m: m.push(m.read(m.number("<I")).decode()),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.read(m.number("<B")).decode()),
    pickle.BINBYTES: lambda m: m.push(m.read(m.number("<I"))),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.read(m.number("<B"))),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE: lambda m: m.push(tuple(m.items())),
    pickle.TUPLE1: lambda m: m.push(tuple(m.take(1))),
    pickle.TUPLE2: lambda m: m.push(tuple(m.take(2))),
    pickle.TUPLE3: lambda m: m.push(tuple(m.take(3))),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.append(m.take(1)),
    pickle.APPENDS: lambda m: m.append(m.items()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items(m.take(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.items()),
    pickle.BINPUT: lambda m: m.keep(m.number("<B")),
    pickle.LONG_BINPUT: lambda m: m.keep(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.keep(),
    pickle.BINGET: lambda m: m.recall(m.number("<B")),
    pickle.LONG_BINGET: lambda m: m.recall(m.number("<I")),
    pickle.GLOBAL: lambda m: m.find(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.find(*m.take(2)),
    pickle.REDUCE: lambda m: m.reduce(),
    pickle.BUILD: lambda m: m.build(),
    pickle.BINPERSID: lambda m: m.find_storage(),
}
