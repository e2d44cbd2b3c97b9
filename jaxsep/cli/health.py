"""`jaxsep health`: what goes in and out of each layer of a training."""

import argparse

from jaxsep.cli.options import USAGE_ERROR, CommandError, ending, writing
from jaxsep.console import printable


def add(commands) -> None:
    parser = commands.add_parser(
        "health",
        help="show what goes in and out of each layer of a training",
        description="Prints the latest look into each layer of a training and draws all of them"
        " over time, in WORKDIR/health.png.",
    )
    parser.add_argument("workdir", metavar="WORKDIR", help="a training's folder")
    parser.add_argument("--step", type=int, metavar="N", help="not the latest look but this one")
    parser.add_argument(
        "--replay", type=int, metavar="N", help="repeat step N, of those in WORKDIR/failed_steps"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from etils import epath

    from jaxsep.models.files import ModelError
    from jaxsep.plots import figures
    from jaxsep.training import failed_steps, health_report

    workdir = epath.Path(args.workdir)
    unusable = (failed_steps.ReplayError, health_report.NoMetricsError, ModelError, OSError)
    with ending(USAGE_ERROR, *unusable):
        if args.replay is not None:
            layers, cause, report = failed_steps.replay(workdir, args.replay)
            health_report.print_layers(layers, f"step {args.replay}, replayed")
            print("then:", printable(report["cause"] or "nothing found when repeated"))
            print("now: ", cause or "nothing is wrong")
            return 0
        steps = health_report.read_metrics(workdir)
        reports = failed_steps.list_reports(workdir)
    health_report.print_metrics(steps)
    for report in reports:
        step, cause = report["step"], printable(report["cause"])
        print(f"step {step} failed: {cause} (--replay={step})")
    looks = {step: layers for step in steps if (layers := health_report.layers_at(steps[step]))}
    if not looks or args.step not in (None, *looks):
        there = f"there are {', '.join(map(str, sorted(looks)))}" if looks else "there is none yet"
        raise CommandError(f"{workdir}: no look into the layers at that step; {there}")
    step = max(looks) if args.step is None else args.step
    health_report.print_layers(looks[step], f"step {step}")
    picture = workdir / "health.png"
    with writing(picture):
        figures.save_health(picture, looks, title=str(workdir))
    print("picture:", printable(picture))
    return 0
