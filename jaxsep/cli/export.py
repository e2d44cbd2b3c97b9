"""`jaxsep export`: what separates, out of a training's folder, to be handed on."""

import argparse

from jaxsep.cli.options import SOME_FAILED, USAGE_ERROR, complain

DTYPES = ("float16", "float32")


def add(commands) -> None:
    parser = commands.add_parser(
        "export",
        help="make a small model of a training, to be handed on",
        description="Writes a training's best checkpoint without what only training needs, as a"
        " model that every command takes as --model. In float16 it has half the size; jaxsep"
        " evaluate tells what that costs.",
    )
    parser.add_argument("model", metavar="WORKDIR", help="a training's workdir, or one checkpoint")
    parser.add_argument("--output", required=True, metavar="MODELDIR", help="folder for the model")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="default: float16")
    parser.add_argument(
        "--provenance",
        metavar="FILE",
        help="JSON to be kept in the model: where its data are from, under which licences",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from etils import epath

    from jaxsep.files import read_json
    from jaxsep.models.files import CheckpointError, export_model
    from jaxsep.processes import quiet_background_errors

    quiet_background_errors()
    output = epath.Path(args.output)
    if output.exists():
        complain(f"{output} is already there; give the model another folder")
        return USAGE_ERROR
    try:
        provenance = read_json(args.provenance) if args.provenance else None
    except OSError as error:
        complain(f"--provenance: {error}")
        return USAGE_ERROR
    try:
        export_model(args.model, output, dtype=args.dtype, provenance=provenance)
    except CheckpointError as error:
        complain(str(error))
        return USAGE_ERROR
    except OSError as error:
        complain(str(error))
        return SOME_FAILED
    print(output)
    return 0
