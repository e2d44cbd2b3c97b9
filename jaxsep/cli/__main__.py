"""`python -m jaxsep.cli`: the `jaxsep` command, where it isn't on the PATH."""

import sys

from jaxsep.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
