"""The part of the API that takes songs and tells how far they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.sse import EventSourceResponse
from starlette.requests import ClientDisconnect

from jaxsep.studio.downloads import FORMATS
from jaxsep.studio.examples import EXAMPLES
from jaxsep.studio.models import MAX_MODELS
from jaxsep.studio.schemas import Offer, Status, TheJob, TheStudio, describe, problems

POLL_SECONDS = 0.2  # between looks for progress
# An upload that brings less than so many bytes in so many seconds gives up its place.
LEAST_BYTES, STALL_SECONDS = 1_000_000, 20
FILE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/api")
Models = Annotated[
    list[str], Query(max_length=MAX_MODELS, description="Names; by default the first model's.")
]


@router.get("/studio")
async def offer(studio: TheStudio) -> Offer:
    """Tells what there is to choose from."""
    return Offer(
        models=list(studio.separators),
        examples=list(EXAMPLES),
        formats=list(FORMATS),
        max_megabytes=studio.limits.megabytes,
        max_minutes=studio.limits.minutes,
    )


@router.post(
    "/jobs", status_code=201, responses=problems(400, 404, 408, 413, 503, 507), openapi_extra=FILE
)
async def submit(
    studio: TheStudio,
    request: Request,
    name: Annotated[str, Query(max_length=1000, description="Of the song's file.")],
    model: Models = [],  # noqa: B006 (FastAPI gives each request its own)
) -> Status:
    """Takes a song, the body of the request being the file, and puts it in the queue."""
    job = studio.create(name, model)
    most, size = studio.limits.megabytes * 1e6, 0
    try:
        with open(job.song, "wb") as file:
            async for piece in _pieces(request, job.name):
                size += len(piece)
                if size > most:
                    limit = f"{studio.limits.megabytes:g} MB"
                    raise HTTPException(413, f"{job.name}: larger than {limit}, the limit here")
                file.write(piece)
    except BaseException as error:
        with contextlib.suppress(KeyError):
            studio.remove(job.id)
        if isinstance(error, ClientDisconnect):  # as when the page is closed
            raise HTTPException(400, f"{job.name}: the upload broke off") from None
        raise
    studio.submit(job)
    return describe(job)


async def _pieces(request: Request, name: str) -> AsyncIterator[bytes]:
    """Yields an upload's pieces as they come.

    Raises:
      HTTPException: Too little comes.
    """
    pieces, clock = request.stream(), asyncio.get_running_loop().time
    begin, size = clock(), 0
    with contextlib.suppress(StopAsyncIteration):
        while True:
            try:
                async with asyncio.timeout_at(begin + STALL_SECONDS):
                    piece = await anext(pieces)
            except TimeoutError:
                least = f"{LEAST_BYTES / 1e6:g} MB in {STALL_SECONDS} seconds"
                raise HTTPException(408, f"{name}: too slow, less than {least}") from None
            yield piece
            size += len(piece)
            if size >= LEAST_BYTES:
                begin, size = clock(), 0


@router.post("/examples/{example}", status_code=201, responses=problems(404, 503, 507))
async def submit_example(
    studio: TheStudio,
    example: str,
    model: Models = [],  # noqa: B006
) -> Status:
    """Has the built-in band play a song, and puts it in the queue."""
    if example not in EXAMPLES:
        raise HTTPException(404, f"no such example; there is {', '.join(EXAMPLES)}")
    job = studio.create(example, model)
    studio.submit(job, example=example)
    return describe(job)


@router.get("/jobs/{id}", responses=problems(404))
async def status(job: TheJob) -> Status:
    """Tells how far a song is."""
    return describe(job)


@router.get("/jobs/{id}/events", response_class=EventSourceResponse, responses=problems(404))
async def events(job: TheJob) -> AsyncIterator[Status]:
    """Tells how far a song is whenever it gets further, until it is finished."""
    told = None
    while not job.cancelled.is_set():
        if (now := describe(job)) != told:
            told = now
            yield now
        if now.state in ("done", "failed"):
            return
        await asyncio.sleep(POLL_SECONDS)


@router.delete("/jobs/{id}", status_code=204, responses=problems(404))
async def remove(studio: TheStudio, job: TheJob) -> None:
    """Cancels a song, and removes it and its stems."""
    with contextlib.suppress(KeyError):
        studio.remove(job.id)
