"""What the recipes share: the format of voices and backings, their licences, errors."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import soundfile
import soxr

from jaxsep.audio.reader import AudioError, read_audio
from jaxsep.files import read_json, replacing, write_json
from jaxsep.processes import worker_pool

RATE = 44100  # Hz
SPLITS = ("train", "validation")
LEFT_OUT = "left_out"  # folder of the whole originals of what `recipes.screen` cut
VOICE, BACKING, SONG = "voice", "backing", "song"
MADE = f"{BACKING}, made"  # kind of what `recipes.bands` makes
STEMS = {VOICE: "vocals", BACKING: "accompaniment"}
PEAK = 0.98  # of full scale: what the loudest sample of a file is limited to


class SourceError(Exception):
    """A source can't be used; the one-line text says which and why."""


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Makes a parser that shows a module's docstring as it stands."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(parser: argparse.ArgumentParser, job: Callable[[argparse.Namespace], None]) -> int:
    """Runs a command; returns 0, 2 for unusable input, 1 for a failure midway, 130 for Ctrl-C."""
    args = parser.parse_args()
    try:
        job(args)
    except SourceError as error:
        code, message = 2, str(error)
    except (AudioError, OSError) as error:
        code, message = 1, f"{error}; run it again to go on"
    except KeyboardInterrupt:
        code, message = 130, "interrupted; run it again to go on"
    else:
        return 0
    print(f"{parser.prog}: {message}", file=sys.stderr)
    return code


class Item(NamedTuple):
    """A voice, a piece of music or a song that was found.

    Attributes:
      name: unique among its kind.
      kind: `VOICE`, `BACKING`, or `SONG`, which has both.
      files: recordings of a voice, or instruments (and voices) that sound together.
      source: package or folder.
      version: of the package, or "".
      licence: short name.
      album: what it shares with others of its kind: an artist, a package.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    source: str
    version: str
    licence: str
    album: str

    def entry(self) -> dict[str, str]:
        """Returns what `licences.json` says of it."""
        return {
            "kind": self.kind,
            "licence": self.licence,
            "source": self.source,
            "version": self.version,
        }


def plain(name: str) -> str:
    """Keeps the letters, digits and hyphens of a name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def is_held_out(name: str, held_out: Iterable[str]) -> bool:
    """Tells whether a name, or the start of it up to a hyphen, is held out for validation."""
    return any(f"{name}-".startswith(f"{other}-") for other in held_out)


def read(path: Path) -> np.ndarray:
    """Reads any file as float32 `[samples, channels]` at 44.1 kHz.

    Raises:
      jaxsep.audio.reader.AudioError: if it can't be read.
    """
    waveform, rate = read_audio(path)
    return soxr.resample(waveform, rate, RATE)


def read_all(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """Reads files, and says which can't be."""
    for path in files:
        try:
            waveform = read(path)
        except AudioError as error:
            print(f"left out: {error}", flush=True)
        else:
            yield waveform


def write(path: Path, waveform: np.ndarray) -> None:
    """Writes 16-bit FLAC at 44.1 kHz, whole or not at all; scales down what would clip.

    Args:
      path: of the file; its folder is made if need be.
      waveform: float `[samples, channels]`, full scale at +-1.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = waveform * min(1.0, PEAK / max(float(np.max(np.abs(waveform))), 1e-9))
    with replacing(path) as part:
        soundfile.write(part, waveform, RATE, subtype="PCM_16", format="FLAC")


def to_stereo(waveform: np.ndarray) -> np.ndarray:
    """Repeats a single channel, and drops those beyond the second: `[samples, 2]`."""
    return np.repeat(waveform, 2, axis=1) if waveform.shape[1] == 1 else waveform[:, :2]


def note_licences(root: Path, entries: dict[str, dict]) -> None:
    """Adds to `licences.json`, and drops what isn't there any more.

    Args:
      root: the sources' folder.
      entries: by path, relative to it.
    """
    path = root / "licences.json"
    known = (read_json(path) if path.exists() else {}) | entries
    write_json(path, {file: known[file] for file in sorted(known) if (root / file).exists()})


class Job(Protocol):
    """A file to make."""

    @property
    def target(self) -> Path: ...


def make_missing(
    make: Callable[[Any], None],
    jobs: Sequence[Job],
    root: Path,
    entries: dict[str, dict],
    workers: int,
) -> None:
    """Makes the files that aren't there, in processes, and notes the licences of all.

    Args:
      make: makes a job's `target`, or raises `SourceError`: then it is left out.
      jobs: can be pickled.
      root: the sources' folder.
      entries: for `licences.json`, see `note_licences`.
      workers: processes.

    Raises:
      SourceError: if none of them is there in the end.
    """
    missing = [job for job in jobs if not job.target.exists()]
    with worker_pool(workers) as pool:
        running = {pool.submit(make, job): job.target.parent.name for job in missing}
        for done, future in enumerate(as_completed(running), 1):
            try:
                future.result()
            except SourceError as error:
                print(f"left out: {running[future]}: {error}", flush=True)
            print(f"{done}/{len(missing)} {running[future]}", flush=True)
            note_licences(root, entries)
    note_licences(root, entries)  # also of what was there already
    if jobs and not any(job.target.exists() for job in jobs):
        raise SourceError("nothing could be made; see the lines above")
