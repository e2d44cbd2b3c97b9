"""Scores separators on songs whose true stems are known.

A score file, `OUTPUT/METHOD/SPLIT/TRACK.json`, is a document of museval's own schema (so that its
tools read it) with one more key, `jaxsep`: scores of the whole track, and what was scored. It is
written when it is complete; a track that has one isn't scored again.
"""

import concurrent.futures
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import google_crc32c
from tqdm import tqdm

from jaxsep.collections.source import Source, Track, TrackError
from jaxsep.evaluation.bsseval import MUSEVAL, read_score, score_track, use_one_thread
from jaxsep.evaluation.methods import PAIR, Method, load
from jaxsep.files import write_json
from jaxsep.models.files import ModelError
from jaxsep.processes import ignored_interrupts, worker_pool

LONGEST_NAME = 255  # bytes that file systems allow


class EvaluationError(Exception):
    """There is nothing to score, or no place for it; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class _Job:
    """One method on one track: where its score belongs, and what it is a score of."""

    track: Track
    method: Method
    path: Path
    scored: str


def choose_split(tracks: Sequence[Track], split: str | None) -> list[Track]:
    """Returns the tracks of a split; by default of test, else of validation, else of train.

    Raises:
      EvaluationError: if there are none.
    """
    for name in [split] if split else ["test", "validation", "train"]:
        if chosen := [track for track in tracks if track.split == name]:
            return chosen
    there = ", ".join(sorted({track.split for track in tracks}))
    raise EvaluationError(f"no tracks of the split {split!r}; there are {there}")


def evaluate(
    source: Source,
    tracks: Sequence[Track],
    methods: Sequence[Method],
    output: Path,
    *,
    stems: Sequence[str] = PAIR,
    version: str,
    workers: int,
) -> list[str]:
    """Scores all methods on all tracks and writes a file for each pair, where there is none.

    Songs are separated here, one after another, and scored in worker processes.

    Args:
      source: Collection of the tracks.
      tracks: Tracks of one split.
      methods: Methods to score.
      output: Folder of the scores; see the module.
      stems: Stems to score; the methods give them.
      version: The version of BSS Eval, as in `bsseval.score_track`.
      workers: Number of processes. Each needs some 1 GB for every minute of stereo.

    Returns:
      A line for each track that can't be used, and for each method that fails on one.

    Raises:
      EvaluationError: `output` holds scores of something else, or a worker failed.
      OSError: a score can't be read or written.
    """
    if len({track.name for track in tracks}) < len(tracks):
        raise EvaluationError("two tracks have the same name; give each a name of its own")
    output.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=output).close()  # better to fail now than after the first song
    too_long = [track for track in tracks if len(f"{track.name}.json".encode()) > LONGEST_NAME]
    problems = [_problem(track, "its name is too long for a file's") for track in too_long]
    todo = {
        track: list(_jobs(source, track, methods, output, stems, version))
        for track in tracks
        if track not in too_long
    }
    pending: dict[concurrent.futures.Future, _Job] = {}
    total = sum(len(jobs) for jobs in todo.values())
    try:
        with (
            worker_pool(workers, use_one_thread) as pool,
            tqdm(total=total, desc="scoring", unit="score", disable=not total) as progress,
        ):

            def finish(at_most: int) -> None:
                while len(pending) > at_most:
                    done, _ = concurrent.futures.wait(pending, return_when="FIRST_COMPLETED")
                    for future in done:
                        document, job = future.result(), pending.pop(future)
                        document["jaxsep"]["scored"] = job.scored
                        job.path.parent.mkdir(parents=True, exist_ok=True)
                        write_json(job.path, document)
                        progress.update()

            for track, jobs in todo.items():
                if not jobs:
                    continue
                try:
                    recording = load(source, track, stems)
                except TrackError as error:
                    problems.append(_problem(track, error))
                    continue
                for job in jobs:
                    try:
                        estimates = job.method.separate(recording)
                    except ModelError as error:
                        problems.append(_problem(track, f"{job.method.name}: {error}"))
                        continue
                    arguments = (track.name, recording.stems, estimates, recording.sample_rate)
                    with ignored_interrupts():
                        pending[pool.submit(score_track, *arguments, version, stems)] = job
                    finish(at_most=workers)
            finish(at_most=0)
    except (BrokenProcessPool, MemoryError) as error:
        raise EvaluationError(
            "a worker process died, most likely for want of memory; use fewer --workers"
        ) from error
    return problems


def _problem(track: Track, reason: object) -> str:
    return f"{track.split}/{track.name}: {' '.join(str(reason).split())}"


def _jobs(
    source: Source,
    track: Track,
    methods: Sequence[Method],
    output: Path,
    stems: Sequence[str],
    version: str,
) -> Iterator[_Job]:
    """Yields what is still to be scored of a track.

    Raises:
      EvaluationError: a score is there, of something else.
    """
    root = source.root or Path()
    try:
        files = [f"{file} crc32c {_checksum(root / file)}" for file in track.files]
    except OSError:
        files = []  # when the track's turn comes, it is told
    for method in methods:
        path = output / method.name / track.split / f"{track.name}.json"
        named = [] if tuple(stems) == PAIR else [f"stems {','.join(stems)}"]
        scored = "; ".join([f"{version}, museval {MUSEVAL}", method.identity, *named, *files])
        if not path.exists():
            yield _Job(track, method, path, scored)
        elif read_score(path)["jaxsep"]["scored"] != scored:
            raise EvaluationError(
                f"{path} is a score of another model, song or version, or of other stems; delete"
                " it, or choose another output"
            )


def _checksum(path: Path) -> int:
    return google_crc32c.value(path.read_bytes())
