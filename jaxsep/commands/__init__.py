"""The `jaxsep` command's subcommands, one module each.

Each has `add(commands)`, which adds its parser, and `run(args)`, which returns the exit code: 2 for
wrong usage or unusable input, 1 for a failure midway. What takes long to import is imported in
`run`, so that --help and a misspelt flag are answered at once.
"""

import sys

USAGE_ERROR, SOME_FAILED, INTERRUPTED = 2, 1, 130


def complain(message: str) -> None:
    """Says in one line what is wrong."""
    print(f"jaxsep: {message}", file=sys.stderr)
