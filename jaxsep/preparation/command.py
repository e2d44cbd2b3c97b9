"""What the preparation commands share: flags, one clear line for each error, exit codes."""

import argparse
import os
import sys
from pathlib import Path

from jaxsep.audio.reader import AudioError
from jaxsep.collections.source import PreparationError
from jaxsep.console import printable
from jaxsep.data import records
from jaxsep.data.records import Dataset, DatasetError
from jaxsep.fields import NAME
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.prepare import prepare
from jaxsep.stems import ACCOMPANIMENT, is_reserved
from jaxsep.stft_config import StftConfig

MOST_NAMED = 3  # tracks in a line


def make_parser(description: str, stft: StftConfig | None = None) -> argparse.ArgumentParser:
    """Makes a parser with the flags of every preparation.

    Args:
      description: Description of the command.
      stft: Default format and transform.
    """
    stft = stft or StftConfig()
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the data set")
    add("--workers", type=_positive, default=os.cpu_count(), help="processes; no matter to result")
    add(
        "--targets",
        default="vocals,accompaniment",
        help="stems to store, such as vocals,drums,bass,other or speech: what training may choose"
        " from. A song that lacks one is taken to be silent there; what else it has is kept as the"
        " rest of the mixture",
    )
    add(
        "--representation",
        choices=records.REPRESENTATIONS,
        default=records.MAGNITUDE,
        help="magnitudes of mixtures, or stems' waveforms, of which training makes mixtures",
    )
    add(
        "--remixes",
        type=int,
        default=0,
        help="more passes, vocals over a partner track's accompaniment",
    )
    add("--seed", type=int, default=0, help="decides everything random")
    add("--segment_seconds", type=float, default=6.0, help="length of an example")
    add("--sample_rate", type=_positive, default=stft.sample_rate, help="in Hz")
    add("--channels", type=_positive, default=stft.channels, help="1 or 2")
    add("--n_fft", type=_positive, default=stft.n_fft, help="samples in a frame")
    add("--hop_length", type=_positive, default=stft.hop_length, help="samples between frames")
    add(
        "--length_tolerance",
        type=int,
        default=0,
        metavar="SAMPLES",
        help="by which a song's stems may differ in length; the longer ones are cut off at the end",
    )
    add("--skip_bad", action="store_true", help="leave out tracks that can't be used, list them")
    return parser


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds `--root`, the folder of the songs."""
    parser.add_argument("--root", type=Path, required=True, help="folder of the songs")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def run(parser: argparse.ArgumentParser, make_source) -> int:
    """Parses the command line, prepares the data set and returns the exit code.

    Args:
      parser: Parser of `make_parser`.
      make_source: Function from the parsed flags to a `Source`; may raise PreparationError.

    Returns:
      0, or 2 if the input or the usage is wrong, 1 for a failure midway, 130 after Ctrl-C.
    """
    args = parser.parse_args()
    try:
        settings = _settings(args)
        source = make_source(args)
        dataset = prepare(
            source, args.output, settings, workers=args.workers, skip_bad=args.skip_bad
        )
    except (PreparationError, DatasetError) as error:
        return _fail(parser, 2, str(error))
    except (AudioError, OSError) as error:
        return _fail(parser, 1, f"{error}; run the command again to finish the job")
    except KeyboardInterrupt:
        return _fail(parser, 130, "interrupted; run the command again to finish the job")
    print("\n".join(map(printable, summarise(dataset))))
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    try:
        stft = StftConfig(args.sample_rate, args.channels, args.n_fft, args.hop_length)
    except ValueError as error:
        raise PreparationError(str(error)) from error
    if args.remixes < 0 or not args.segment_seconds > 0:
        raise PreparationError("--remixes must be 0 or more, --segment_seconds more than 0")
    if args.length_tolerance < 0:
        raise PreparationError(f"--length_tolerance={args.length_tolerance} must be 0 or more")
    targets = [target.strip() for target in args.targets.split(",")]
    targets = tuple(dict.fromkeys(filter(None, targets)))
    if bad := [name for name in targets if not NAME.fullmatch(name)]:
        raise PreparationError(
            f"--targets={args.targets}: {bad[0]!r} can't name a stem; use letters, digits, _ and -"
        )
    if bad := [name for name in targets if is_reserved(name) or name in ("track", "start")]:
        raise PreparationError(
            f"--targets={args.targets}: {bad[0]!r} can't name a stem, for it means something else;"
            " rename its files"
        )
    if not targets:
        raise PreparationError(f"--targets={args.targets} must be names of stems")
    if ACCOMPANIMENT in targets and len(targets) > 1 and "vocals" not in targets:
        raise PreparationError(
            f"--targets={args.targets}: the accompaniment is all but the vocals; leave it out, for"
            " what is beside the targets is stored anyway, or add vocals"
        )
    if args.representation == records.WAVEFORM:
        if args.remixes:
            raise PreparationError("--remixes is for magnitudes; waveforms are remixed in training")
    elif args.remixes and set(targets) != set(records.PAIR):
        raise PreparationError("--remixes needs --targets=vocals,accompaniment")
    return Settings(
        stft,
        targets,
        stft.frames_in(args.segment_seconds),
        args.remixes,
        args.seed,
        args.representation,
        args.length_tolerance,
    )


def _fail(parser: argparse.ArgumentParser, code: int, message: str) -> int:
    print(f"{parser.prog}: {printable(message)}", file=sys.stderr)
    return code


def summarise(dataset: Dataset) -> list[str]:
    """Says what is in a data set, in a few lines."""
    lines = [f"data set: {dataset.path}"]
    for split, info in dataset.manifest["splits"].items():
        lines.append(
            f"  {split}: {info['num_tracks']} tracks, {info['seconds'] / 60:.1f} min,"
            f" {info['num_examples']} examples in {len(info['shards'])} shards"
        )
    if "validation" not in dataset.manifest["splits"]:
        lines.append("  no validation split: training will have no held-out score")
    lacking: dict[str, list[str]] = {}
    for source in dataset.manifest["sources"]:
        for target in source.get("silent", ()):
            lacking.setdefault(target, []).append(f"{source['split']}/{source['track']}")
    for target, tracks in lacking.items():
        more = ", ..." if len(tracks) > MOST_NAMED else ""
        named = ", ".join(tracks[:MOST_NAMED]) + more
        lines.append(f"  without {target} or silent there: {len(tracks)} tracks ({named})")
    for skip in dataset.manifest["skipped"]:
        lines.append(f"  skipped {skip['track']} because of {skip['reason']}")
    return lines
