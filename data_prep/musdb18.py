"""Prepares MUSDB18 (`*.stem.mp4`) or MUSDB18-HQ (folders of wav files).

usage: python -m data_prep.musdb18 --root=DIR --output=OUT

Needs the `musdb` package (`pip install jaxsep[musdb]`) and the ffmpeg program. Validation is
musdb's own 14 tracks where they are there, otherwise 15 % of the training tracks.
"""

import sys

import jaxsep.cli.early  # noqa: F401
from jaxsep.collections.musdb18 import LICENCE, open_root
from jaxsep.preparation import command

if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "")
    command.add_root(parser)
    parser.add_argument("--licence", default=LICENCE, help="noted in the manifest")
    sys.exit(command.run(parser, lambda args: open_root(args.root, args.licence)))
