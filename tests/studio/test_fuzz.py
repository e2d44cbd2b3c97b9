"""The studio's API against its own description, with requests that nobody would send."""

import contextlib
import io

import numpy as np
import pytest
import soundfile

from jaxsep.separation.separator import Separator

pytest.importorskip("fastapi", reason="needs jaxsep[studio]")
pytest.importorskip("httpx2", reason="needs httpx2")
pytest.importorskip("schemathesis", reason="needs schemathesis")

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import negative_data_rejection

from jaxsep.studio.app import make_app
from jaxsep.studio.jobs import Job
from jaxsep.studio.queue import Limits, Studio

pytestmark = pytest.mark.slow

quickly = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
HERE = {"Host": "127.0.0.1"}


@pytest.fixture
def studio(tiny_workdir, tmp_path):
    separators = {"model": Separator.restore(tiny_workdir)}
    studio = Studio(separators, tmp_path, Limits(songs=100))
    yield studio
    studio.close()


@pytest.fixture
def song(studio) -> Job:
    """A song that is there to be asked for."""
    file = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, 2))
    soundfile.write(file, samples, 8000, format="wav")
    job = studio.create("song.wav", [])
    job.song.write_bytes(file.getvalue())
    studio.submit(job)
    return job


@pytest.fixture
def description(studio):
    return schemathesis.openapi.from_asgi("/api/openapi.json", make_app(studio), headers=HERE)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_one_that_the_description_tells(description, song, mode):
    def check(case: schemathesis.Case) -> None:
        if "id" in case.path_parameters and case.method != "DELETE":
            case.path_parameters["id"] = song.id
        if len(case.path_parameters.get("track", "")) % 2:
            case.path_parameters["track"] = "vocals-0"
        # A body of bytes can't be of a wrong type.
        is_bytes = case.media_type == "application/octet-stream"
        excluded = [negative_data_rejection] if is_bytes else []
        case.call_and_validate(headers=HERE, excluded_checks=excluded)

    operations = [result.ok() for result in description.get_all_operations()]
    assert operations
    for operation in operations:
        cases = operation.as_strategy(generation_mode=mode)
        with contextlib.suppress(Unsatisfiable):  # not every request can be wrong
            quickly(given(case=cases)(check))()
