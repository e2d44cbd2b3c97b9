"""Scores separators on songs whose true stems are known.

A score file, `OUTPUT/METHOD/SPLIT/TRACK.json`, is a document of museval's own schema (so that its
tools read it) with one more key, `jaxsep`: scores of the whole track, and what was scored. It is
written when it is complete; a track that has one isn't scored again.
"""

import concurrent.futures
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from data_prep.sources import Source, Track, TrackError
from jaxsep.files import read_json, write_json
from jaxsep.methods import Method, load
from jaxsep.scores import MUSEVAL, score_track, use_one_thread
from jaxsep.workers import ignored_interrupts, worker_pool


class EvaluationError(Exception):
    """There is nothing to score, or no place for it; the message says why and what to do."""


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
    version: str,
    workers: int,
) -> list[str]:
    """Scores all methods on all tracks and writes a file for each pair, where there is none.

    Songs are separated here, one after another, and scored in worker processes.

    Args:
      source: of the tracks.
      tracks: of one split.
      methods: to score.
      output: folder of the scores; see the module.
      version: of BSS Eval, as in `scores.score_track`.
      workers: processes. Each needs some 1 GB for every minute of stereo.

    Returns:
      A line for each track that can't be used.

    Raises:
      EvaluationError: `output` holds scores of something else, or a worker died.
      OSError: a score can't be written.
    """
    todo = {
        track: missing
        for track in tracks
        if (missing := [m for m in methods if not _is_done(output, source, track, m, version)])
    }
    problems: list[str] = []
    total = sum(len(missing) for missing in todo.values())
    try:
        with (
            worker_pool(workers, use_one_thread) as pool,
            tqdm(total=total, desc="scoring", unit="score", disable=not total) as progress,
        ):
            pending: dict[concurrent.futures.Future, tuple[Path, str]] = {}

            def finish(at_most: int) -> None:
                while len(pending) > at_most:
                    done, _ = concurrent.futures.wait(pending, return_when="FIRST_COMPLETED")
                    for future in done:
                        path, scored = pending.pop(future)
                        document = future.result()
                        document["jaxsep"]["scored"] = scored
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_json(path, document)
                        progress.update()

            for track, missing in todo.items():
                try:
                    recording = load(source, track)
                except TrackError as error:
                    problems.append(f"{track.split}/{track.name}: {' '.join(str(error).split())}")
                    continue
                for method in missing:
                    estimates = method.separate(recording)
                    stems, rate = recording.stems, recording.sample_rate
                    with ignored_interrupts():
                        job = (track.name, stems, estimates, rate, version)
                        future = pool.submit(score_track, *job)
                    scored = _identity(source, track, method, version)
                    pending[future] = (_path(output, method, track), scored)
                    finish(at_most=workers)
            finish(at_most=0)
    except BrokenProcessPool as error:
        raise EvaluationError(
            "a worker process died, most likely for want of memory; use fewer --workers"
        ) from error
    return problems


def _path(output: Path, method: Method, track: Track) -> Path:
    return output / method.name / track.split / f"{track.name}.json"


def _identity(source: Source, track: Track, method: Method, version: str) -> str:
    """Describes what a score is of, so that one of something else isn't taken for it."""
    root = source.root or Path()
    files = [f"{file} ({(root / file).stat().st_size} bytes)" for file in track.files]
    return "; ".join([f"{version}, museval {MUSEVAL}", method.identity, *files])


def _is_done(output: Path, source: Source, track: Track, method: Method, version: str) -> bool:
    path = _path(output, method, track)
    if not path.exists():
        return False
    scored = read_json(path).get("jaxsep", {}).get("scored")
    if scored != (wanted := _identity(source, track, method, version)):
        raise EvaluationError(
            f"{path} is a score of something else ({scored}, not {wanted}); choose another output"
        )
    return True
