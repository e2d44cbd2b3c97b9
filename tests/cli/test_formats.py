"""Every format through the command: what it can hold is written, what it can't is refused first."""

import av
import numpy as np
import pytest
import soundfile

from jaxsep.audio.reader import AudioReader
from jaxsep.cli.main import main
from tests.helpers import encode, read_all, tones

pytestmark = pytest.mark.slow

STEMS = ("vocals", "accompaniment")


@pytest.fixture
def separate(tiny_workdir, tmp_path):
    def run(*args) -> int:
        options = (f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}")
        return main(["separate", *map(str, args), *options])

    return run


def write_song(path, layout: str = "stereo", rate: int = 44_100):
    wave = tones([300] * av.AudioLayout(layout).nb_channels, 0.5, rate)
    encode(path, wave, codec="pcm_f32le", rate=rate, layout=layout)
    return path


@pytest.mark.parametrize(
    ("audio_format", "layout", "rate"),
    [
        *(("wav", layout, 44_100) for layout in ("2.1", "5.1(side)", "12 channels")),
        ("wav", "stereo", 384_000),
        *(("flac", layout, 44_100) for layout in ("mono", "7.1")),
        ("mp3", "mono", 8_000),
        ("mp3", "stereo", 48_000),
        ("ogg", "5.1", 44_100),
        ("ogg", "stereo", 200_000),
        *(("m4a", layout, 44_100) for layout in ("mono", "stereo", "7.1")),
        ("m4a", "stereo", 96_000),
    ],
)
def test_what_a_format_can_hold_is_written(separate, tmp_path, audio_format, layout, rate):
    song = write_song(tmp_path / "song.wav", layout, rate)
    assert separate(song, f"--format={audio_format}") == 0
    total = 0
    for stem in STEMS:
        path = tmp_path / "out" / "song" / f"{stem}.{audio_format}"
        with AudioReader(path) as reader:
            assert (reader.sample_rate, reader.layout) == (rate, layout)
        samples, notes = read_all(path)
        assert not notes
        longer = len(samples) - rate // 2
        assert 0 <= longer < 1_024 if audio_format == "m4a" else longer == 0
        total = total + samples[: rate // 2]
    mixture, _ = read_all(song)
    if audio_format in ("wav", "flac"):
        np.testing.assert_allclose(total, mixture, atol=2e-7)


@pytest.mark.parametrize(
    ("audio_format", "layout", "rate"),
    [
        ("ogg", "stereo", 352_800),
        ("ogg", "2.1", 44_100),
        ("ogg", "12 channels", 44_100),
        ("mp3", "3.0", 44_100),
        ("mp3", "stereo", 96_000),
        ("m4a", "6.1", 44_100),
        ("m4a", "stereo", 192_000),
        ("flac", "12 channels", 44_100),
        ("flac", "stereo", 768_000),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_the_next_song_is_separated(
    separate, tmp_path, capsys, audio_format, layout, rate
):
    bad, good = write_song(tmp_path / "bad.wav", layout, rate), write_song(tmp_path / "good.wav")
    assert separate(bad, good, f"--format={audio_format}") == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "bad.wav" in line]
    assert f"{audio_format} can't hold" in line and "--format=wav" in line
    assert not (tmp_path / "out" / "bad").exists()
    assert (tmp_path / "out" / "good" / f"vocals.{audio_format}").exists()


def test_a_poisoned_song_stops_no_other(separate, tmp_path, capsys):
    unknown, good = tmp_path / "unknown.mkv", write_song(tmp_path / "good.wav")
    encode(unknown, tones([300, 300]), codec="pcm_s16le")
    unknown.write_bytes(unknown.read_bytes().replace(b"A_PCM/INT/LIT", b"A_NOBODY/KNOW"))
    soundfile.write(tmp_path / "one.wav", tones([300]), 1)
    poison = [unknown, tmp_path / "one.wav"]
    assert separate(poison[0], good, poison[1], "--overwrite") == 1
    assert separate(good, *poison, "--overwrite") == 1
    assert separate(*poison) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors and "unknown.mkv: " in errors and "one.wav: " in errors
    assert (tmp_path / "out" / "good" / "vocals.wav").exists()


def test_what_was_wrong_with_a_song_is_said_and_the_rest_is_separated(separate, tmp_path, capsys):
    wave = tones([300, 300])
    wave[22_050, 0] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, 44_100, "FLOAT")
    assert separate(tmp_path / "nan.wav") == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "jaxsep: " in line]
    assert "nan.wav: 1 sample is NaN" in line and "0.500 s" in line
    for stem in STEMS:
        samples, notes = read_all(tmp_path / "out" / "nan" / f"{stem}.wav")
        assert len(samples) == 44_100 and np.isfinite(samples).all() and not notes


def test_an_audio_stream_is_chosen(separate, tmp_path, capsys):
    song = tmp_path / "two.mkv"
    encode(song, tones([300, 300], 0.5), tones([500], 0.3).repeat(2, 1), codec="pcm_s16le")
    assert separate(song, "--audio_stream=1") == 0
    samples, _ = read_all(tmp_path / "out" / "two" / "vocals.wav")
    assert len(samples) == int(0.3 * 44_100)
    assert separate(song, "--audio_stream=2", "--overwrite") == 2
    assert "no audio stream 2" in capsys.readouterr().err


def test_a_disk_that_cannot_hold_the_stems_is_refused_with_both_figures(
    separate, tmp_path, capsys, monkeypatch
):
    song = write_song(tmp_path / "song.wav")
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert separate(song) == 2  # two stems of 176,400 bytes
    assert "need about 0.35 MB" in (line := capsys.readouterr().err) and "0.10 MB" in line
    assert not (tmp_path / "out").exists()
    assert separate(song, "--format=mp3") == 0  # two of 16,000 bytes
