"""The studio's API, without a browser."""

import asyncio
import errno
import io
import json
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi", reason="needs jaxsep[studio]")
pytest.importorskip("httpx2", reason="needs httpx2")

from fastapi.testclient import TestClient

from jaxsep.audio.reader import AudioReader
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import separate_file
from jaxsep.studio.app import make_app
from jaxsep.studio.jobs import Job
from jaxsep.studio.models import Models
from jaxsep.studio.queue import BusyError, Limits, Studio, UnknownModelError
from jaxsep.studio.separation import tile_length
from tests.helpers import tiny_model

HERE = "http://127.0.0.1"


def song_bytes(seconds: float = 12.0, rate: int = 8000, channels: int = 2, **options) -> bytes:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (int(seconds * rate), channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "wav", **options})
    return file.getvalue()


def song_that_claims(size: int, seconds: float) -> bytes:
    """Returns a WAV file whose header claims another size of its samples, in bytes."""
    data = bytearray(song_bytes(seconds))
    start = data.index(b"data")
    data[start + 4 : start + 8] = size.to_bytes(4, "little")
    return bytes(data)


@pytest.fixture(scope="module")
def separator(tiny_workdir) -> Separator:
    return Separator.restore(tiny_workdir)


@pytest.fixture
def studio(separator, tmp_path) -> Studio:
    limits = Limits(megabytes=2, minutes=0.5, songs=3)
    return Studio({"a": separator, "b": separator}, tmp_path, limits)


@pytest.fixture
def client(studio):
    with TestClient(make_app(studio), base_url=HERE) as client:
        yield client


def submit(client: TestClient, data: bytes, name: str = "song.wav", **query) -> dict:
    answer = client.post("/api/jobs", params={"name": name, **query}, content=data)
    assert answer.status_code == 201, answer.text
    return answer.json()


def wait(client: TestClient, job: dict) -> dict:
    """Follows a song's events to the last one."""
    lines = client.get(f"/api/jobs/{job['id']}/events").text.splitlines()
    return json.loads([line for line in lines if line.startswith("data:")][-1][5:])


def read_track(client: TestClient, job: dict, track: str) -> np.ndarray:
    pieces = []
    for start in range(0, job["num_samples"], 30_000):
        url = f"/api/jobs/{job['id']}/tracks/{track}/samples?start={start}&count=30000"
        pieces.append(np.frombuffer(client.get(url).content, "<f4").reshape(job["channels"], -1))
    return np.concatenate(pieces, axis=1).T


def test_a_song_is_separated_as_the_command_does_it(client, separator, tmp_path):
    data = song_bytes()
    job = wait(client, submit(client, data))
    assert (job["state"], job["ready"], job["num_samples"]) == ("done", 96_000, 96_000)
    (tmp_path / "song.wav").write_bytes(data)
    for audio_format in ("wav", "flac", "mp3"):
        separate_file(separator, tmp_path / "song.wav", tmp_path, audio_format=audio_format)
        for stem in ("vocals", "accompaniment"):
            url = f"/api/jobs/{job['id']}/stems/{stem}-0?format={audio_format}"
            got, _ = soundfile.read(io.BytesIO(client.get(url).content))
            wanted, _ = soundfile.read(tmp_path / f"{stem}.{audio_format}")
            np.testing.assert_array_equal(got, wanted)


def test_the_tracks_of_the_player_add_up(client):
    job = wait(client, submit(client, song_bytes(), model=["a", "b"]))
    names = [track["id"] for track in job["tracks"]]
    assert names == ["original", "vocals-0", "accompaniment-0", "vocals-1", "accompaniment-1"]
    tracks = {name: read_track(client, job, name) for name in names}
    total = tracks["vocals-0"] + tracks["accompaniment-0"]
    np.testing.assert_allclose(total, tracks["original"], atol=1e-6)
    np.testing.assert_array_equal(tracks["vocals-0"], tracks["vocals-1"])


FOUR = ("vocals", "drums", "bass", "other")


