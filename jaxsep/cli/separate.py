"""`jaxsep separate`: songs become stems."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsep.cli.options import (
    DEFAULT_MODEL,
    SOME_FAILED,
    USAGE_ERROR,
    CommandError,
    add_wiener_iterations,
    complain,
    ending,
    split_names,
    start_up,
)
from jaxsep.console import first_line, printable

if TYPE_CHECKING:
    from jaxsep.separation.separator import Separator
    from jaxsep.separation.song_folders import SongFolders

# Those of jaxsep.audio.writer, which takes longer to import than --help should.
MAX_ATTEMPTS = 100  # at a folder that other calls don't take first
FORMATS = ("wav", "flac", "mp3", "ogg", "m4a")


def add(commands) -> None:
    parser = commands.add_parser(
        "separate",
        help="write the stems of songs: vocals and accompaniment",
        description="Writes DIR/NAME/vocals.wav and accompaniment.wav for each song NAME.*, or the"
        " other stems of a model that has more. Songs of equal names go to NAME-2 and so on, and"
        " find them again. The stems have the song's length, rate, channels and bit"
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
        type=split_names,
        metavar="NAME,...",
        help="the model's targets, such as vocals,drums,bass,other; accompaniment: the song without"
        " the vocals, or without the only target; no_NAME: the song without that target; residual:"
        " the song without all of the targets; default: all targets, and beside a single one the"
        " accompaniment",
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
    there.add_argument(
        "--overwrite",
        action="store_true",
        help="replace stems that are there, in NAME also those of another song",
    )
    there.add_argument(
        "--resume",
        action="store_true",
        help="skip songs whose stems are there, unchanged, by the same model and options; make the"
        " others",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with start_up():
        from jaxsep.cli.compile_cache import keep_compiled_programs
        from jaxsep.convert.published import resolve
        from jaxsep.models.files import ModelError
        from jaxsep.separation.separator import Separator
        from jaxsep.separation.song_folders import SongFolders
        from jaxsep.stems import StemError

        keep_compiled_programs()
        with (
            ending(USAGE_ERROR, ValueError, prefix="--"),  # of the iterations, which it names
            ending(USAGE_ERROR, StemError, prefix="--stems: "),
            ending(USAGE_ERROR, ModelError, OSError, prefix="--model: "),
        ):
            separator = Separator.restore(
                resolve(args.model), stems=args.stems, wiener_iterations=args.wiener_iterations
            )
    try:
        folders = SongFolders(args.output, args.inputs, separator.stems, overwrite=args.overwrite)
    except OSError as error:
        message = f"{args.output}: can't be used ({error.strerror}); choose another --output"
        raise CommandError(message) from error
    codes = [_separate_song(args, separator, folders, index) for index in range(len(args.inputs))]
    if not any(codes):
        return 0
    return USAGE_ERROR if set(codes) == {USAGE_ERROR} else SOME_FAILED


def _separate_song(
    args: argparse.Namespace, separator: "Separator", folders: "SongFolders", index: int
) -> int:
    """Separates one song, and says what came of it.

    Returns:
      0; 2 if the song can't be used or its stems were there; 1 for a failure midway.
    """
    from jaxsep.audio.reader import AudioError
    from jaxsep.audio.writer import WriteError
    from jaxsep.models.files import ModelError
    from jaxsep.separation.folder_claim import FolderTakenError, OutputExistsError
    from jaxsep.separation.song_files import separate_file

    path, number = args.inputs[index], len(args.inputs)
    folder, limited = args.output, 0
    try:
        for attempt in range(MAX_ATTEMPTS):
            folder = folders.choose(index)
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
                    label=f"[{index + 1}/{number}] " if number > 1 else "",
                    report=lambda note: complain(f"{path}: {note}"),
                )
                break
            except FolderTakenError:  # by another call, since it was chosen
                if attempt + 1 == MAX_ATTEMPTS:
                    raise
                folders.give_up(index)
    except (WriteError, ModelError) as error:
        complain(str(error) if isinstance(error, WriteError) else f"{path}: {error}")
        return SOME_FAILED
    except (AudioError, OutputExistsError) as error:
        complain(str(error))
        return USAGE_ERROR
    except OSError as error:
        complain(f"{folder}: can't be written ({error.strerror or error})")
        return SOME_FAILED
    except Exception as error:  # whatever is wrong with one song, the others are separated
        complain(f"{path}: can't be separated ({first_line(error, with_type=True)})")
        return SOME_FAILED
    print(printable(folder), flush=True)
    if other := folders.displaced.get(index):
        complain(f"{path}: {other} isn't this song's; its stems are in {folder}")
    if limited:
        complain(f"{folder}: {limited:,} samples limited; --format=wav --bit_depth=32f holds all")
    return 0
