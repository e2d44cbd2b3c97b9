"""What the subcommands share: options, messages, exit codes, start-up."""

import argparse
import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsep.console import first_line, printable

if TYPE_CHECKING:
    from jaxsep.separation.streamer import Streamer

USAGE_ERROR, SOME_FAILED, INTERRUPTED = 2, 1, 130
# That of jaxsep.models.load, which takes longer to import than --help should.
DEFAULT_MODEL = "jaxsep-vocals"


def complain(message: str) -> None:
    """Says in one line what is wrong."""
    print(f"jaxsep: {printable(message)}", file=sys.stderr)


class CommandError(Exception):
    """Ends a command: with one line for the user, and an exit code."""

    def __init__(self, message: object, code: int = USAGE_ERROR):
        super().__init__(str(message))
        self.code = code


@contextlib.contextmanager
def ending(code: int, *kinds: type[Exception], prefix: str = "") -> Iterator[None]:
    """Ends the command with a code if an exception of these kinds is raised inside."""
    try:
        yield
    except kinds as error:
        raise CommandError(f"{prefix}{error}", code) from error


@contextlib.contextmanager
def writing(path: object) -> Iterator[None]:
    """Ends the command with `SOME_FAILED` if the system can't write what is written inside."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"{path}: can't be written ({reason})", SOME_FAILED) from error


def device_problem() -> str | None:
    """Says in one line why JAX finds no device to run on; None if it does."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError: none of JAX_PLATFORMS
        platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        return (
            f"JAX_PLATFORMS={platforms}: JAX can't use that here"
            f" ({first_line(error, with_type=True)}); set JAX_PLATFORMS=cpu, or leave it out"
        )
    return None


@contextlib.contextmanager
def start_up() -> Iterator[None]:
    """Freezes the garbage collector: what is imported and made inside lives until exit.

    Collecting in all that JAX consists of took a quarter of the time of ten seconds of music.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def add_streamer(parser: argparse.ArgumentParser) -> None:
    """Adds what describes a stream."""
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
    parser.add_argument(
        "--block_frames",
        type=int,
        default=1,
        metavar="N",
        help="frames that the model is given at a time: more need less time, and add latency;"
        " default: 1",
    )


def split_names(text: str) -> list[str]:
    """Splits names that commas join: the type of `--stems`."""
    return text.split(",")


def make_streamer(
    args: argparse.Namespace, stems: Callable[[tuple[str, ...]], Sequence[str]]
) -> "Streamer":
    """Restores the model of `add_streamer`'s options, and makes its streamer.

    Args:
      args: Parsed options.
      stems: Function that chooses the stems by the model's targets.
    """
    from jaxsep.cli.compile_cache import keep_compiled_programs
    from jaxsep.convert.published import resolve
    from jaxsep.models.files import ModelError
    from jaxsep.separation.separator import Separator
    from jaxsep.separation.streamer import Streamer
    from jaxsep.stems import StemError

    keep_compiled_programs()
    with (
        ending(USAGE_ERROR, ModelError, OSError, ValueError),
        ending(USAGE_ERROR, StemError, prefix="--stem: "),
    ):
        separator = Separator.restore(resolve(args.model), stems=stems)
        return Streamer(separator, args.rate, args.channels, block_frames=args.block_frames)


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
      texts: Values of `--model`; None stands for the model in the package.

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
