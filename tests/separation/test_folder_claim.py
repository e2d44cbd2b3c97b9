"""Calls that meet in a folder, and what others have left there."""

import os
import threading
from pathlib import Path

import pytest

from jaxsep.separation.folder_claim import OutputExistsError, begin, claim, clear_parts

STEMS = ("vocals", "accompaniment")


@pytest.fixture
def song(tmp_path) -> Path:
    (tmp_path / "song.wav").write_text("la la")
    return tmp_path / "song.wav"


def test_a_second_call_waits_until_the_first_has_said_whose_the_folder_is(song, tmp_path):
    folder = tmp_path / "out"
    with claim(song, folder, STEMS, overwrite=False) as record:
        late = threading.Timer(0.2, begin, (folder, record))
        late.start()
        with (
            pytest.raises(OutputExistsError, match="another call is making its stems"),
            claim(song, folder, STEMS, overwrite=False),
        ):
            pytest.fail("two calls are at work")
        late.join()


@pytest.mark.parametrize(
    ("error", "stays"), [(PermissionError, True), (ProcessLookupError, False), (None, True)]
)
def test_unfinished_files_of_living_processes_stay_whoever_runs_them(
    tmp_path, monkeypatch, error, stays
):
    def kill(process, number):
        assert (process, number) == (12345, 0)
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    part = tmp_path / ".vocals.wav.part-12345"
    for name in (part.name, f".vocals.wav.part-{os.getpid()}", "vocals.wav", "vocals.part-12345"):
        (tmp_path / name).touch()
    clear_parts(tmp_path)
    kept = {"vocals.wav", "vocals.part-12345", *([part.name] if stays else [])}
    assert {path.name for path in tmp_path.iterdir()} == kept
