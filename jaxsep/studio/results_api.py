"""The part of the API that sends what has become of a song."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from jaxsep.audio.reader import AudioError
from jaxsep.audio.writer import WriteError
from jaxsep.studio import downloads, tracks
from jaxsep.studio.jobs import Job
from jaxsep.studio.schemas import TheJob, problems
from jaxsep.studio.tracks import NotReadyError

MOST_SAMPLES = 2**20  # in one answer, and of all channels together twice as many
TRACK = "/tracks/{track}"

Format = Literal["wav", "flac", "mp3"]
Tile = Annotated[int, InPath(ge=0, le=100_000, description="Its number.")]

router = APIRouter(prefix="/api/jobs/{id}")
# Does what takes long: the separation needs the processor as well, and samples are never late. One
# thread, as each keeps some of the memory that it once had.
_slow = ThreadPoolExecutor(1, "pictures")
T = TypeVar("T")


async def _in_turn(work: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(_slow, work, *arguments)


@contextlib.contextmanager
def _files_of(job: Job, track: str = "original") -> Iterator[None]:
    """Answers 404 if the track isn't one or the song is removed meanwhile, and tells why a stem
    can't be written."""
    names = tracks.track_names(job)
    if track not in names:
        raise HTTPException(404, f"no such track; there is {', '.join(names)}")
    try:
        yield
    except FileNotFoundError:
        raise HTTPException(404, "no such song; it may have been removed") from None
    except AudioError as error:
        code = 507 if isinstance(error, WriteError) else 400
        raise HTTPException(code, job.tell(error).replace("--format=", "the format ")) from None


def _sends(media_type: str, *codes: int) -> dict[str, Any]:
    sent = {200: {"content": {media_type: {"schema": {"type": "string"}}}}}
    return {"response_class": Response, "responses": {**sent, **problems(*codes)}}


def _image(png: bytes) -> Response:
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get(f"{TRACK}/samples", **_sends("application/octet-stream", 404))
def samples(
    job: TheJob,
    track: str,
    start: Annotated[int, Query(ge=0, le=2**40)],
    count: Annotated[int, Query(ge=1, le=MOST_SAMPLES)],
) -> Response:
    """Sends samples: float32, little-endian, one channel after the other.

    Fewer come where they aren't separated yet, behind the end, and of many channels.
    """
    count = min(count, 2 * MOST_SAMPLES // max(1, job.channels))
    with _files_of(job, track):
        part = tracks.read_samples(job, track, start, count)
    return Response(part.T.tobytes(), media_type="application/octet-stream")


@router.get(f"{TRACK}/peaks/{{tile}}", responses=problems(404, 409))
def peaks(job: TheJob, track: str, tile: Tile) -> list[float]:
    """Sends the greatest absolute samples of equal parts of a tile."""
    with _files_of(job, track):
        return tracks.peaks(job, track, tile)


@router.get(f"{TRACK}/spectrogram/{{tile}}", **_sends("image/png", 404, 409))
async def spectrogram(job: TheJob, track: str, tile: Tile) -> Response:
    """Draws a tile of a track."""
    with _files_of(job, track):
        return _image(await _in_turn(tracks.spectrogram, job, track, tile))


@router.get(f"{TRACK}/mask/{{tile}}", **_sends("image/png", 404, 409))
async def mask(job: TheJob, track: str, tile: Tile) -> Response:
    """Draws how much of the original is in a tile of a track."""
    with _files_of(job, track):
        return _image(await _in_turn(tracks.mask, job, track, tile))


@router.get("/stems/{track}", **_sends("application/octet-stream", 400, 404, 409, 507))
async def stem(job: TheJob, track: str, format: Format = "wav") -> FileResponse:
    """Sends a stem as a file, as `jaxsep separate` would write it."""
    with _files_of(job, track):
        stem, number = tracks.split_name(track)
        if number is None:
            raise HTTPException(404, "the original isn't a stem")
        _check_done(job)
        path = (await _in_turn(downloads.write_stems, job, number, format))[stem]
    model = f" ({job.models[number]})" if len(job.models) > 1 else ""
    name = f"{Path(job.name).stem} - {stem}{model}.{format}"
    return FileResponse(path, filename=name, media_type="application/octet-stream")


@router.get("/stems.zip", **_sends("application/zip", 400, 404, 409, 507))
async def stems(job: TheJob, format: Format = "wav") -> FileResponse:
    """Sends all stems in a zip file, a folder for each model."""
    with _files_of(job):
        _check_done(job)
        path = await _in_turn(downloads.write_zip, job, format)
    return FileResponse(path, filename=f"{Path(job.name).stem} - stems.zip")


def _check_done(job: Job) -> None:
    if job.state != "done":
        raise NotReadyError(f"{job.name}: isn't separated yet")
