"""The `jaxsep` command."""

import argparse
import io
import os
import re
import sys
from pathlib import Path

USAGE_ERROR, SOME_FAILED, INTERRUPTED = 2, 1, 130


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
      0; 2 for wrong usage or when no input could be used; 1 when stems couldn't be written or some
      of the inputs failed; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="jaxsep", description="Split songs into vocals and rest.")
    commands = parser.add_subparsers(title="commands", required=True)
    separate = commands.add_parser(
        "separate",
        help="write the vocals and the accompaniment of songs",
        description="Writes DIR/NAME/vocals.wav and accompaniment.wav for each song NAME.*; the"
        " two add up to the song.",
    )
    separate.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="an audio file")
    separate.add_argument("--model", required=True, help="a training's workdir, or one checkpoint")
    separate.add_argument(
        "--output", type=Path, default=Path("separated"), metavar="DIR", help="default: separated"
    )
    separate.add_argument("--overwrite", action="store_true", help="replace stems that are there")
    separate.set_defaults(run=_separate)
    health = commands.add_parser(
        "health",
        help="show what goes in and out of each layer of a training",
        description="Prints the latest look into each layer of a training and draws all of them"
        " over time, in WORKDIR/health.png.",
    )
    health.add_argument("workdir", metavar="WORKDIR", help="a training's folder")
    health.add_argument("--step", type=int, metavar="N", help="not the latest look but this one")
    health.add_argument(
        "--replay", type=int, metavar="N", help="repeat step N, of those in WORKDIR/failed_steps"
    )
    health.set_defaults(run=_health)
    args = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names needn't be UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except KeyboardInterrupt:
        _complain("interrupted; what is finished is kept")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the names of the folders has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED


def _complain(message: str) -> None:
    print(f"jaxsep: {message}", file=sys.stderr)


def _separate(args: argparse.Namespace) -> int:
    # Imported here, so that --help and a misspelt flag are answered at once.
    from jaxsep.audio_reader import AudioError
    from jaxsep.audio_writer import WriteError
    from jaxsep.checkpoints import CheckpointError, quiet_background_errors
    from jaxsep.separator import OutputExistsError, Separator, separate_file

    quiet_background_errors()
    try:
        separator = Separator.restore(args.model)
    except (CheckpointError, OSError) as error:
        _complain(f"--model: {error}")
        return USAGE_ERROR
    failed_early = failed_midway = 0
    for number, (path, name) in enumerate(zip(args.inputs, unique_names(args.inputs), strict=True)):
        folder = args.output / name
        label = f"[{number + 1}/{len(args.inputs)}] " if len(args.inputs) > 1 else ""
        try:
            separate_file(separator, path, folder, overwrite=args.overwrite, label=label)
        except WriteError as error:
            _complain(str(error))
            failed_midway += 1
        except OSError as error:
            _complain(f"{folder}: can't be written ({error.strerror})")
            failed_midway += 1
        except (AudioError, OutputExistsError) as error:
            _complain(str(error))
            failed_early += 1
        else:
            print(folder, flush=True)
    if not failed_early and not failed_midway:
        return 0
    return USAGE_ERROR if failed_early == len(args.inputs) else SOME_FAILED


def _health(args: argparse.Namespace) -> int:
    from etils import epath

    from jaxsep import failures, health_report, plots
    from jaxsep.checkpoints import CheckpointError, quiet_background_errors

    quiet_background_errors()
    workdir = epath.Path(args.workdir)
    try:
        if args.replay is not None:
            layers, cause, report = failures.replay(workdir, args.replay)
            health_report.print_layers(layers, f"step {args.replay}, replayed")
            print("then:", report["cause"] or "nothing found when repeated")
            print("now: ", cause or "nothing is wrong")
            return 0
        steps = health_report.read_metrics(workdir)
        reports = failures.list_reports(workdir)
    except (failures.ReplayError, health_report.NoMetricsError, CheckpointError, OSError) as error:
        _complain(str(error))
        return USAGE_ERROR
    health_report.print_metrics(steps)
    for report in reports:
        print(f"step {report['step']} failed: {report['cause']} (--replay={report['step']})")
    looks = {step: layers for step in steps if (layers := health_report.layers_at(steps[step]))}
    if not looks or args.step not in (None, *looks):
        there = f"there are {', '.join(map(str, sorted(looks)))}" if looks else "there is none yet"
        _complain(f"{workdir}: no look into the layers at that step; {there}")
        return USAGE_ERROR
    step = max(looks) if args.step is None else args.step
    health_report.print_layers(looks[step], f"step {step}")
    picture = workdir / "health.png"
    try:
        plots.save_health(picture, looks, title=str(workdir))
    except OSError as error:
        _complain(f"{picture}: can't be written ({error.strerror})")
        return SOME_FAILED
    print("picture:", picture)
    return 0


def unique_names(paths: list[Path]) -> list[str]:
    """Names a folder for each song: its file name without extension; `-2` and so on for doubles.

    No name leads out of the output folder.
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        base = re.sub(r"[\ud800-\udfff]", "_", path.stem)  # bytes that are no UTF-8
        base = base if base.strip(".") else "_"
        name, number = base, 1
        while name.casefold() in taken:  # some file systems don't tell cases apart
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


if __name__ == "__main__":
    sys.exit(main())
