"""Checks the fields of models and formats, which may come from others' files."""

import dataclasses
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any

# Whole numbers from these on: resampling to a lower rate would take gigabytes.
LEAST = {"sample_rate": 1_000}
# Whole numbers up to these, and all others up to `LARGEST`: what is larger would take all memory,
# or for ever to compile.
MOST = {"num_layers": 64, "unroll": 64, "sample_rate": 1_000_000, "channels": 64, "n_fft": 2**17}
LARGEST = 2**16
LARGEST_FLOAT = 1e9
MOST_ITEMS = 32  # in a list or a dict, such as of networks, each of which is traced and compiled
FLAX = ("parent", "name")  # fields that it adds to a module
# Names of targets become those of files.
NAME = re.compile(r"\w[\w-]{0,63}")


def check_fields(kind: Any, fields: Mapping[str, Any]) -> None:
    """Checks that values can be those of a dataclass's fields.

    Whole numbers are at least 1, or 0 where that is the default; floats are finite and not
    negative; names are letters, digits, `_` and `-`.

    Args:
      kind: Dataclass, whose annotations say the types.
      fields: Values by the fields' names.

    Raises:
      ValueError: A value has another type or is out of range, or there is no such field.
    """
    known = {field.name: field for field in dataclasses.fields(kind) if field.name not in FLAX}
    for name, value in fields.items():
        if name not in known:
            raise ValueError(
                f"{_show(name)} is no field of {kind.__name__}; there are {', '.join(known)}"
            )
        if wanted := _unmet(known[name], known[name].type, value):
            raise ValueError(f"{name}={_show(value)} must be {wanted}")


def _unmet(field: dataclasses.Field, kind: Any, value: Any) -> str | None:
    """Returns what a value of this type must be, or None if it is that."""
    arguments, origin = typing.get_args(kind), typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        wanted = [_unmet(field, one, value) for one in arguments]
        return None if None in wanted else " or ".join(filter(None, wanted))
    if origin is typing.Literal:
        fits, wanted = value in arguments, f"one of {', '.join(map(str, arguments))}"
    elif origin is tuple:
        fits = isinstance(value, tuple | list) and len(value) <= MOST_ITEMS
        wanted = f"a list of at most {MOST_ITEMS}"
        for item in value if fits else ():
            if reason := _unmet(field, arguments[0], item):
                return f"a list, each {reason}"
    elif origin is Mapping:
        fits = isinstance(value, Mapping) and len(value) <= MOST_ITEMS
        fits, wanted = fits and all(map(_is_name, value)), f"a dict of at most {MOST_ITEMS} names"
        for item in value.values() if fits else ():
            if reason := _unmet(field, arguments[1], item):
                return f"a dict, each value {reason}"
    elif kind is Any:
        fits, wanted = True, ""
    elif kind is types.NoneType:
        fits, wanted = value is None, "null"
    elif kind is bool:
        fits, wanted = isinstance(value, bool), "true or false"
    elif kind is int:
        least = LEAST.get(field.name, int(field.default != 0))
        most = MOST.get(field.name, LARGEST)
        fits = type(value) is int and least <= value <= most
        wanted = f"a whole number from {least} to {most}"
    elif kind is float:
        fits = type(value) in (int, float) and 0 <= value <= LARGEST_FLOAT
        wanted = f"a number from 0 to {LARGEST_FLOAT:g}"
    elif kind is str:
        fits, wanted = _is_name(value), "a name of letters, digits, _ and -"
    else:
        fits, wanted = isinstance(value, kind), f"a {kind.__name__}"
    return None if fits else wanted


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _show(value: Any) -> str:
    return reprlib.repr(value)[:60]
