"""What the subcommands share: options, messages, exit codes, start-up."""

import argparse
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

USAGE_ERROR, SOME_FAILED, INTERRUPTED = 2, 1, 130
# That of jaxsep.models.load, which takes longer to import than --help should.
DEFAULT_MODEL = "jaxsep-vocals"


def complain(message: str) -> None:
    """Says in one line what is wrong."""
    print(f"jaxsep: {message}", file=sys.stderr)


@contextlib.contextmanager
def start_up() -> Iterator[None]:
    """Takes what is imported and made inside for what stays to the end: it is no garbage.

    To look for garbage among all that JAX consists of, again and again and once more at the end,
    took a quarter of the time in which ten seconds of music are separated.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def add_streamer(parser: argparse.ArgumentParser, stems: tuple[str, ...]) -> None:
    """Adds what describes a stream, and what is wanted of it."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a model's folder, a training's workdir or one checkpoint; default: jaxsep-vocals, in"
        " the package",
    )
    parser.add_argument(
        "--rate", type=int, default=44100, metavar="HZ", help="sample rate; default: 44100"
    )
    parser.add_argument("--channels", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--stem", choices=stems, default="vocals", help="default: vocals")
    parser.add_argument(
        "--block_frames",
        type=int,
        default=1,
        metavar="N",
        help="frames that the model is given at a time: more need less time, and add latency;"
        " default: 1",
    )


def add_wiener_iterations(parser: argparse.ArgumentParser) -> None:
    """Adds `--wiener_iterations`, see `jaxsep.separation.separator.Separator`."""
    parser.add_argument(
        "--wiener_iterations",
        type=int,
        default=0,
        metavar="N",
        help="refine the stems by where they are between the channels, as Open-Unmix does once;"
        " the sources are all of the model's targets, and the residual if it is among the stems or"
        " there is one target; default: 0",
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds `--model`, which may be repeated; see `named_models`."""
    parser.add_argument(
        "--model",
        action="append",
        metavar="[NAME=]WORKDIR",
        help="a model's folder, a training's workdir, one checkpoint, or spleeter-2stems; may be"
        " given several times; default: jaxsep-vocals, in the package",
    )


def named_models(texts: list[str] | None) -> dict[str, str]:
    """Names models that are given as `[NAME=]WORKDIR`; by default after the workdir's folder.

    Args:
      texts: of `--model`; None stands for the model in the package.

    Returns:
      Paths by name. Equal default names are told apart by `-2` and so on.

    Raises:
      ValueError: if two are given the same name, or a name can't be a folder's and in a table.
      jaxsep.models.files.ModelError: if a published model can't be imported.
    """
    from jaxsep.convert import published

    models: dict[str, str] = {}
    for text in texts or [DEFAULT_MODEL]:
        name, sign, path = text.partition("=")
        if not sign or "/" in name:  # a path may hold the sign as well
            path = text
            folder = Path(text).absolute()
            is_step = folder.parent.name == "checkpoints"
            base = f"{folder.parents[1].name}-{folder.name}" if is_step else folder.name
            name, number = base, 1
            while name in models:
                number += 1
                name = f"{base}-{number}"
        if name in models:
            raise ValueError(f"two models are named {name!r}")
        if name in ("", ".", "..", "scores.md") or "|" in name or not name.isprintable():
            raise ValueError(f"{text!r}: {name!r} can't name a model; use NAME=WORKDIR")
        models[name] = str(published.resolve(path))
    return models


def leave_while_importing(notice: str, exit_code: int) -> None:
    """Makes Ctrl-C end the program at once as long as the main thread's function imports.

    Nothing has been begun then, and C++ that imports in its turn does not survive the exception.
    Later, Ctrl-C is the KeyboardInterrupt that it always is.

    Args:
      notice: the line that is printed.
      exit_code: of the program.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number
        if _is_importing(frame):
            os.write(2, f"{notice}\n".encode())
            os._exit(exit_code)
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def _is_importing(frame: FrameType | None) -> bool:
    """Returns whether it is a command, not what works for it, that waits for an import."""
    importer = None
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    return importer is not None and importer.f_globals["__name__"].startswith("jaxsep.cli")
