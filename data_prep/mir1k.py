"""Prepares MIR-1K: clips of `DIR/{train,dev,test}/*.{wav,flac}`, or of DIR itself.

usage: python -m data_prep.mir1k --root=DIR --output=OUT

A clip has the accompaniment in its left and the voice in its right channel; the mixture is their
sum, mono, not clipped. `dev` is the validation split. Without these folders all of DIR trains.

Reference: Hsu and Jang, On the improvement of singing voice separation for monaural recordings
using the MIR-1K dataset, 2010.
"""

import sys

import jaxsep.cli.early  # noqa: F401
from jaxsep.collections.mir1k import STFT, Mir1k
from jaxsep.preparation import command

if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "", STFT)
    command.add_root(parser)
    sys.exit(command.run(parser, lambda args: Mir1k(args.root)))
