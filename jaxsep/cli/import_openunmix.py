"""`jaxsep import-openunmix`: the weights of an Open-Unmix become a model of jaxsep."""

import argparse
from pathlib import Path

from jaxsep.cli.options import USAGE_ERROR, complain, ending, writing


def add(commands) -> None:
    parser = commands.add_parser(
        "import-openunmix",
        help="make a model of Open-Unmix's weights, for one target or several",
        description="Reads Open-Unmix's weights, published or of a training of one's own, without"
        " running anything in them, and writes one model of all targets that every command takes as"
        " --model. PyTorch isn't needed.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a .pth file, named after its target, such as vocals.pth or drums-9619578f.pth, or a"
        " folder of them; beside them separator.json, unless they are published ones",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="MODELDIR", help="folder for the model"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from jaxsep.convert.arrays import ImportWeightsError
    from jaxsep.convert.openunmix import import_weights

    with ending(USAGE_ERROR, ImportWeightsError), writing(args.output):
        provenance = import_weights(args.paths, args.output)
    if provenance["licence"]:
        complain(f"these are the weights of {provenance['model']}: {provenance['licence']}")
    else:
        complain("the licence of these weights isn't known; ask whoever trained them")
    print(args.output)
    return 0
