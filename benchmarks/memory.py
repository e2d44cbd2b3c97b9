"""The largest memory that `jaxsep separate` takes for songs of different lengths.

    python -m benchmarks.memory --song=SONG [--model=MODEL] [--minutes 3 20 180] [--rounds=3]

Makes songs of these lengths by repeating SONG, as FLAC in a temporary folder (`--folder`),
separates each in a process of its own, into FLAC, and prints its peak of resident memory: medians,
and the most, of several rounds, as the same song takes 20 MB more or less from time to time.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import run_module
from benchmarks.table import Table
from jaxsep.audio.reader import AudioReader
from jaxsep.models.load import OWN


def main() -> int:
    parser = argparse.ArgumentParser(description="Peaks of memory for songs of several lengths.")
    parser.add_argument("--model", default=OWN)
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 20, 180])
    parser.add_argument("--folder", type=Path, help="for the songs and stems, some 3 GB for 3 h")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    columns = ("minutes", "peak memory, MB", "the most, MB", "time, s")
    with Table(*columns, about=f"{args.song.name}, {args.rounds} rounds") as table:
        for minutes in args.minutes:
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                song = repeat(args.song, Path(folder) / "song.flac", minutes)
                command = ["jaxsep.cli", "separate", str(song), f"--model={args.model}"]
                command += [f"--output={folder}", "--format=flac", "--overwrite"]
                usages = [run_module(*command) for _ in range(args.rounds)]
            peaks = [usage.peak_memory / 1e6 for usage in usages]
            seconds = statistics.median(usage.seconds for usage in usages)
            table.row(minutes, statistics.median(peaks), max(peaks), seconds)
    return 0


def repeat(song: Path, target: Path, minutes: float) -> Path:
    """Writes a 16-bit FLAC file of a song over and over.

    In blocks, as the peak that a process begins with is that of the process that started it.
    """
    with AudioReader(song) as reader:
        rate, channels = reader.sample_rate, reader.channels
    missing = round(minutes * 60 * rate)
    with soundfile.SoundFile(target, "w", rate, channels, "PCM_16") as file:
        while missing > 0:
            with AudioReader(song) as reader:
                for block in reader.blocks(2**18):
                    file.write(np.clip(block[:missing], -1, 1))
                    missing -= min(missing, len(block))
    return target


if __name__ == "__main__":
    sys.exit(main())
