"""The `jaxsep` command."""

import argparse
import io
import os
import sys

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
from jaxsep.cli.options import INTERRUPTED, SOME_FAILED, complain, leave_while_importing

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
      some of the inputs failed; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="jaxsep", description="Split songs into vocals and rest.")
    commands = parser.add_subparsers(title="commands", required=True)
    for command in COMMANDS:
        command.add(commands)
    args = parser.parse_args(argv)
    leave_while_importing("jaxsep: interrupted", INTERRUPTED)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # file names needn't be UTF-8
            output.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
