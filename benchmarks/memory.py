"""The largest memory that `jaxsep separate` takes for songs of different lengths.

    python -m benchmarks.memory --model=WORKDIR --song=SONG [--minutes 3 20 180]

Makes songs of these lengths by repeating SONG, as FLAC in a temporary folder (`--folder`),
separates each in a process of its own, into FLAC, and prints its peak of resident memory.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import describe_machine
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
            peak, seconds = separate(song, args.model)
        print(f"| {minutes:g} | {peak / 1e6:.0f} | {seconds:.0f} |", flush=True)
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


def separate(song: Path, model: str) -> tuple[int, float]:
    """Separates a song in a process of its own.

    Returns:
      Its peak of resident memory in bytes, and how long it took, in seconds.
    """
    command = [sys.executable, "-m", "jaxsep.cli", "separate", str(song), f"--model={model}"]
    command += [f"--output={song.parent / 'stems'}", "--format=flac"]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed; run it by itself")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.monotonic() - start


if __name__ == "__main__":
    sys.exit(main())
