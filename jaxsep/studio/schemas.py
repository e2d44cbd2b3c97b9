"""What the API's requests and answers have in common."""

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Path, Request
from pydantic import BaseModel

from jaxsep.studio import tracks
from jaxsep.studio.jobs import Job, State
from jaxsep.studio.queue import Studio


class Offer(BaseModel):
    """What a studio offers and takes."""

    models: list[str]
    examples: list[str]
    formats: list[str]
    max_megabytes: float
    max_minutes: float


class Track(BaseModel):
    """A track of a song: `original` or a stem."""

    id: str
    stem: str
    model: str | None


class Status(BaseModel):
    """A song and how far it is. Lengths are in samples; the `ready` ones can be heard already.

    The tracks of its stems are there from then on when it begins to be separated.
    """

    id: str
    name: str
    state: State
    error: str
    models: list[str]
    tracks: list[Track]
    sample_rate: int
    channels: int
    ready: int
    num_samples: int
    tile_samples: int
    seconds_left: float | None
    hertz: tuple[float, float]
    decibels: tuple[float, float]


class Problem(BaseModel):
    """Why not."""

    detail: str


def describe(job: Job) -> Status:
    """Tells how far a song is."""
    fields = {name: getattr(job, name) for name in Status.model_fields if hasattr(job, name)}
    return Status(
        **fields,
        tracks=[_describe_track(job, name) for name in tracks.track_names(job)],
        hertz=tracks.picture_hertz(job),
        decibels=(tracks.QUIETEST_DB, tracks.LOUDEST_DB),
    )


def _describe_track(job: Job, name: str) -> Track:
    stem, number = tracks.split_name(name)
    return Track(id=name, stem=stem, model=None if number is None else job.models[number])


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describes answers other than the wanted one, for OpenAPI."""
    return {code: {"model": Problem} for code in codes}


async def _studio(request: Request) -> Studio:
    return request.app.state.studio


TheStudio = Annotated[Studio, Depends(_studio)]


async def _job(studio: TheStudio, id: Annotated[str, Path(description="Of a song.")]) -> Job:
    try:
        return studio.get(id)
    except KeyError:
        raise HTTPException(404, "no such song; it may have been removed") from None


TheJob = Annotated[Job, Depends(_job)]