@pytest.mark.parametrize(
    ("masker", "targets", "stems"),
    [
        ("mlp", ("drums",), ("drums", "accompaniment")),
        ("mlp", FOUR, (*FOUR, "residual")),
        ("tiny_complex", ("lead-vocals", "original"), ("lead-vocals", "original", "residual")),
    ],
)
def test_each_stem_of_a_model_is_a_track_as_the_command_writes_it(tmp_path, masker, targets, stems):
    path = str(tiny_model(tmp_path / "model", targets, masker))
    (tmp_path / "songs").mkdir()
    with TestClient(
        make_app(Studio(Models({"m": path}), tmp_path / "songs")), base_url=HERE
    ) as client:
        data = song_bytes(6)
        job = wait(client, submit(client, data))
        assert [track["id"] for track in job["tracks"]] == ["original", *(f"{s}-0" for s in stems)]
        assert [track["stem"] for track in job["tracks"]] == ["original", *stems]
        tracks = {track["id"]: read_track(client, job, track["id"]) for track in job["tracks"]}
        total = sum(tracks[f"{stem}-0"] for stem in stems)
        np.testing.assert_allclose(total, tracks["original"], atol=1e-5)
        (tmp_path / "song.wav").write_bytes(data)
        separator = Separator.restore(path, stems=stems)
        separate_file(separator, tmp_path / "song.wav", tmp_path / "out")
        archive = client.get(f"/api/jobs/{job['id']}/stems.zip").content
        names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
        assert names == [f"m/{stem}.wav" for stem in stems]
        for stem in stems:
            answer = client.get(f"/api/jobs/{job['id']}/stems/{stem}-0")
            got, _ = soundfile.read(io.BytesIO(answer.content))
            wanted, _ = soundfile.read(tmp_path / "out" / f"{stem}.wav")
            np.testing.assert_array_equal(got, wanted)
            # But for samples that 16 bits can't hold, and what they leave to the others.
            assert np.median(np.abs(got - tracks[f"{stem}-0"])) < 1e-4
            for kind in ("spectrogram", "mask"):
                picture = client.get(f"/api/jobs/{job['id']}/tracks/{stem}-0/{kind}/0").content
                assert picture.startswith(b"\x89PNG")


def test_the_zip_has_a_folder_for_each_model(client):
    job = wait(client, submit(client, song_bytes(1), model=["a", "b"]))
    data = client.get(f"/api/jobs/{job['id']}/stems.zip?format=flac").content
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == [
        "a/vocals.flac", "a/accompaniment.flac", "b/vocals.flac", "b/accompaniment.flac"
    ]  # fmt: skip


def test_pictures_and_peaks_come_for_each_tile_and_no_more(client):
    job = wait(client, submit(client, song_bytes(12)))
    base = f"/api/jobs/{job['id']}/tracks"
    assert job["tile_samples"] == 40_000
    peaks = [client.get(f"{base}/original/peaks/{tile}").json() for tile in range(3)]
    assert list(map(len, peaks)) == [120, 120, 48]
    assert all(0.4 < peak <= 0.5 for tile in peaks for peak in tile)
    for kind in ("original/spectrogram", "vocals-0/spectrogram", "vocals-0/mask"):
        assert client.get(f"{base}/{kind}/2").content.startswith(b"\x89PNG")
        assert client.get(f"{base}/{kind}/3").status_code == 409


def test_parts_to_be_drawn_are_neither_tiny_nor_large():
    minute = 60 * 8000
    lengths = {0: 80_000, minute // 6: 40_000, 4 * minute: 80_000, 24 * minute: minute}
    assert {samples: tile_length(samples, 8000, 2) for samples in lengths} == lengths
    assert tile_length(180 * minute, 8000, 2) == minute
    assert tile_length(20 * 60 * 48_000, 48_000, 16) == 2**19


def test_the_band_plays_the_examples(client, monkeypatch):
    monkeypatch.setattr("jaxsep.studio.examples.SECONDS", 2.0)
    example = client.get("/api/studio").json()["examples"][0]
    job = wait(client, client.post(f"/api/examples/{example}").json())
    assert (job["state"], job["num_samples"]) == ("done", 88_200)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"lyrics", "lyrics.mp3: not an audio file"),
        (b"", "lyrics.mp3: the file is empty"),
        (song_bytes(31), "lyrics.mp3: longer than 0.5 minutes (0.5)"),
        (song_that_claims(100, 31), "lyrics.mp3: longer than 0.5 minutes"),
        (song_that_claims(0, 31), "lyrics.mp3: longer than 0.5 minutes"),
        (song_bytes(1, channels=100), "lyrics.mp3: has 100 channels"),
    ],
)
def test_a_song_that_cannot_be_used_says_why_and_the_next_one_has_its_turn(client, data, words):
    bad, good = submit(client, data, "lyrics.mp3"), submit(client, song_bytes(1))
    bad = wait(client, bad)
    assert bad["state"] == "failed" and bad["error"].startswith(words)
    assert client.get(f"/api/jobs/{bad['id']}/stems.zip").status_code == 409
    assert wait(client, good)["state"] == "done"


