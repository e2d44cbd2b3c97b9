"""Preparing a data set beside what can't be avoided: decoding the same files with ffmpeg.

    python -m benchmarks.preparation --root=MUSDB18 [--rounds=3] [--workers=1]

Prepares a folder in MUSDB18's format and decodes all streams of its `.stem.mp4` files by the
ffmpeg program, in turns; prints CPU seconds, medians, and the ratio. ffmpeg is told to use one
thread for each file, as the preparation does.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import Usage, run_module, run_program
from benchmarks.table import Table


def main() -> int:
    parser = argparse.ArgumentParser(description="Preparation against a bare decoding.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    files = sorted(args.root.glob("t*/*.stem.mp4"))
    if not files:
        parser.error(f"{args.root}: no train/*.stem.mp4 or test/*.stem.mp4 in it")
    rounds = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            job = ["data_prep.musdb18", f"--root={args.root}", f"--output={folder}/data"]
            prepared = run_module(*job, f"--workers={args.workers}").cpu_seconds
        decoded = sum(decode(file).cpu_seconds for file in files)
        rounds.append((prepared, decoded))
    ours, theirs = map(statistics.median, zip(*rounds, strict=True))
    columns = ("preparation, CPU s", "ffmpeg, CPU s", "ratio")
    with Table(*columns, about=f"{len(files)} songs, {args.rounds} rounds") as table:
        table.row(ours, theirs, ours / theirs)
    return 0


def decode(file: Path) -> Usage:
    """Decodes all streams of a file to floating-point samples, and drops them."""
    return run_program(
        *("ffmpeg", "-nostdin", "-threads", "1", "-i", str(file), "-map", "0:a"),
        *("-c:a", "pcm_f32le", "-f", "null", "-"),
    )


if __name__ == "__main__":
    sys.exit(main())
