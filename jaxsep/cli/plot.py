"""`jaxsep plot`: what separators hear, as a picture, and what they get wrong."""

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxsep.cli.options import (
    SOME_FAILED,
    USAGE_ERROR,
    CommandError,
    add_models,
    ending,
    named_models,
    split_names,
    writing,
)

if TYPE_CHECKING:
    from jaxsep.plots.spectra import SeparationError
    from jaxsep.separation.separator import Separator

LONGEST_DIFFERENCE = 0.5  # seconds between the lengths of a song and of its stems
MARGIN = 1  # seconds after the drawn part that are heard as well, for the last windows


def add(commands) -> None:
    parser = commands.add_parser(
        "plot",
        help="draw spectrograms of a song and of the stems that models find in it",
        description="Draws spectrograms of a song, of the stems that models find in it and of the"
        " true one; or, with --errors, what leaked into a stem and what it has lost.",
    )
    parser.add_argument("song", type=Path, metavar="SONG", help="an audio file")
    add_models(parser)
    parser.add_argument(
        "--stems",
        "--stem",
        type=split_names,
        metavar="NAME,...",
        help="as of `jaxsep separate`: targets, accompaniment, no_NAME, residual; default: vocals,"
        " or each model's first target",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="FILE", help="the true stem, an audio file"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")
    parser.add_argument("--overwrite", action="store_true", help="replace a picture that is there")
    parser.add_argument(
        "--errors", action="store_true", help="draw what leaked and what is lost; needs --reference"
    )
    parser.add_argument(
        "--leaked",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="with --errors: audio files of instruments; only what leaked of these is drawn",
    )
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="SECONDS", help="draw from here on"
    )
    parser.add_argument(
        "--seconds", type=float, default=math.inf, metavar="SECONDS", help="draw this long a part"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from etils import epath
    from tqdm import tqdm

    from jaxsep.audio.reader import AudioError, read_audio
    from jaxsep.cli.compile_cache import keep_compiled_programs
    from jaxsep.models.files import ModelError
    from jaxsep.plots import figures
    from jaxsep.plots.spectra import picture_of
    from jaxsep.separation.separator import Separator
    from jaxsep.stems import StemError, main_target

    keep_compiled_programs()

    def choose(targets: tuple[str, ...]) -> list[str]:
        return args.stems or [main_target(targets)]

    with (
        ending(USAGE_ERROR, ValueError, AudioError, ModelError, OSError),
        ending(USAGE_ERROR, StemError, prefix="--stems: "),
    ):
        _check_usage(args)
        models = named_models(args.model)
        separators = {name: Separator.restore(path, stems=choose) for name, path in models.items()}
        drawn = list(dict.fromkeys(stem for made in separators.values() for stem in made.stems))
        if args.reference and len(drawn) > 1:
            raise CommandError(
                f"--reference is of one stem, not of {', '.join(drawn)}; choose by --stems"
            )
        song, rate = read_audio(args.song)
        stems = [_read_stem(path, song, rate) for path in _stem_paths(args)]
        part = _part([song, *stems], rate, args)
    output, title = epath.Path(args.output), args.song.name
    if not os.access(args.output.parent, os.W_OK):
        message = f"{output}: can't be written (its folder is missing or read-only)"
        raise CommandError(message, SOME_FAILED)
    song, *stems = _cut([song, *stems], part[1], rate)
    progress = tqdm(separators.items(), desc="models", leave=False)
    with ending(SOME_FAILED, ModelError), writing(output):
        if args.errors:
            leaked = " + ".join(path.stem for path in args.leaked or []) or "rest"
            errors = {
                name: _find_error(separator, song, stems, rate, part)
                for name, separator in progress
            }
            truth = picture_of(stems[0], rate, part)
            figures.save_errors(output, truth, errors, stem=drawn[0], leaked=leaked, title=title)
        else:
            pictures = {"mixture": picture_of(song, rate, part)}
            for name, separator in progress:
                for stem, wave in separator(song, rate).items():
                    pictures[f"{stem}, {name}"] = picture_of(wave, rate, part)
            if stems:
                pictures[f"true {drawn[0]}"] = picture_of(stems[0], rate, part)
            figures.save_pictures(output, pictures, title=title)
    print(output)
    return 0


def _find_error(
    separator: "Separator",
    song: np.ndarray,
    stems: list[np.ndarray],
    sample_rate: int,
    part: tuple[float, float],
) -> "SeparationError":
    """Tells what a model leaks and loses.

    Args:
      separator: Separator with the model, which gives one stem.
      song: `[samples, channels]`.
      stems: The true stem, and what may have leaked into it: by default all the rest.
      sample_rate: Sample rate of all of them in Hz.
      part: Begin and end of the part that counts, in seconds.
    """
    from jaxsep.plots.spectra import separation_error

    truth, *leaked = stems
    rest = np.sum(leaked, axis=0) if leaked else song - truth
    mixture, truth, rest = (separator.to_format(wave, sample_rate) for wave in (song, truth, rest))
    (mask,) = separator.masks(mixture).values()
    return separation_error(mask, mixture, truth, rest, separator.stft, part)


def _check_usage(args: argparse.Namespace) -> None:
    if args.errors and args.reference is None:
        raise CommandError("--errors needs the true stem, as --reference")
    if args.leaked and not args.errors:
        raise CommandError("--leaked is for --errors")
    if not args.seconds > 0:
        raise CommandError(f"--seconds={args.seconds:g} must be more than 0")
    if args.output.suffix.lower() != ".png":
        raise CommandError(f"{args.output}: the picture is a PNG file; give it a name in .png")
    if args.output.is_dir():
        raise CommandError(f"{args.output} is a folder; give the picture another name")
    if args.output.exists() and not args.overwrite:
        raise CommandError(f"{args.output} is already there; --overwrite replaces it")


def _stem_paths(args: argparse.Namespace) -> list[Path]:
    """Lists the true stem first, if it is given, then what may have leaked."""
    return [path for path in [args.reference, *(args.leaked or [])] if path is not None]


def _read_stem(path: Path, song: np.ndarray, sample_rate: int) -> np.ndarray:
    """Reads a stem at the song's rate and channels, `[samples, channels]`."""
    import soxr

    from jaxsep.audio.reader import read_audio

    stem, own_rate = read_audio(path)
    stem = soxr.resample(stem, own_rate, sample_rate)
    difference = abs(len(stem) - len(song)) / sample_rate
    if difference > LONGEST_DIFFERENCE:
        longer = "longer" if len(stem) > len(song) else "shorter"
        raise CommandError(f"{path}: {difference:.2f} s {longer} than the song; is it another's?")
    if stem.shape[1] != song.shape[1]:
        stem = np.repeat(stem.mean(axis=1, keepdims=True), song.shape[1], axis=1)
    return stem


def _part(
    waves: list[np.ndarray], sample_rate: int, args: argparse.Namespace
) -> tuple[float, float]:
    """Returns where the part to draw begins and ends, in seconds."""
    duration = min(len(wave) for wave in waves) / sample_rate
    if not 0 <= args.start < duration:
        raise CommandError(f"--start={args.start:g}: {args.song} has {duration:.2f} s only")
    return args.start, min(duration, args.start + args.seconds)


def _cut(waves: list[np.ndarray], end: float, sample_rate: int) -> list[np.ndarray]:
    """Cuts waveforms to equal lengths; no need to go on for long after the drawn part."""
    length = min(*map(len, waves), math.ceil((end + MARGIN) * sample_rate))
    return [wave[:length] for wave in waves]
