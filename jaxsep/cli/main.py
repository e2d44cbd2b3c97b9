"""The `jaxsep` command."""

import argparse
from typing import NoReturn

import jaxsep.cli.early  # noqa: F401
from jaxsep.cli import (
    evaluate,
    export,
    export_openunmix,
    health,
    import_openunmix,
    import_spleeter,
    live,
    plot,
    separate,
    stream,
    studio,
)
from jaxsep.cli.interrupts import Interrupts
from jaxsep.cli.options import (
    INTERRUPTED,
    SOME_FAILED,
    USAGE_ERROR,
    CommandError,
    complain,
    device_problem,
)
from jaxsep.console import lasting_streams, printable
from jaxsep.processes import quiet_background_errors

COMMANDS = (
    separate,
    studio,
    stream,
    live,
    evaluate,
    plot,
    health,
    export,
    import_spleeter,
    import_openunmix,
    export_openunmix,
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
      0; 2 for wrong usage or when no input could be used; 1 when results couldn't be written or
      some of the inputs failed; after Ctrl-C 130, after another signal 128 and its number.
    """
    with lasting_streams() as output, Interrupts() as interrupts:
        code = _run(argv)
        if interrupts.number and code == INTERRUPTED:
            code = 128 + interrupts.number  # as shells have it
        output.flush()
        if output.failure is None:
            return code
        if not isinstance(output.failure, BrokenPipeError):  # else who read it has left
            complain(f"standard output can't be written ({output.failure.strerror})")
        return code or SOME_FAILED


def _run(argv: list[str] | None) -> int:
    parser = Parser(prog="jaxsep", description="Split songs into stems.")
    commands = parser.add_subparsers(title="commands", required=True)
    for command in COMMANDS:
        command.add(commands)
    args = parser.parse_args(argv)
    quiet_background_errors()
    try:
        return args.run(args)
    except CommandError as error:
        complain(str(error))
        return error.code
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept")
        return INTERRUPTED
    except (RuntimeError, AssertionError):
        if not (problem := device_problem()):
            raise
        complain(problem)
        return USAGE_ERROR


class Parser(argparse.ArgumentParser):
    """A parser whose messages are safe to show: arguments may be names of files."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))
