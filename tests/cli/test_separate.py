"""`jaxsep separate` in trouble: songs, signals, streams, names and locales."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jaxsep.cli.main import main
from jaxsep.separation import song_files
from tests.helpers import assert_one_line

STEMS = ("vocals", "accompaniment")
linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


def write_song(path: Path, hertz: float = 440, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(8000 * seconds))[:, None] / 8000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * times * [1, 1]), 8000)
    return path


def pitch(folder: Path) -> int:
    """Returns the frequency of a song of one tone, from the sum of its stems."""
    samples = sum(soundfile.read(folder / f"{stem}.wav")[0][:, 0] for stem in STEMS)
    return round(np.abs(np.fft.rfft(samples)).argmax() * 8000 / len(samples))


def command(tiny_workdir, *args) -> list[str]:
    return [
        sys.executable,
        "-m",
        "jaxsep.cli",
        "separate",
        f"--model={tiny_workdir}",
        *map(str, args),
    ]


def test_a_song_added_before_others_gets_its_own_stems(tiny_workdir, tmp_path, capsys):
    songs = [
        write_song(tmp_path / name / "01.wav", hertz) for name, hertz in [("B", 440), ("C", 880)]
    ]
    args = ["separate", f"--model={tiny_workdir}", f"--output={tmp_path / 'o'}", "--resume"]
    assert main([*args, *map(str, songs)]) == 0
    songs.insert(0, write_song(tmp_path / "A" / "01.wav", 220))
    assert main([*args, *map(str, songs)]) == 0
    pitches = {name: pitch(tmp_path / "o" / name) for name in ("01", "01-2", "01-3")}
    assert pitches == {"01": 440, "01-2": 880, "01-3": 220}
    names = capsys.readouterr().out.splitlines()
    assert [Path(name).name for name in names] == ["01", "01-2", "01-3", "01", "01-2"]


def test_another_song_of_that_name_in_another_call_is_told(tiny_workdir, tmp_path, capsys):
    first, second = (write_song(tmp_path / f"{hz}" / "01.wav", hz) for hz in (440, 880))
    args = ["separate", f"--model={tiny_workdir}", f"--output={tmp_path / 'o'}"]
    assert main([*args, str(first)]) == 0
    capsys.readouterr()
    assert main([*args, str(second), "--resume"]) == 0
    output = capsys.readouterr()
    assert output.out == f"{tmp_path / 'o' / '01-2'}\n"
    complaints = [line for line in output.err.splitlines() if line.startswith("jaxsep: ")]
    assert len(complaints) == 1 and "01 isn't this song's" in complaints[0]
    assert (pitch(tmp_path / "o/01"), pitch(tmp_path / "o/01-2")) == (440, 880)
    assert main([*args, str(second), "--overwrite"]) == 0
    assert pitch(tmp_path / "o/01") == 440
    assert main([*args, str(first)]) == 2


def test_a_song_in_the_output_folder_survives_overwrite(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "o" / "vocals" / "vocals.wav", 440)
    before = song.read_bytes()
    for flag in ("--overwrite", "--resume"):
        assert main(
            ["separate", str(song), f"--model={tiny_workdir}", f"--output={tmp_path / 'o'}", flag]
        ) == 0  # fmt: skip
    assert song.read_bytes() == before
    assert pitch(tmp_path / "o" / "vocals-2") == 440


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("poison", [RuntimeError("two\nlines"), MemoryError(), RecursionError("x")])
def test_nothing_in_one_song_stops_the_others(
    tiny_workdir, tmp_path, capsys, monkeypatch, place, poison
):
    songs = [write_song(tmp_path / f"{number}.wav") for number in range(3)]
    choose = song_files.choose_format

    def fail(reader, *args):
        if reader.path == songs[place]:
            raise poison
        return choose(reader, *args)

    monkeypatch.setattr(song_files, "choose_format", fail)
    args = ["separate", f"--model={tiny_workdir}", f"--output={tmp_path / 'o'}"]
    assert main([*args, *map(str, songs)]) == 1
    output = capsys.readouterr()
    complaints = [line for line in output.err.splitlines() if line.startswith("jaxsep: ")]
    assert len(complaints) == 1 and type(poison).__name__ in complaints[0]
    assert str(songs[place]) in complaints[0] and "Traceback" not in output.err
    assert len(output.out.splitlines()) == 2
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"0", "1", "2"} - {str(place)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_it_in_good_order(tiny_workdir, tmp_path, number, times):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and those under nohup that
    song = write_song(tmp_path / "long.wav", seconds=3000)
    process = subprocess.Popen(
        command(tiny_workdir, song, f"--output={tmp_path / 'o'}"), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob(".*.part-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.005)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors and "jaxsep: interrupted" in errors
    assert not (tmp_path / "o").exists()


def test_nohup_is_respected(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav", seconds=20)
    words = command(tiny_workdir, song, f"--output={tmp_path / 'o'}")
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *words], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob(".*.part-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("redirection", "code", "lines"),
    [
        ("2>&-", 0, 0),
        (">&- 2>&-", 0, 0),
        ("<&- >&- 2>&-", 0, 0),
        ("2> /dev/full", 0, 0),
        ("> /dev/full", 1, 1),
        ("> /dev/full 2>&1", 1, 0),
        ("| true", 0, 0),
    ],
)
def test_streams_that_take_no_text_are_no_trouble(tiny_workdir, tmp_path, redirection, code, lines):
    songs = [write_song(tmp_path / f"{number}.wav") for number in range(2)]
    words = " ".join(command(tiny_workdir, *songs, f"--output={tmp_path / 'o'}"))
    result = subprocess.run(
        f"exec 3>&1; {words} {redirection}", shell=True, capture_output=True, text=True
    )
    assert result.returncode == code, result.stderr
    assert result.stderr.count("jaxsep: ") == lines and "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    for song in songs:
        for stem in STEMS:
            assert soundfile.info(tmp_path / "o" / song.stem / f"{stem}.wav").frames == 8000


def test_names_with_escape_codes_are_shown_as_text(tiny_workdir, tmp_path, capsys):
    name = "a\x1b[31mred\nline"
    song, text = write_song(tmp_path / f"{name}.wav"), tmp_path / f"{name}-2.wav"
    text.write_text("no song", encoding="utf-8")
    args = ["separate", f"--model={tiny_workdir}", f"--output={tmp_path / 'o'}"]
    assert main([*args, str(song), str(text)]) == 1
    output = capsys.readouterr()
    assert "\x1b[31m" not in output.out + output.err
    assert output.out.endswith("a\\x1b[31mred\\nline\n") and output.out.count("\n") == 1
    assert (tmp_path / "o" / name / "vocals.wav").exists()
    with pytest.raises(SystemExit):
        main([*args, str(song), "--\x1b[31m"])
    assert "\x1b" not in capsys.readouterr().err


@linux
def test_names_are_right_under_any_locale(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "Übung ♪ é.wav")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment |= {"PYTHONWARNDEFAULTENCODING": "1"}
    args = (song, f"--output={tmp_path / 'ö'}", "--resume")
    for _ in range(2):
        result = subprocess.run(command(tiny_workdir, *args), env=environment, capture_output=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout.decode() == f"{tmp_path / 'ö' / song.stem}\n"
        assert b"jaxsep/" not in b"".join(
            line for line in result.stderr.splitlines() if b"EncodingWarning" in line
        )
    record = json.loads((tmp_path / "ö" / song.stem / ".jaxsep.json").read_text(encoding="utf-8"))
    assert (tmp_path / "ö" / song.stem / "vocals.wav").exists() and record["runs"]


def test_a_device_that_is_not_there_is_one_line(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav")
    for platform in ("cuda", "nonsense"):
        result = subprocess.run(
            command(tiny_workdir, song, f"--output={tmp_path / 'o'}"),
            env={**os.environ, "JAX_PLATFORMS": platform},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 2
        assert_one_line(result.stderr, f"JAX_PLATFORMS={platform}", "JAX_PLATFORMS=cpu")


@pytest.mark.slow
def test_a_damaged_compile_cache_is_no_trouble(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR")  # the tests' own

    def separate() -> None:
        args = command(tiny_workdir, song, f"--output={tmp_path / 'o'}", "--overwrite")
        result = subprocess.run(args, env=environment, capture_output=True, text=True)
        assert result.returncode == 0
        assert "Warning" not in result.stderr and "Error" not in result.stderr

    separate()
    whole = {file: file.read_bytes() for file in tmp_path.glob("cache/jaxsep/compiled/*/*-cache")}
    assert whole
    for damage in (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:100] + b"x" + b[101:]):
        for file, content in whole.items():
            file.write_bytes(damage(content))
        separate()
