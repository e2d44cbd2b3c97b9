"""`jaxsep export-openunmix`: a model becomes files that Open-Unmix's package reads."""

import argparse
from pathlib import Path

from jaxsep.cli.options import USAGE_ERROR, ending, writing

# Those of jaxsep.convert.openunmix_export, which takes longer to import than --help should.
FORMATS = ("pth", "safetensors")


def add(commands) -> None:
    parser = commands.add_parser(
        "export-openunmix",
        help="write a model of Open-Unmix's kind as its package reads it",
        description="Writes DIR/vocals.pth and vocals.json, the same for each further target, and"
        " separator.json, with which the package openunmix separates. The model is one of"
        " import-openunmix, or of a training with configs/openunmix.py. PyTorch isn't needed.",
    )
    parser.add_argument(
        "model", metavar="MODELDIR", help="of import-openunmix, or a training's workdir"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="pth",
        help="of the weights; safetensors: the same arrays, for other programs; default: pth",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from jaxsep.convert.openunmix_export import ExportError, export_weights
    from jaxsep.convert.published import resolve
    from jaxsep.models.files import ModelError

    with ending(USAGE_ERROR, ModelError, ExportError), writing(args.output):
        export_weights(resolve(args.model), args.output, file_format=args.format)
    print(args.output)
    return 0
