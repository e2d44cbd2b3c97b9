"""Makes speakers sing: as much as wanted, with as many voices as there are speakers.

usage: python -m recipes.sing --speech=SOURCES/voices --output=SOURCES [--minutes=140] [--seed=0]

Reads `train|validation/NAME.flac`, a speaker each, and writes `SPLIT/sung-NAME-K/vocals.flac`. Each
take is another singer's: melody, manner, range, formants and room differ. Of the real singing that
is in the output already (`SPLIT/singing-NAME`, and the vocals of the songs in `train`) it makes
variants with other pitch and effects. The same seed gives the same bytes, whatever the number of
workers; what is there isn't made again.
"""

import argparse
import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxsep.files import read_json
from recipes import effects, singer
from recipes.sources import (
    SPLITS,
    VOICE,
    SourceError,
    make_missing,
    make_parser,
    read,
    run,
    to_stereo,
    write,
)


class Take(NamedTuple):
    """A voice, and the file to make of it."""

    voice: Path
    target: Path
    seed: int
    seconds: float  # of singing; 0 for a variant of what is sung already


def main() -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--speech", type=Path, required=True, help="folder of train|validation/NAME.flac")
    add("--output", type=Path, required=True, help="folder of the sources")
    add("--minutes", type=float, default=140.0, help="of singing, altogether")
    add("--take_seconds", type=float, default=40.0, help="about the length of a take")
    add("--treated", type=int, default=1, help="variants of all real singing")
    add("--seed", type=int, default=0, help="decides everything random")
    add("--workers", type=int, default=os.cpu_count(), help="processes; no matter to result")
    return run(parser, sing_all)


def sing_all(args: argparse.Namespace) -> None:
    """Makes what isn't there yet, and notes the licences.

    Raises:
      SourceError: if there are no speakers.
    """
    takes = _plan(args)
    make_missing(make, takes, args.output, _licences(takes, args), args.workers)


def _licences(takes: list[Take], args: argparse.Namespace) -> dict[str, dict]:
    """Returns what `licences.json` says of the takes: what it says of the voices."""
    known = {}
    for root in (args.speech.parent, args.output):
        if (path := root / "licences.json").exists():
            known |= {(root / file).resolve(): entry for file, entry in read_json(path).items()}
    unknown = {"kind": VOICE, "licence": "not stated"}
    return {
        str(take.target.relative_to(args.output)): known.get(take.voice.resolve(), unknown)
        | {"made_from": str(Path(*take.voice.parts[-3:]))}
        for take in takes
    }


def _plan(args: argparse.Namespace) -> list[Take]:
    """Lists the takes: each speaker in turn, until the minutes are full."""
    # Validation first, so that a run that is cut short has it.
    speakers = [
        path for split in reversed(SPLITS) for path in sorted((args.speech / split).glob("*.flac"))
    ]
    if not speakers:
        raise SourceError(f"{args.speech}: no train/*.flac or validation/*.flac in it")
    takes = []
    for number in range(round(args.minutes * 60 / args.take_seconds)):
        turn, i = divmod(number, len(speakers))
        name = Path(speakers[i].parent.name, f"sung-{speakers[i].stem}-{turn}")
        target = args.output / name / "vocals.flac"
        takes.append(Take(speakers[i], target, args.seed, args.take_seconds))
    songs = args.output.glob("train/*/vocals.flac")
    songs = [path for path in songs if path.with_name("accompaniment.flac").exists()]
    for path in sorted([*args.output.glob("*/singing-*/vocals.flac"), *songs]):
        for k in range(args.treated):
            target = path.parents[1] / f"treated-{path.parent.name}-{k}" / "vocals.flac"
            takes.append(Take(path, target, args.seed, 0.0))
    return takes


def make(take: Take) -> None:
    """Makes a take.

    Raises:
      SourceError: if the voice says too little.
    """
    name = "/".join(take.target.parts[-3:])
    rng = np.random.default_rng([take.seed, zlib.crc32(name.encode())])
    waveform = read(take.voice)
    if take.seconds:
        waveform = singer.sing(waveform.mean(axis=1), take.seconds, rng, take.voice.stem)
    else:
        waveform = effects.transpose(to_stereo(waveform), rng.uniform(-3, 3))
    write(take.target, effects.normalise(effects.treat(waveform, rng)))


if __name__ == "__main__":
    sys.exit(main())
