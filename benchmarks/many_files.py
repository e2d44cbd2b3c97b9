"""What it costs that a sound comes in many files.

    python -m benchmarks.many_files --song=SONG [--model=MODEL] [--rounds=5]

Separates four minutes of a song in turns as one file and as twelve of 20 s, in one process, by
`separate_file`. Within a file, decoding, separating and encoding go on side by side; from a file to
the next they don't. So the difference is the most that overlapping the files could save.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import clock
from benchmarks.memory import repeat
from benchmarks.table import Table
from jaxsep.models.load import OWN
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import separate_file

FILES, MINUTES = 12, 4


def main() -> int:
    parser = argparse.ArgumentParser(description="One long file against many short ones.")
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--model", default=OWN)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    separator = Separator.restore(args.model)
    columns = ("one file, s", f"{FILES} files, s", "difference, %")
    with tempfile.TemporaryDirectory() as name, Table(*columns, about=args.song.name) as table:
        folder = Path(name)
        whole = repeat(args.song, folder / "whole.flac", MINUTES)
        part = repeat(args.song, folder / "part.flac", MINUTES / FILES)
        pairs = [
            [clock(separate, separator, songs, folder) for songs in ([whole], [part] * FILES)]
            for _ in range(args.rounds + 1)  # the first one compiles
        ]
        one, many = map(statistics.median, zip(*pairs[1:], strict=True))
        table.row(one, many, 100 * (many / one - 1))
    return 0


def separate(separator: Separator, songs: list[Path], folder: Path) -> None:
    for song in songs:
        separate_file(separator, song, folder / "stems", overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
