"""The study runs from music to report, and what is there isn't done again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.study.measure import Study, is_of
from benchmarks.study.plan import MODELS, PUBLISHED, QUICK, SONGS, STABILITY, cells
from benchmarks.study.report import Runs, write_report
from jaxsep.collections.built_in_band import BuiltInBand, write_audio
from jaxsep.files import read_json

pytestmark = pytest.mark.slow

pytest.importorskip("museval")

RUNS = Path(__file__).parents[2] / "docs" / "study" / "runs"


def make_music(root):
    """Writes a bit of the built-in band, laid out as the study's music is."""
    band = BuiltInBand(4, seed=1, duration=3.0, sample_rate=16_000)
    songs = [band.load(track).stems for track in band.tracks()]
    for number, name in enumerate(("train/amy_1", "train/amy_2", "train/abjones_1", "dev/amy_3")):
        stems = songs[number]
        backing = sum(stem for part, stem in stems.items() if part != "vocals")
        clip = np.stack([backing.mean(axis=1), stems["vocals"].mean(axis=1)], axis=1)
        path = root / "mir1k" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip, 16_000)
    album = BuiltInBand(4, seed=2, duration=2.0)
    for track in album.tracks():
        folder = write_audio(album, track, root / "eif-musdb18")
        if track.split == "test":
            (root / "excerpts" / "one").mkdir(parents=True)
            for stem in ("mixture", "vocals"):
                (root / "excerpts" / "one" / f"{stem}.wav").write_bytes(
                    (folder / f"{stem}.wav").read_bytes()
                )


def test_every_training_has_a_name_of_its_own():
    names = [cell.name for cell in cells()]
    seeds = sum(len(plan.seeds) for plan in SONGS.values())
    count = len(MODELS) * seeds + len(STABILITY) + len(PUBLISHED) * len(SONGS)
    assert len(set(names)) == len(names) == count
    assert {cell.name for cell in QUICK} <= set(names)


def test_the_runs_in_the_repository_are_those_of_the_plan(tmp_path):
    study = Study(tmp_path, tmp_path / "work", quick=False)
    for cell in cells():
        path = RUNS / f"{cell.name}.json"
        assert is_of(read_json(path, allow_nan=True), study.config(cell)), path
        if cell.model not in PUBLISHED:
            changed = study.config(cell)
            changed.learning_rate *= 2
            assert not is_of(read_json(path, allow_nan=True), changed)


def test_what_was_not_run_says_so(tmp_path):
    (tmp_path / "study" / "runs").mkdir(parents=True)
    write_report(tmp_path / "study")
    text = (tmp_path / "study.md").read_text()
    assert text.count("not run") > 20 and "nan" not in text


def test_a_quick_study(tmp_path):
    make_music(tmp_path / "music")
    output = tmp_path / "study" / "quick"
    page = tmp_path / "study" / "quick.md"
    page.parent.mkdir()
    page.write_text("Kept.\n<!-- scores mir1k dev vocals -->\nold\n<!-- end -->\nAlso kept.\n")
    command = [sys.executable, "-m", "benchmarks.study", "--quick", f"--data={tmp_path / 'music'}"]
    command += [f"--output={output.parent}", f"--work={tmp_path / 'work'}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert {path.stem for path in (output / "runs").iterdir()} == {cell.name for cell in QUICK}

    run = json.loads((output / "runs" / "album-mlp-seed-0.json").read_text())
    masks = run["masks"]["album"]
    assert masks["leaked drums"] < 0 and -20 < masks["passed bass"] < 0 and masks["flicker"] > 0
    rows = run["scores"]["excerpts"]["tables"][0]["rows"]
    assert rows["mixture"][0] < rows["ideal ratio mask"][0]
    text = page.read_text()
    assert text.startswith("Kept.") and text.endswith("Also kept.\n") and "old" not in text
    assert "| BLSTM 3 |" in text and "| LSTM 1 | not run |" in text
    for picture in ("curves", "gradients", "layers"):
        assert (output / f"{picture}.png").stat().st_size > 10_000

    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and "training" not in again.stderr
    assert Runs(output / "runs").read("album-mlp-seed-0") == run
