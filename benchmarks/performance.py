"""Measures what docs/performance.md has aims for, and puts the tables into it.

    python -m benchmarks.performance [--song=SONG] [--vocals=FILE] [--root=MUSDB18]
                                     [--data_dir=DATA] [--windowed=MODEL] [--only NAME ...]

Runs the commands of `COMMANDS` one after the other, on a machine that does nothing else, in some 30
minutes on two cores. What stands in the page between `<!-- NAME -->` and `<!-- end -->` is replaced
as soon as its command has ended; parts whose argument isn't given, or whose command fails, stay as
they are.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.table import fill
from jaxsep.files import write_text

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
COMMANDS = {
    "step": ("open_unmix", "step", "--rounds=5"),
    "roofline": ("roofline", "--rounds=3"),
    "file": ("open_unmix", "file", "--rounds=3"),
    "hop": ("open_unmix", "hop", "--rounds=5"),
    "band split": ("band_split", "--rounds=5"),
    "start": ("open_unmix", "start", "--rounds=7"),
    "memory": ("memory", "--song={song}"),
    "many files": ("many_files", "--song={song}"),
    "stream": ("long_stream", "--song={song}", "--vocals={vocals}", "--minutes=12"),
    "windows": ("windows", "--model={windowed}", "--song={song}"),
    "preparation": ("preparation", "--root={root}"),
    "input pipeline": ("input_pipeline", "--recipe=lstm", "--data_dir={data_dir}"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="The tables of docs/performance.md.")
    parser.add_argument("--song", help="a piece of music, for what goes through it over and over")
    parser.add_argument("--vocals", help="the song's true vocals")
    parser.add_argument("--root", help="a folder in MUSDB18's format")
    parser.add_argument("--data_dir", help="a prepared data set of 44.1 kHz stereo")
    parser.add_argument("--windowed", help="a model that isn't causal")
    parser.add_argument("--only", nargs="+", choices=tuple(COMMANDS), default=tuple(COMMANDS))
    args = parser.parse_args()
    given = {name: value for name, value in vars(args).items() if value}
    failed = False
    for name in args.only:
        try:
            command = [part.format_map(given) for part in COMMANDS[name]]
        except KeyError as missing:
            print(f"{name}: left out, for --{missing.args[0]} isn't given", flush=True)
            continue
        print(f"{name}: {' '.join(command)}", flush=True)
        result = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]],
            stdout=subprocess.PIPE,
            text=True,
        )
        if result.returncode:
            failed = True
            continue
        print(result.stdout, flush=True)
        write_text(PAGE, fill(PAGE.read_text(), name, without_json(result.stdout)))
    return int(failed)


def without_json(printed: str) -> str:
    """Leaves out of what a benchmark prints the line that is for programs."""
    return "\n".join(line for line in printed.splitlines() if not line.startswith("{")).strip()


if __name__ == "__main__":
    sys.exit(main())
