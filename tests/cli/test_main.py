"""The `jaxsep` command as a user types it: results, one line for each mistake, exit codes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile


def jaxsep(*args, **kwargs):
    command = [sys.executable, "-m", "jaxsep.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **kwargs)


def write_song(path: Path, seconds: float = 1.0, rate: int = 8000, channels: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (int(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path


def assert_one_line(result, code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    complaints = [line for line in result.stderr.splitlines() if line.startswith("jaxsep: ")]
    assert len(complaints) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in complaints[0]


def test_ctrl_c_while_libraries_are_imported_is_one_line(tmp_path):
    (tmp_path / "jax.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('went on')\n"
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    result = jaxsep("separate", "song.wav", env={**os.environ, "PYTHONPATH": paths})
    assert_one_line(result, 130, "interrupted")


def test_songs_of_any_format_go_in_one_command(tiny_workdir, tmp_path):
    songs = [
        write_song(tmp_path / "a" / "song.wav", rate=96000, channels=6),
        write_song(tmp_path / "b" / "Song.flac", rate=44100),
        write_song(tmp_path / "low.ogg", channels=1),
    ]
    result = jaxsep("separate", *songs, f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    for name, song in zip(["song", "Song-2", "low"], songs, strict=True):
        for stem in ("vocals", "accompaniment"):
            info, source = (
                soundfile.info(tmp_path / "out" / name / f"{stem}.wav"),
                soundfile.info(song),
            )
            assert (info.frames, info.samplerate, info.channels) == (
                source.frames, source.samplerate, source.channels
            )  # fmt: skip
    assert len(list((tmp_path / "out").rglob("[!.]*"))) == 9


def test_a_bad_file_does_not_stop_the_others(tiny_workdir, tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    good = write_song(tmp_path / "good.wav")
    args = (tmp_path / "text.wav", good, f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}")
    assert_one_line(jaxsep("separate", *args), 1, "text.wav")
    assert (tmp_path / "out" / "good" / "vocals.wav").exists()
    assert not (tmp_path / "out" / "text").exists()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder"])
def test_unusable_input_is_one_line_and_code_2(tiny_workdir, tmp_path, kind):
    song = tmp_path / "song.wav"
    if kind == "folder":
        song.mkdir()
    elif kind != "missing":
        song.write_text("" if kind == "empty" else "lyrics")
    result = jaxsep("separate", song, f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}")
    assert_one_line(result, 2, str(song))
    assert not (tmp_path / "out").exists()


def test_names_that_are_not_utf_8_and_absurd_samples_do_not_stop_the_others(tiny_workdir, tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.wav")
    write_song(tmp_path / "cafe.wav").rename(odd)
    absurd = tmp_path / "absurd.wav"
    soundfile.write(absurd, np.full((8000, 2), 1e30), 8000, subtype="FLOAT")
    songs = (odd, absurd, write_song(tmp_path / "good.wav"))
    result = jaxsep("separate", *songs, f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}")
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert "absurd.wav: 16,000 samples are NaN, infinite or over" in result.stderr
    assert (tmp_path / "out" / "caf_" / "vocals.wav").exists()
    assert (tmp_path / "out" / "good" / "accompaniment.wav").exists()


def test_a_full_disk_is_one_line_and_code_1(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav", seconds=30)
    # A limit on file size fails as a full disk does, and any user can set it.
    limited = "import resource, signal, sys; from jaxsep.cli.main import main;"
    limited += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); sys.exit(main())"
    command = [sys.executable, "-c", limited, "separate", str(song), f"--model={tiny_workdir}"]
    output = tmp_path / "out"
    result = subprocess.run([*command, f"--output={output}"], capture_output=True, text=True)
    assert_one_line(result, 1, "can't be written")
    assert not [path for path in output.rglob("*") if path.is_file()]


def test_stems_that_are_there_are_refused_without_overwrite(tiny_workdir, tmp_path):
    args = ("separate", write_song(tmp_path / "song.wav"), f"--model={tiny_workdir}")
    args += (f"--output={tmp_path / 'out'}",)
    assert jaxsep(*args).returncode == 0
    assert_one_line(jaxsep(*args), 2, "--overwrite")
    assert jaxsep(*args, "--overwrite").returncode == 0


def test_resume_skips_what_is_finished_and_does_the_rest(tiny_workdir, tmp_path):
    songs = [write_song(tmp_path / name) for name in ("done.wav", "half.wav", "new.wav")]
    songs[1].write_bytes(write_song(tmp_path / "other.wav", seconds=0.5).read_bytes())
    out = tmp_path / "out"
    args = (f"--model={tiny_workdir}", f"--output={out}")
    assert jaxsep("separate", *songs[:2], *args).returncode == 0
    (out / "half" / "accompaniment.wav").unlink()
    before = (out / "done" / "vocals.wav").stat()
    result = jaxsep("separate", *songs, *args, "--resume")
    assert result.returncode == 0 and result.stdout.splitlines() == [
        str(out / name) for name in ("done", "half", "new")
    ]
    after = (out / "done" / "vocals.wav").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for name, samples in (("half", 4000), ("new", 8000)):
        for stem in ("vocals", "accompaniment"):
            assert soundfile.info(out / name / f"{stem}.wav").frames == samples
    assert jaxsep("separate", *songs, *args, "--resume", "--overwrite").returncode == 2


def test_the_format_can_be_chosen(tiny_workdir, tmp_path):
    songs = [write_song(tmp_path / "a.flac"), write_song(tmp_path / "six.wav", channels=6)]
    args = (f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}")
    assert jaxsep("separate", songs[0], *args, "--format=same", "--bit_depth=24").returncode == 0
    assert soundfile.info(tmp_path / "out/a/vocals.flac").subtype == "PCM_24"
    assert_one_line(jaxsep("separate", *songs, *args, "--format=mp3"), 1, "six.wav", "6 channels")
    assert soundfile.info(tmp_path / "out/a/accompaniment.mp3").frames == 8000
    assert not (tmp_path / "out/six").exists()


def test_it_says_how_many_samples_had_to_be_limited(tiny_workdir, tmp_path):
    song = tmp_path / "loud.wav"
    soundfile.write(song, np.full((8000, 2), 1.9), 8000, subtype="FLOAT")
    args = ("separate", song, f"--model={tiny_workdir}", f"--output={tmp_path}", "--bit_depth=16")
    assert_one_line(jaxsep(*args), 0, "loud", "samples limited", "32f")


def test_a_pipe_gives_what_the_file_gives(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav", seconds=3)
    args = (f"--model={tiny_workdir}", f"--output={tmp_path}", "--bit_depth=32f")
    assert jaxsep("separate", song, *args).returncode == 0
    samples, _ = soundfile.read(song, dtype="float32")
    command = [sys.executable, "-m", "jaxsep.cli", "stream", f"--model={tiny_workdir}"]
    command += ["--rate=8000", "--channels=2", "--stem=both"]
    pipe = subprocess.run(command, input=samples.tobytes() + b"odd", capture_output=True)
    assert pipe.returncode == 0
    assert b"3 of 8 bytes" in pipe.stderr
    both = np.frombuffer(pipe.stdout, "<f4").reshape(-1, 4)
    for stem, columns in (("vocals", both[:, :2]), ("accompaniment", both[:, 2:])):
        whole, _ = soundfile.read(tmp_path / "song" / f"{stem}.wav", dtype="float32")
        np.testing.assert_allclose(columns, whole, atol=1e-5)


def test_ctrl_c_ends_a_pipe_with_130_and_all_that_was_heard(tiny_workdir):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "jaxsep.cli", "stream", f"--model={tiny_workdir}"]
    command += ["--rate=8000", "--channels=2", "--format=s16le"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(np.zeros((8000, 2), "<i2").tobytes())
        process.stdin.flush()
        heard = process.stdout.read(4 * 7000)  # what is more than the latency before the end
        process.send_signal(signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130, errors
    assert len(heard + rest) == 4 * 8000
    assert b"Traceback" not in errors


def test_a_stream_that_cannot_be_is_one_line_and_code_2(tiny_workdir):
    result = jaxsep("stream", f"--model={tiny_workdir}", "--rate=0", stdin=subprocess.DEVNULL)
    assert_one_line(result, 2, "sample_rate=0")


def test_a_wrong_model_is_one_line_and_code_2(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav")
    assert_one_line(jaxsep("separate", song, "--model=nowhere"), 2, "--model", "nowhere")
    assert_one_line(jaxsep("separate", song, f"--model={tmp_path}"), 2, "no model in it")


def test_a_damaged_training_is_one_line_and_code_2(tiny_workdir, tmp_path):
    copy = tmp_path / "training"
    subprocess.run(["cp", "-r", tiny_workdir, copy], check=True)
    (copy / "model" / "model.safetensors").write_bytes(b"x" * 100)
    for file in (copy / "checkpoints").rglob("model/**/d/*"):
        file.write_bytes(b"x" * 100)
    song = write_song(tmp_path / "song.wav")
    assert_one_line(jaxsep("separate", song, f"--model={copy}"), 2, "damaged", "can't be restored")


def test_ctrl_c_ends_with_130_and_leaves_no_half_file(tiny_workdir, tmp_path):
    # A shell's background jobs ignore Ctrl-C, and pass that on to their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    song = write_song(tmp_path / "long.wav", seconds=3000, rate=8000)
    command = [sys.executable, "-m", "jaxsep.cli", "separate", str(song), f"--model={tiny_workdir}"]
    process = subprocess.Popen(
        [*command, f"--output={tmp_path / 'out'}"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob(".*.part-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_it_starts_without_the_packages_that_only_training_needs(tiny_workdir, tmp_path):
    song = write_song(tmp_path / "song.wav")
    code = (
        "import sys; from jaxsep.cli.main import main; main(sys.argv[1:]);"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'musdb', 'librosa', 'grain', 'orbax'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    args = ["separate", song, f"--model={tiny_workdir}", f"--output={tmp_path / 'out'}"]
    command = [sys.executable, "-c", code, *map(str, args)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
