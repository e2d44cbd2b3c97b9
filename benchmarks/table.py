"""A table of figures, for people and for programs."""

import datetime
import json
import re
import sys
from typing import Any, Self

from benchmarks.machine import describe_machine


class Table:
    """Prints a Markdown table row by row, and in the end all of it as one line of JSON.

    A context manager. In front stand the date, the machine, and what is said about the figures.

    Args:
      columns: Names of the columns.
      about: Description of the figures.
    """

    def __init__(self, *columns: str, about: str = ""):
        self._columns, self._about, self._rows = columns, about, []

    def __enter__(self) -> Self:
        self._where = f"{datetime.date.today()}, {describe_machine()}"
        print("; ".join(filter(None, [self._where, self._about])) + "\n")
        _print_row(self._columns)
        _print_row(["---"] * len(self._columns))
        return self

    def row(self, *cells: Any) -> None:
        """Adds a row; numbers are rounded to three digits for people, not for programs."""
        self._rows.append(dict(zip(self._columns, cells, strict=True)))
        _print_row(cell if isinstance(cell, str) else _three_digits(cell) for cell in cells)

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            program = [sys.argv[0].rpartition("/")[2], *sys.argv[1:]]
            facts = {"program": program, "where": self._where, "about": self._about}
            print("\n" + json.dumps({**facts, "rows": self._rows}), flush=True)


def fill(page: str, name: str, table: str) -> str:
    """Replaces what stands in a page between `<!-- NAME -->` and the next `<!-- end -->`.

    Raises:
      ValueError: if there is no such place.
    """
    place = re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    filled, count = place.subn(lambda _: f"\n{table}\n\n", page, count=1)
    if not count:
        raise ValueError(f"the page has no place for {name!r}; write <!-- {name} --> into it")
    return filled


def _print_row(texts: Any) -> None:
    print(f"| {' | '.join(texts)} |", flush=True)


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"
