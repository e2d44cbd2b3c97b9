"""Stems of any names, from a folder of songs to scores, by the commands."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from etils import epath

from jaxsep.cli.main import main
from jaxsep.data.records import load_dataset
from jaxsep.training.loop import train_and_evaluate
from tests.helpers import RATE, tiny_config

SMALL = ("--sample_rate=8000", "--n_fft=256", "--hop_length=64", "--segment_seconds=2")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Four songs of speech, music and effects; one has no effects, and one no speech."""
    root = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    for number in range(4):
        (root / f"song {number}").mkdir()
        for stem in ("Speech", "music", "effects"):
            if (number, stem) not in [(1, "effects"), (3, "Speech")]:
                wave = rng.normal(0, 0.05, (4 * RATE, 2))
                soundfile.write(root / f"song {number}" / f"{stem}.wav", wave, RATE)
    return root


def prepare(songs, output, *arguments):
    command = [sys.executable, "-m", "data_prep.stems_folder", f"--root={songs}"]
    command += [f"--output={output}", "--workers=1", *SMALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "representation"),
    [("speech", "magnitude"), ("speech,effects", "waveform"), ("speech", "waveform")],
)
def test_stems_of_any_names_are_prepared_trained_separated_and_scored(
    songs, tmp_path, targets, representation
):
    flags = (f"--targets={targets}", f"--representation={representation}")
    result = prepare(songs, tmp_path / "data", *flags)
    assert result.returncode == 0, result.stderr
    assert "without speech or silent there: 1 tracks (train/song 3)" in result.stdout
    dataset = load_dataset(tmp_path / "data")
    assert dataset.num_tracks("train") == 3 and dataset.num_tracks("validation") == 1
    config = tiny_config(dataset, "mlp", targets=targets)
    summary = train_and_evaluate(config, epath.Path(tmp_path / "workdir"))
    assert list(summary["sdr_by_target"]) == targets.split(",")
    assert np.isfinite(summary["sdr"]) and summary["sdr_mixture"] < 1  # music sounds as well
    model, song = f"--model={tmp_path / 'workdir'}", songs / "song 0" / "music.wav"
    assert main(["separate", str(song), model, f"--output={tmp_path / 'out'}"]) == 0
    names = {"accompaniment"} if targets == "speech" else set()
    written = {path.stem for path in (tmp_path / "out" / "music").glob("*.wav")}
    assert written == {*targets.split(","), *names}
    scores = ["evaluate", model, f"--root={songs}", f"--output={tmp_path / 'scores'}"]
    # One song has no speech: nothing to score in it, or less.
    assert main([*scores, "--workers=1"]) == (1 if targets == "speech" else 0)
    report = (tmp_path / "scores" / "scores.md").read_text()
    for stem in targets.split(","):
        assert f"of the {stem}" in report


@pytest.mark.slow
def test_names_that_no_song_has_are_one_line(songs, tmp_path):
    result = prepare(songs, tmp_path / "data", "--targets=speech,talk")
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert "no song has a stem 'talk'; choose targets among those there are: music" in result.stderr
    result = prepare(songs, tmp_path / "data")
    assert "no song has a stem 'vocals'; choose targets among" in result.stderr
    manifest = tmp_path / "data" / "manifest.json"
    assert not manifest.exists()
    assert prepare(songs, tmp_path / "data", "--targets=music").returncode == 0
    assert json.loads(manifest.read_text())["settings"]["rests"] == ["no_music"]
