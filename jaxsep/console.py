"""Text for terminals and pipes: safe to show, and never a reason to fail."""

import contextlib
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

# Controls, lone surrogates, line and paragraph separators, and what turns the direction of text.
_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Returns a text that a terminal can show on one line.

    Names of files may hold escape codes and newlines, which a terminal would obey. They come out
    as Python writes them, such as `\\x1b`. Bytes of a name that the locale can't tell are read as
    UTF-8 where they are that.

    Args:
      text: A path, or a message with names in it.
    """
    return _UNSAFE.sub(lambda match: ascii(match.group())[1:-1], as_utf8(str(text)))


def as_utf8(name: str) -> str:
    """Decodes a file's name as UTF-8 whatever the locale; bytes that aren't UTF-8 stay surrogates.

    Args:
      name: A name as Python gives it. In the locale C all letters beyond ASCII are surrogates.
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        return name


def composed(name: str) -> str:
    """Brings a name to the form in which file systems compare it: no cases, composed letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def first_line(error: BaseException, *, with_type: bool = False) -> str:
    """Returns the beginning of an error's message, for a message of one line.

    Args:
      error: The error; one without a message is named by its type.
      with_type: Whether the error's type comes first, as for errors that nobody expected.
    """
    kind, lines = type(error).__name__, str(error).strip().splitlines()
    if not lines:
        return kind
    return f"{kind}: {lines[0][:200]}" if with_type else lines[0][:200]


class Output:
    """Passes text on to a stream until that can't be written; drops it from then on.

    Args:
      stream: Standard output or error.

    Attributes:
      failure: The error that ended it, or None.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, method: Any, *args: str) -> None:
        try:
            if not self.failure:
                method(*args)
        except OSError as error:
            self.failure = error
            # What is left in the stream's buffer would fail again when Python ends.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_streams() -> Iterator[Output]:
    """Makes standard output and error streams that never raise; yields the output.

    A closed one (`2>&-`, pythonw) becomes the null device. Otherwise the next file to be opened
    would take its number, and what libraries print would end up in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    streams = [sys.stdout, sys.stderr]
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = stream.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968")
            encoding = "utf-8" if is_ascii else None  # the locale C knows no other letters
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        output, errors = (Output(stream or nowhere) for stream in streams)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):  # pyright: ignore[reportArgumentType]
            yield output
            output.flush()