def test_a_large_upload_is_refused_and_leaves_nothing(client, tmp_path):
    answer = client.post("/api/jobs?name=big.wav", content=b"x" * 2_000_001)
    assert answer.status_code == 413 and "2 MB" in answer.json()["detail"]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_leaves_the_studio_working(client, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "song", Path("/dev/full"))
        answer = client.post("/api/jobs?name=song.wav", content=b"x" * 100_000)
    assert answer.status_code == 507 and "No space left on device" in answer.json()["detail"]
    assert not list(tmp_path.iterdir())
    assert wait(client, submit(client, song_bytes(1)))["state"] == "done"


def test_a_disk_that_is_full_before_the_end_fails_the_song_alone(client, monkeypatch, tmp_path):
    def write_nothing(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jaxsep.studio.queue.separate", write_nothing)
        failed = wait(client, submit(client, song_bytes(1)))
    assert failed["error"].startswith("song.wav: can't be written (No space left on device)")
    assert not list(tmp_path.iterdir())
    job = wait(client, submit(client, song_bytes(1)))
    with monkeypatch.context() as patch:
        patch.setattr("jaxsep.studio.downloads.write_stems", write_nothing)
        assert client.get(f"/api/jobs/{job['id']}/stems.zip").status_code == 507
    assert client.get(f"/api/jobs/{job['id']}/stems.zip").status_code == 200


def test_an_upload_that_breaks_off_leaves_nothing_and_no_traceback(studio, tmp_path):
    parts = iter([
        {"type": "http.request", "body": b"RIFF", "more_body": True},
        {"type": "http.disconnect"},
    ])  # fmt: skip
    sent = []

    async def receive() -> dict:
        return next(parts)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/jobs",
        "query_string": b"name=song.wav",
        "headers": [(b"host", b"127.0.0.1")],
    }
    asyncio.run(make_app(studio)(scope, receive, send))
    assert sent[0]["status"] == 400
    assert not list(tmp_path.iterdir())


def test_a_format_that_cannot_hold_the_song_is_told_without_paths(client):
    job = wait(client, submit(client, song_bytes(1, channels=3), "three.wav"))
    answer = client.get(f"/api/jobs/{job['id']}/stems.zip?format=mp3")
    words = "three.wav: mp3 can't hold 3 channels of 8000 Hz; use the format wav"
    assert (answer.status_code, answer.json()["detail"]) == (400, words)


def test_what_is_removed_is_gone_even_while_it_is_separated(client, tmp_path):
    jobs = [submit(client, song_bytes(29)) for _ in range(2)]
    for job in jobs:
        assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
        assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert wait(client, submit(client, song_bytes(1)))["state"] == "done"
    assert len(list(tmp_path.iterdir())) == 1


def test_finished_songs_give_way_and_unfinished_ones_do_not(studio):
    old, new, third = (studio.create("song", []) for _ in range(3))
    with pytest.raises(BusyError, match="3 songs"):
        studio.create("song", [])
    old.state = new.state = "done"
    studio.get(old.id)
    studio.create("song", [])
    assert studio.get(old.id) and studio.get(third.id)
    with pytest.raises(KeyError):
        studio.get(new.id)


