"""The largest memory that `jaxsep separate` takes for songs of different lengths.

    python -m benchmarks.memory --model=WORKDIR --song=SONG [--minutes 3 20 180]

Makes songs of these lengths by repeating SONG, as FLAC in a temporary folder (`--folder`),
separates each in a process of its own, into FLAC, and prints its peak of resident memory.
"""

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import describe_machine, run_module
from jaxsep.audio_reader import read_audio


def main() -> int:
    parser = argparse.ArgumentParser(description="Peaks of memory for songs of several lengths.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 20, 180])
    parser.add_argument("--folder", type=Path, help="for the songs and stems, some 3 GB for 3 h")
    args = parser.parse_args()
    print(f"{datetime.date.today()}, {describe_machine()}; {args.song.name}\n")
    print("| minutes | peak memory, MB | time, s |\n|---|---|---|")
    for minutes in args.minutes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            song = repeat(args.song, Path(folder) / "song.flac", minutes)
            command = ["jaxsep.cli", "separate", str(song), f"--model={args.model}"]
            usage = run_module(*command, f"--output={folder}", "--format=flac")
        print(f"| {minutes:g} | {usage.peak_memory / 1e6:.0f} | {usage.seconds:.0f} |", flush=True)
    return 0


def repeat(song: Path, target: Path, minutes: float) -> Path:
    """Writes a 16-bit FLAC file of a song over and over."""
    waveform, rate = read_audio(song)
    missing = round(minutes * 60 * rate)
    waveform = np.clip(waveform, -1, 1)
    with soundfile.SoundFile(target, "w", rate, waveform.shape[1], "PCM_16") as file:
        while missing > 0:
            file.write(waveform[:missing])
            missing -= len(waveform)
    return target


if __name__ == "__main__":
    sys.exit(main())
