"""`jaxsep export`: what separates, out of a training's folder, to be handed on."""

import argparse
import dataclasses

from jaxsep.cli.options import USAGE_ERROR, CommandError, ending, writing

DTYPES = ("float16", "float32")


def add(commands) -> None:
    parser = commands.add_parser(
        "export",
        help="make a small model of a training, to be handed on",
        description="Writes a training's best model, config.json and model.safetensors, for every"
        " command to take as --model. In float16 it has half the size; jaxsep"
        " evaluate tells what that costs.",
    )
    parser.add_argument(
        "model", metavar="WORKDIR", help="a training's workdir, one checkpoint, or a model"
    )
    parser.add_argument("--output", required=True, metavar="MODELDIR", help="folder for the model")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="default: float16")
    parser.add_argument(
        "--provenance",
        metavar="FILE",
        help="JSON to be kept in the model: where its data are from, under which licences",
    )
    parser.add_argument("--licence", metavar="TEXT", help="licence of the model, kept in it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from etils import epath

    from jaxsep.convert.published import resolve
    from jaxsep.files import new_folder, read_json
    from jaxsep.models.files import ModelError, save_model
    from jaxsep.models.load import load_model

    output = epath.Path(args.output)
    if output.exists():
        raise CommandError(f"{output} is already there; give the model another folder")
    with ending(USAGE_ERROR, OSError, prefix="--provenance: "):
        provenance = read_json(args.provenance) if args.provenance else None
    with ending(USAGE_ERROR, ModelError, OSError):
        _, variables, info = load_model(resolve(args.model))
    if provenance is not None:
        info = dataclasses.replace(info, provenance=provenance)
    if args.licence is not None:
        info = dataclasses.replace(info, licence=args.licence)
    with ending(USAGE_ERROR, ModelError), writing(output), new_folder(output) as folder:
        save_model(folder, info, variables, dtype=args.dtype)
    print(output)
    return 0
