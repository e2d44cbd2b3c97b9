"""What a model makes of music without a voice, and of a voice without music.

    python -m benchmarks.one_sided --model=MODEL [--music FILE ...] [--voice FILE ...]

Prints for each file the energy of the stem that should be empty over that of the file, in dB: the
lower, the better.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

from benchmarks.table import Table
from jaxsep.audio.reader import read_audio
from jaxsep.convert.published import resolve
from jaxsep.data.records import PAIR
from jaxsep.models.load import OWN
from jaxsep.separation.separator import Separator


def main() -> int:
    parser = argparse.ArgumentParser(description="What is found where nothing is.")
    parser.add_argument("--model", default=OWN)
    parser.add_argument("--music", type=Path, nargs="+", default=[], help="without a voice")
    parser.add_argument("--voice", type=Path, nargs="+", default=[], help="without music")
    args = parser.parse_args()
    separator = Separator.restore(resolve(args.model))
    for files, stem in ((args.music, PAIR[0]), (args.voice, PAIR[1])):
        if files:
            with Table("file", f"{stem} found, dB", about=args.model) as table:
                found = [share(separator, path, stem) for path in files]
                for path, decibels in zip(files, found, strict=True):
                    table.row(f"{path.parent.name}/{path.name}", decibels)
                table.row("median", statistics.median(found))
    return 0


def share(separator: Separator, path: Path, stem: str) -> float:
    """Returns the energy of a stem over that of the whole file, in dB."""
    waveform, rate = read_audio(path)
    energies = [
        np.square(x, dtype=np.float64).sum() for x in (separator(waveform, rate)[stem], waveform)
    ]
    return float(10 * np.log10((energies[0] + 1e-12) / (energies[1] + 1e-12)))


if __name__ == "__main__":
    sys.exit(main())
