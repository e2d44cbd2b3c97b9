"""Prepares songs of the built-in band, so that everything can be tried with no download.

usage: python -m data_prep.synthetic --output=OUT --num_tracks=N --seed=S [--audio=DIR]

With `--audio` the songs are written as well, as 16-bit wav files in the layout that
`data_prep.stems_folder` reads, with the mixture beside the stems.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

import jaxsep.cli.early  # noqa: F401
from jaxsep.collections.built_in_band import BuiltInBand, write_audio
from jaxsep.collections.source import PreparationError
from jaxsep.preparation import command


def _make_source(args: argparse.Namespace) -> BuiltInBand:
    if args.num_tracks < 1 or not args.duration >= 1:
        raise PreparationError("--num_tracks must be at least 1, --duration at least 1 second")
    source = BuiltInBand(args.num_tracks, args.seed, args.duration)
    if args.audio:
        for track in tqdm(source.tracks(), desc="writing audio"):
            write_audio(source, track, args.audio)
    return source


if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "")
    parser.add_argument("--num_tracks", type=int, default=20, help="songs in all splits together")
    parser.add_argument("--duration", type=float, default=30.0, help="of a song, in seconds")
    parser.add_argument("--audio", type=Path, help="folder for the songs as audio")
    sys.exit(command.run(parser, _make_source))
