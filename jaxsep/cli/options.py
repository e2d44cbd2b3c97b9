"""What the subcommands share: options, messages, exit codes, start-up."""

import argparse
import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxsep.console import printable

USAGE_ERROR, SOME_FAILED, INTERRUPTED = 2, 1, 130
# That of jaxsep.models.load, which takes longer to import than --help should.
DEFAULT_MODEL = "jaxsep-vocals"


def complain(message: str) -> None:
    """Says in one line what is wrong."""
    print(f"jaxsep: {printable(message)}", file=sys.stderr)


def first_line(error: BaseException) -> str:
    """Says in one line what an exception is that nobody expected."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def device_problem() -> str | None:
    """Says in one line why JAX finds no device to run on; None if it does."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError: none of JAX_PLATFORMS
        platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        return (
            f"JAX_PLATFORMS={platforms}: JAX can't use that here ({first_line(error)}); set"
            " JAX_PLATFORMS=cpu, or leave it out"
        )
    return None


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
