"""`jaxsep evaluate`: scores of models on songs whose true stems are known."""

import argparse
import os
from pathlib import Path

from jaxsep.cli.options import (
    SOME_FAILED,
    USAGE_ERROR,
    CommandError,
    add_models,
    add_wiener_iterations,
    complain,
    ending,
    named_models,
    split_names,
)

KINDS = ("musdb18", "stems_folder", "mir1k")


def add(commands) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score models on songs whose true stems are known",
        description="Scores models, the unprocessed mixture and ideal masks on MUSDB18, a"
        " folder of stems or MIR-1K. Writes DIR/scores.md, and for each method and track a file of"
        " museval's format. Tracks that were scored before are not scored again.",
    )
    add_models(parser)
    parser.add_argument("--root", type=Path, required=True, help="folder of the songs")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the scores"
    )
    parser.add_argument("--kind", choices=KINDS, help="of the songs; default: seen by the files")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="default: test; if there is none validation, else train",
    )
    parser.add_argument(
        "--stems",
        type=split_names,
        metavar="NAME,...",
        help="stems to score, such as vocals,drums,bass,other, which the songs and all models have;"
        " default: vocals,accompaniment, or the targets of a model without vocals",
    )
    add_wiener_iterations(parser)
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="processes that score, each with some 1 GB per minute of stereo; default: one a core",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        import museval  # noqa: F401
    except ImportError:
        raise CommandError("scores need the museval package: pip install 'jaxsep[eval]'") from None
    from jaxsep.collections.mir1k import Mir1k
    from jaxsep.collections.open import open_collection
    from jaxsep.collections.source import PreparationError
    from jaxsep.evaluation import bsseval, evaluate, tables
    from jaxsep.evaluation.methods import default_stems, make_methods
    from jaxsep.models.files import ModelError

    if args.workers < 1:
        raise CommandError("--workers must be 1 or more")
    unusable = (ValueError, ModelError, PreparationError, evaluate.EvaluationError, OSError)
    with ending(USAGE_ERROR, *unusable):
        models = named_models(args.model)
        stems = args.stems or default_stems(models)
        methods = make_methods(models, stems=stems, wiener_iterations=args.wiener_iterations)
        source = open_collection(args.root, args.kind)
        tracks = evaluate.choose_split(source.tracks(), args.split)
    try:
        tables.check_report(args.output)
        problems = evaluate.evaluate(
            source,
            tracks,
            methods,
            args.output,
            stems=stems,
            version=bsseval.V3 if isinstance(source, Mir1k) else bsseval.V4,
            workers=args.workers,
        )
        for problem in problems:
            complain(problem)
        names = [method.name for method in methods]
        report = tables.write_report(args.output, names, tracks)
    except evaluate.EvaluationError as error:
        raise CommandError(error, SOME_FAILED) from error
    except OSError as error:
        where = error.filename or args.output
        message = f"{where}: {error.strerror}" if error.strerror else error
        raise CommandError(message, SOME_FAILED) from error
    if not report:
        return USAGE_ERROR
    print(report, end="")
    return SOME_FAILED if problems else 0
