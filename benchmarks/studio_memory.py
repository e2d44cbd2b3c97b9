"""The memory that `jaxsep studio` takes, stage by stage.

    python -m benchmarks.studio_memory --song=SONG [--model=A --model=B] [--songs=10] [--minutes=60]

Starts a studio, gives it songs made by repeating SONG, asks for all that the page shows and saves
of them, and prints its resident memory after each, and its peak meanwhile. For Linux.
"""

import argparse
import contextlib
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from benchmarks.machine import describe_machine
from benchmarks.memory import repeat

USUAL_MINUTES = 4


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of the studio after each of its tasks.")
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--model", action="append", help="given twice, they are compared as well")
    parser.add_argument("--songs", type=int, default=10, help="of 4 minutes, one after the other")
    parser.add_argument("--minutes", type=float, default=60, help="of the long song")
    args = parser.parse_args()
    models = args.model or ["jaxsep-vocals"]
    options = [f"--model={name}={model}" for name, model in zip("ABCDEF", models, strict=False)]
    options.append(f"--max_minutes={args.minutes + 1}")
    print(f"{datetime.date.today()}, {describe_machine()}; {args.song.name}; {', '.join(models)}\n")
    print("| stage | memory, MB | peak, MB | time, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, running_studio(options) as studio:
        usual = repeat(args.song, Path(folder) / "usual.flac", USUAL_MINUTES)
        studio.stage("start")
        for name in "ABCDEF"[: len(models)]:
            studio.stage(f"{USUAL_MINUTES} minutes by {name}", usual, name)
        if len(models) > 1:
            studio.stage(f"{USUAL_MINUTES} minutes by A and B", usual, "A", "B")
        for number in range(args.songs):  # each of another length, as songs are
            minutes = USUAL_MINUTES + (number + 1) / 10
            song = repeat(args.song, Path(folder) / "another.flac", minutes)
            studio.stage(f"another song, {minutes:g} minutes by A", song, "A")
        long = repeat(args.song, Path(folder) / "long.flac", args.minutes)
        studio.stage(f"{args.minutes:g} minutes by A", long, "A")
        studio.stage(f"{USUAL_MINUTES} minutes by A, in the end", usual, "A")
    return 0


@contextlib.contextmanager
def running_studio(options: list[str]) -> Iterator["RunningStudio"]:
    """Starts a studio, and ends it."""
    command = [sys.executable, "-m", "jaxsep.cli", "studio", "--no_browser", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{' '.join(command)} failed; run it by itself")
            yield RunningStudio(process.pid, line.split()[2])
        finally:
            process.terminate()


class RunningStudio:
    """A studio, asked for what its page asks.

    Args:
      process: Number of the process.
      address: Address of the page.
    """

    def __init__(self, process: int, address: str):
        self._process, self._address = Path(f"/proc/{process}"), address

    def stage(self, name: str, song: Path | None = None, *models: str) -> None:
        """Has a song separated if there is one, and prints a line of the table."""
        (self._process / "clear_refs").write_text("5")  # the peak begins anew
        begin = time.perf_counter()
        if song:
            self._separate(song, models)
        seconds = time.perf_counter() - begin
        status = (self._process / "status").read_text()
        now, peak = (
            int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) * 1024 / 1e6
            for field in ("VmRSS", "VmHWM")
        )
        print(f"| {name} | {now:.0f} | {peak:.0f} | {seconds:.0f} |", flush=True)

    def _separate(self, song: Path, models: tuple[str, ...]) -> None:
        query = urlencode({"name": song.name, "model": models}, doseq=True)
        with open(song, "rb") as file:
            job = json.loads(self._ask(f"jobs?{query}", file))
        base = f"jobs/{job['id']}"
        events = self._ask(f"{base}/events").decode().splitlines()
        job = json.loads([line for line in events if line.startswith("data:")][-1][5:])
        if job["state"] != "done":
            raise SystemExit(f"{job['name']}: {job['error']}")
        piece = 2 * job["sample_rate"]
        for track in job["tracks"]:
            kinds = ("peaks", "spectrogram", "mask") if track["stem"] == "vocals" else ("peaks",)
            for tile in range(-(-job["num_samples"] // job["tile_samples"])):
                for kind in kinds:
                    self._ask(f"{base}/tracks/{track['id']}/{kind}/{tile}")
            for start in range(0, job["num_samples"], piece):
                self._ask(f"{base}/tracks/{track['id']}/samples?start={start}&count={piece}")
        self._ask(f"{base}/stems.zip?format=flac")

    def _ask(self, path: str, body: BinaryIO | None = None) -> bytes:
        request = urllib.request.Request(f"{self._address}api/{path}", body)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


if __name__ == "__main__":
    sys.exit(main())
