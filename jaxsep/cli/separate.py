"""`jaxsep separate`: songs become stems."""

import argparse
import functools
import re
from pathlib import Path

from jaxsep.cli.options import (
    DEFAULT_MODEL,
    SOME_FAILED,
    USAGE_ERROR,
    add_wiener_iterations,
    complain,
    start_up,
)

# Those of jaxsep.audio.writer, which takes longer to import than --help should.
FORMATS = ("wav", "flac", "mp3", "ogg", "m4a")


def add(commands) -> None:
    parser = commands.add_parser(
        "separate",
        help="write the stems of songs: vocals and accompaniment",
        description="Writes DIR/NAME/vocals.wav and accompaniment.wav for each song NAME.*, or the"
        " other stems of a model that has more. They have the song's length, rate, channels and bit"
        " depth. Vocals and accompaniment add up to the song; so do all targets of a model and the"
        " residual. The targets alone are the model's estimates, and add up to it roughly.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="an audio file; - is the standard input",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a model's folder, a training's workdir, one checkpoint, or spleeter-2stems; default:"
        " jaxsep-vocals, in the package",
    )
    parser.add_argument(
        "--stems",
        type=lambda names: names.split(","),
        metavar="NAME,...",
        help="the model's targets, such as vocals,drums,bass,other; accompaniment: the song without"
        " the vocals; residual: the song without all of the targets; default: all targets, or"
        " vocals,accompaniment of a model that has vocals alone",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("separated"), metavar="DIR", help="default: separated"
    )
    parser.add_argument(
        "--format",
        choices=(*FORMATS, "same"),
        default="wav",
        help="of the stems; same: the song's own; default: wav",
    )
    parser.add_argument(
        "--bit_depth",
        choices=("16", "24", "32f"),
        help="of wav and flac; 32f is float; default: the song's own",
    )
    parser.add_argument(
        "--audio_stream",
        type=int,
        metavar="N",
        help="audio track to take, from 0, as ffmpeg counts them (0:a:N); default: the file's"
        " default track",
    )
    add_wiener_iterations(parser)
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace stems that are there")
    there.add_argument("--resume", action="store_true", help="skip songs whose stems are there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.wiener_iterations < 0:
        complain(f"--wiener_iterations={args.wiener_iterations} must be 0 or more")
        return USAGE_ERROR
    with start_up():
        from jaxsep.audio.reader import AudioError
        from jaxsep.audio.writer import WriteError
        from jaxsep.cli.compile_cache import keep_compiled_programs
        from jaxsep.convert.published import resolve
        from jaxsep.models.files import ModelError
        from jaxsep.processes import quiet_background_errors
        from jaxsep.separation.separator import Separator
        from jaxsep.separation.song_files import OutputExistsError, separate_file
        from jaxsep.stems import StemError

        quiet_background_errors()
        keep_compiled_programs()
        try:
            separator = Separator.restore(
                resolve(args.model), stems=args.stems, wiener_iterations=args.wiener_iterations
            )
        except StemError as error:
            complain(f"--stems: {error}")
            return USAGE_ERROR
        except (ModelError, OSError) as error:
            complain(f"--model: {error}")
            return USAGE_ERROR
    failed_early = failed_midway = 0
    for number, (path, name) in enumerate(zip(args.inputs, unique_names(args.inputs), strict=True)):
        folder = args.output / name
        label = f"[{number + 1}/{len(args.inputs)}] " if len(args.inputs) > 1 else ""
        try:
            limited = separate_file(
                separator,
                path,
                folder,
                overwrite=args.overwrite,
                resume=args.resume,
                audio_format=args.format,
                bit_depth=args.bit_depth,
                audio_stream=args.audio_stream,
                label=label,
                report=functools.partial(_warn, path),
            )
        except WriteError as error:
            complain(str(error))
            failed_midway += 1
        except OSError as error:
            complain(f"{folder}: can't be written ({error.strerror})")
            failed_midway += 1
        except (AudioError, OutputExistsError) as error:
            complain(str(error))
            failed_early += 1
        else:
            print(folder, flush=True)
            if limited:
                complain(f"{folder}: {limited:,} samples limited; --bit_depth=32f has room for all")
    if not failed_early and not failed_midway:
        return 0
    return USAGE_ERROR if failed_early == len(args.inputs) else SOME_FAILED


def _warn(path: Path, note: str) -> None:
    complain(f"{path}: {note}")


def unique_names(paths: list[Path]) -> list[str]:
    """Names a folder for each song: its file name without extension; `-2` and so on for doubles.

    No name leads out of the output folder.
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        base = re.sub(r"[\ud800-\udfff]", "_", path.stem)  # bytes that are no UTF-8
        base = "stdin" if base == "-" else base
        base = base if base.strip(".") else "_"
        name, number = base, 1
        while name.casefold() in taken:  # some file systems don't tell cases apart
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
