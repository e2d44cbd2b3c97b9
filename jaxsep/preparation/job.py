"""What a preparation is to make, and whether a folder is free for it or holds a part of it."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from jaxsep.collections.source import PreparationError, Source, Track
from jaxsep.data import records
from jaxsep.files import read_json, write_json
from jaxsep.preparation.examples import Settings


def describe_job(source: Source, settings: Settings, tracks: list[Track]) -> dict[str, Any]:
    """Describes what is to be made; equal descriptions make equal data sets."""
    root = source.root or Path()
    files = [
        [
            track.name,
            track.split,
            track.seconds,
            [[file, _size(root / file)] for file in track.files],
        ]
        for track in tracks
    ]
    return {
        "format_version": records.FORMAT_VERSION,
        "name": source.name,
        "licence": source.licence,
        "settings": json.loads(
            json.dumps({**dataclasses.asdict(settings), "rests": settings.rests})
        ),
        "tracks_sha256": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
    }


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0  # what is none is said by its track


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Says in one line where two job descriptions differ; empty if nowhere."""

    def flatten(job):
        # What there was before these were stated.
        before = {"representation": records.MAGNITUDE, "rests": [], "padding": "zeros"}
        before["length_tolerance"] = 0
        settings = {**before, **job["settings"], **job["settings"]["stft"], "stft": None}
        return {key: job[key] for key in ("format_version", "name", "licence")} | settings

    old, new = flatten(there), flatten(wanted)
    parts = [f"{key} {old.get(key)}, not {new[key]}" for key in new if old.get(key) != new[key]]
    if not parts and there["tracks_sha256"] != wanted["tracks_sha256"]:
        parts = ["its tracks, or their lengths or sizes, differ"]
    return "; ".join(parts)


def claim_folder(output: Path, job: dict[str, Any]) -> bool:
    """Tells whether a folder holds the finished data set, or makes it ready for the work.

    Raises:
      PreparationError: if the folder holds anything else.
    """
    job_file = output / records.UNFINISHED / "job.json"
    if (output / records.MANIFEST).exists():
        if difference := _differences(records.load_dataset(output).manifest, job):
            raise PreparationError(
                f"{output} already holds another data set ({difference}); choose another --output"
            )
        return True
    if job_file.exists():
        if difference := _differences(read_json(job_file), job):
            raise PreparationError(
                f"{output} holds an unfinished data set of another kind ({difference}); delete it"
                " or choose another --output"
            )
        return False
    if output.exists() and any(path.name != records.UNFINISHED for path in output.iterdir()):
        raise PreparationError(
            f"{output} holds other files and no data set; choose another --output"
        )
    job_file.parent.mkdir(parents=True, exist_ok=True)
    write_json(job_file, job)
    return False
