"""What checks the annotated shapes while tests run; see `addopts` in pyproject.toml."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks a function's arguments and results; but not the fields that Flax gives its modules."""
    return function if function.__name__ == "__init__" else beartype(function)
