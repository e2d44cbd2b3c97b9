"""The studio's page and its HTTP API, which /api/openapi.json describes."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from jaxsep.studio import queue_api, results_api
from jaxsep.studio.guard import make_guard
from jaxsep.studio.queue import BusyError, Studio, UnknownModelError, why_not_written
from jaxsep.studio.schemas import problems
from jaxsep.studio.tracks import NotReadyError
from jaxsep.version import __version__

STATIC = Path(__file__).parent / "static"
CODES = {UnknownModelError: 404, BusyError: 503, NotReadyError: 409}


def make_app(studio: Studio, token: str | None = None) -> FastAPI:
    """Makes the application.

    Args:
      studio: Studio that does the work; it is closed with the application.
      token: Secret of `make_guard`.
    """

    @contextlib.asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            studio.close()

    app = FastAPI(
        title="jaxsep studio",
        version=__version__,
        description="Separates songs into stems: vocals and accompaniment, or what a model finds.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # it would load its program from elsewhere
        redoc_url=None,
        lifespan=closing,
        responses=problems(403),
    )
    app.state.studio = studio
    app.middleware("http")(make_guard(token))
    for kind in CODES:
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(OSError, _answer_full_disk)
    app.include_router(queue_api.router)
    app.include_router(results_api.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


async def _answer_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, CODES[type(error)])


async def _answer_full_disk(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    return JSONResponse({"detail": f"the song {why_not_written(error)}"}, 507)
