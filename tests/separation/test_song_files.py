"""Songs become stems on the disk, and never another song's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from jaxsep import models
from jaxsep.files import sha256_of
from jaxsep.models.files import ModelError
from jaxsep.separation import song_files
from jaxsep.separation.folder_claim import FolderTakenError, OutputExistsError, claim
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import separate_file
from jaxsep.separation.song_record import NAME
from tests.helpers import TINY_STFT


@pytest.fixture(scope="module")
def separator() -> Separator:
    return make(0)


def make(seed: int, **fields) -> Separator:
    masker = models.create("lstm", TINY_STFT, hidden_size=8)
    return Separator(masker, models.init(masker, jax.random.key(seed)), **fields)


def write_song(path: Path, seed: int = 0, samples: int = 1000) -> Path:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, 2))
    soundfile.write(path, noise, 8000)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_record_names_the_song_the_model_and_the_stems(separator, tmp_path):
    song = write_song(tmp_path / "song.wav")
    separate_file(separator, song, tmp_path / "out")
    record = json.loads((tmp_path / "out" / NAME).read_text(encoding="utf-8"))
    assert record["source"] == {"name": "song.wav", "sha256": sha256_of(song)}
    (run,) = record["runs"]
    assert run["model"] == separator.digest and run["seconds"] == 0.125
    assert run["stems"] == {
        f"{stem}.wav": sha256_of(tmp_path / "out" / f"{stem}.wav") for stem in separator.stems
    }


@pytest.mark.parametrize("damage", ["missing", "altered", "swapped", "empty"])
def test_resume_makes_missing_and_altered_stems_again(separator, tmp_path, damage):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    separate_file(separator, song, out)
    before = contents(out)
    stem = out / "accompaniment.wav"
    if damage == "missing":
        stem.unlink()
    elif damage == "swapped":
        stem.write_bytes((out / "vocals.wav").read_bytes())
    else:
        stem.write_bytes(b"" if damage == "empty" else before[stem.name][:-1] + b"\1")
    separate_file(separator, song, out, resume=True)
    assert contents(out) == before


def test_resume_makes_stems_of_another_model_and_other_options_again(separator, tmp_path):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    separate_file(separator, song, out)
    first = contents(out)
    separate_file(make(1), song, out, resume=True)
    assert contents(out)["vocals.wav"] != first["vocals.wav"]
    separate_file(separator, song, out, resume=True, bit_depth="24")
    assert soundfile.info(out / "vocals.wav").subtype == "PCM_24"
    separate_file(separator, song, out, resume=True)
    assert contents(out)["vocals.wav"] == first["vocals.wav"]


def test_formats_lie_side_by_side(separator, tmp_path):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    separate_file(separator, song, out)
    separate_file(separator, song, out, audio_format="flac")
    before = contents(out)
    for name in ("wav", "flac"):
        separate_file(separator, song, out, audio_format=name, resume=True)
    assert contents(out) == before and len(before) == 5


@pytest.mark.parametrize("resume", [False, True])
def test_another_songs_folder_is_refused(separator, tmp_path, resume):
    out = tmp_path / "out"
    separate_file(separator, write_song(tmp_path / "a.wav", 1), out)
    before, other = contents(out), write_song(tmp_path / "b.wav", 2)
    with pytest.raises(FolderTakenError, match="--overwrite"):
        separate_file(separator, other, out, resume=resume)
    assert contents(out) == before
    separate_file(separator, other, out, overwrite=True)
    assert json.loads(contents(out)[NAME])["source"]["name"] == "b.wav"


@pytest.mark.parametrize("link", ["", "symbolic", "hard"])
def test_a_song_is_not_replaced_by_its_own_vocals(separator, tmp_path, link):
    song = write_song(tmp_path / "vocals.wav")
    before = song.read_bytes()
    if link == "symbolic":
        (tmp_path / "link.wav").symlink_to(song)
    elif link:
        os.link(song, tmp_path / "link.wav")
    path = tmp_path / "link.wav" if link else song
    with pytest.raises(OutputExistsError, match="the song itself"):
        separate_file(separator, path, tmp_path, overwrite=True)
    assert song.read_bytes() == before


def test_a_stem_that_is_a_link_is_replaced_and_not_followed(separator, tmp_path):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    elsewhere = tmp_path / "mine.wav"
    elsewhere.write_text("mine", encoding="utf-8")
    out.mkdir()
    (out / "vocals.wav").symlink_to(elsewhere)
    separate_file(separator, song, out, overwrite=True)
    assert elsewhere.read_text(encoding="utf-8") == "mine"
    assert not (out / "vocals.wav").is_symlink()


def test_what_a_crash_left_is_cleared_and_what_lives_stays(separator, tmp_path):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    out.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = [out / f".vocals.wav.part-{ended.pid}", out / f".part-{ended.pid}"]
    living = out / f".vocals.wav.part-{os.getppid()}"
    for path in (*dead, living):
        path.write_text("half", encoding="utf-8")
    separate_file(separator, song, out)
    assert not any(path.exists() for path in dead) and living.exists()


def test_a_failure_leaves_nothing_behind(separator, tmp_path, monkeypatch):
    song, out = write_song(tmp_path / "song.wav", samples=200_000), tmp_path / "out"

    def fail(*_):
        assert len(list((out / "song").glob(f".*.part-{os.getpid()}"))) == len(separator.stems)
        raise KeyboardInterrupt

    monkeypatch.setattr(song_files, "sha256_of", fail)
    with pytest.raises(KeyboardInterrupt):
        separate_file(separator, song, out / "song")
    assert not out.exists()


def test_a_failure_leaves_what_was_there(separator, tmp_path, monkeypatch):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    separate_file(separator, song, out)
    before = contents(out)
    monkeypatch.setattr(song_files, "make_stems", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        separate_file(separator, song, out, overwrite=True)
    assert contents(out) == before


def test_stems_are_stored_before_they_get_their_names(separator, tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def log_fsync(file):
        events.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{file}"))))
        fsync(file)

    def log_replace(source, target):
        events.append(("name", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "replace", log_replace)
    song = write_song(tmp_path / "song.wav")
    separate_file(separator, song, tmp_path / "out")
    named = min(events.index(("name", f"{stem}.wav")) for stem in separator.stems)
    stored = {file for kind, file in events[:named] if kind == "sync"}
    # The record, before and after the work, and all stems.
    assert len([file for file in stored if file.endswith(f".part-{os.getpid()}")]) == 4
    assert events[-1] == ("sync", "out")


def test_a_song_that_another_call_separates_is_refused(separator, tmp_path):
    song, out = write_song(tmp_path / "song.wav"), tmp_path / "out"
    with claim(song, out, separator.stems, overwrite=False) as record:
        record.write(out)
        with pytest.raises(OutputExistsError, match="another call") as refused:
            separate_file(separator, song, out, overwrite=True)
        assert not isinstance(refused.value, FolderTakenError)
        with pytest.raises(FolderTakenError):
            separate_file(separator, write_song(tmp_path / "b.wav", 1), out, overwrite=True)
    separate_file(separator, song, out)


def test_a_model_that_answers_nan_is_named(tmp_path):
    separator = make(0)
    head = separator._variables["params"]["mask"]["dense"]
    head["bias"] = np.full_like(head["bias"], np.nan)
    with pytest.raises(ModelError, match=r"vocals are NaN.*--model"):
        separate_file(separator, write_song(tmp_path / "song.wav"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
