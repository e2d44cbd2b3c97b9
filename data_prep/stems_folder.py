"""Prepares songs laid out as `train|validation|test/<track>/<stem>.{wav,flac,ogg,mp3}`.

usage: python -m data_prep.stems_folder --root=DIR --output=OUT

The stems of a track have any names, such as `vocals`, `drums`, `bass`, `other`, or `speech`,
`music`, `effects`, and sum to the song; `--targets` says which of them can be trained.
`accompaniment` stands for all but the vocals; `residual` and `no_NAME` name no stems. A target that
a track has no file of is silent there. A `mixture` beside the stems is used as released in
validation and test, where it can also stand for all stems but one; in training the mixture is the
sum of the stems. Stems whose lengths differ are refused; `--length_tolerance=SAMPLES` cuts the ends
of the longer ones off instead. Without a validation folder, 15 % of the training tracks are held
out. Track folders right in DIR are training tracks.
"""

import argparse
import re
import sys

import jaxsep.cli.early  # noqa: F401
from jaxsep.collections.source import PreparationError
from jaxsep.collections.stems_folder import StemsFolder
from jaxsep.preparation import command


def _make_source(args: argparse.Namespace) -> StemsFolder:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", args.name):  # what TensorFlow Datasets reads
        raise PreparationError(f"--name={args.name} must be a letter, then letters, digits and _")
    return StemsFolder(args.root, args.name, args.licence, split="train")


if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "")
    command.add_root(parser)
    parser.add_argument("--name", default="stems_folder", help="the data set's name")
    parser.add_argument("--licence", default="not stated", help="noted in the manifest")
    sys.exit(command.run(parser, _make_source))