def test_a_song_that_is_removed_is_not_separated_to_its_end(separator, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxsep.studio.separation.AudioReader", Claim)
    studio = Studio({"a": separator}, tmp_path, Limits(minutes=60))
    job = studio.create("endless", [])
    studio.submit(job)
    while not job.ready:
        time.sleep(0.01)
    studio.remove(job.id)
    studio.close()  # returns when nothing is at work any more
    assert job.ready < 30 * 60 * 8000


def test_closing_leaves_no_files_and_no_thread_at_work(studio, separator, tmp_path):
    job = studio.create("song", ["b"])
    job.song.write_bytes(song_bytes(29))
    studio.submit(job)
    while job.state == "waiting":
        time.sleep(0.01)
    studio.close()
    assert job.is_finished and not list(tmp_path.iterdir())


def test_unknown_models_are_refused(studio):
    with pytest.raises(UnknownModelError, match="no model 'c'; there is a, b"):
        studio.create("song", ["a", "c"])


def wav_bytes(rate: int, channels: int, frames: int) -> bytes:
    """A silent 16-bit file, of whatever format, which no library would write."""
    data = bytes(2 * channels * frames)
    byte_rate, align = rate * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, byte_rate, align, 16)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form
    return head + b"data" + struct.pack("<I", len(data)) + data


@pytest.mark.parametrize(
    ("rate", "channels", "frames"),
    [
        (1, 1, 20),
        (1, 1, 2000),
        (10, 1, 70_000),
        (3999, 1, 4000),
        (384_001, 1, 4000),
        (2**31 - 1, 1, 70_000),
        (44_100, 17, 200),
        (44_100, 256, 200),
        (44_100, 1024, 200),
        (96_000, 9, 200),
    ],
)
def test_a_format_that_would_take_all_memory_is_refused_at_once(client, rate, channels, frames):
    job = wait(client, submit(client, wav_bytes(rate, channels, frames), "bomb.wav"))
    assert job["state"] == "failed" and job["error"].startswith("bomb.wav: ")
    assert "\n" not in job["error"] and job["ready"] == 0


@pytest.mark.parametrize(("rate", "channels"), [(4000, 1), (384_000, 2), (8000, 16)])
def test_unusual_formats_are_separated(client, rate, channels):
    job = wait(client, submit(client, song_bytes(0.1, rate, channels)))
    assert (job["state"], job["ready"], job["error"]) == ("done", rate // 10, "")
    peaks = client.get(f"/api/jobs/{job['id']}/tracks/vocals-0/peaks/0")
    assert peaks.status_code == 200


class Claim(AudioReader):
    """A song without end, of a file whose header says that it has a second."""

    def __init__(self, path):
        self.path, self.sample_rate, self.channels, self.num_samples = path, 8000, 1, 8000

    def __exit__(self, *_):
        pass

    def blocks(self, block_size):
        while True:
            yield np.zeros((block_size, 1))


def test_a_header_that_claims_too_little_does_not_get_round_the_limit(client, monkeypatch):
    monkeypatch.setattr("jaxsep.studio.separation.AudioReader", Claim)
    job = wait(client, submit(client, b"claim", "claim.wav"))
    assert (job["state"], job["ready"]) == ("failed", 0)
    assert job["error"].startswith("claim.wav: longer than 0.5 minutes")
    assert job["num_samples"] < 60 * 8000


@pytest.mark.parametrize("claimed", [0, 1, 16_000])
def test_a_wav_header_that_claims_too_little_does_not_get_round_the_limit(client, claimed):
    data = bytearray(song_bytes(31, channels=1))
    position = data.index(b"data") + 4
    data[position : position + 4] = claimed.to_bytes(4, "little")
    data[4:8] = (claimed + 36).to_bytes(4, "little")
    job = wait(client, submit(client, bytes(data)))
    assert job["state"] == "failed" or job["ready"] <= claimed // 2


def test_of_many_channels_fewer_samples_come_at_a_time(client):
    job = wait(client, submit(client, song_bytes(1, channels=16)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxsep.studio.results_api.MOST_SAMPLES", 16)
        url = f"/api/jobs/{job['id']}/tracks/original/samples?start=0&count=16"
        assert len(client.get(url).content) == 4 * 2 * 16
