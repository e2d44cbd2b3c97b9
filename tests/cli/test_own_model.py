"""The model in the package: it is there, says where it is from, and separates."""

import subprocess
import sys

import numpy as np
import pytest

from jaxsep import Separator
from jaxsep.audio.reader import read_audio
from jaxsep.cli import options
from jaxsep.collections.built_in_band import BuiltInBand
from jaxsep.metrics import waveform_sdr
from jaxsep.models.load import OWN, WEIGHTS, load_model

MAX_BYTES = 20e6


@pytest.fixture(scope="module")
def separator() -> Separator:
    return Separator.restore()


def test_it_is_small_and_names_its_sources():
    files = [path for path in (WEIGHTS / OWN).rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) < MAX_BYTES
    assert {path.name for path in files} == {"config.json", "model.safetensors"}
    info = load_model(OWN).info
    assert info.licence == "Apache-2.0"
    sources = info.provenance["sources"]
    assert sources and all(source["licence"] for source in sources)
    evaluated = ("mir-1k", "mir1k", "dsd100", "musdb18-hq", "falcon")
    assert not any(name in source["source"].lower() for source in sources for name in evaluated)


def test_it_is_what_the_command_uses(tmp_path):
    assert options.DEFAULT_MODEL == OWN
    (tmp_path / "song.wav").write_text("not audio")
    command = [sys.executable, "-m", "jaxsep.cli", "separate", str(tmp_path / "song.wav")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and "song.wav" in result.stderr and "model" not in result.stderr


def test_it_is_causal(separator):
    assert separator.is_causal


def test_it_finds_the_vocals_of_the_built_in_band(separator):
    band = BuiltInBand(1, seed=1, duration=4.0, sample_rate=44_100)
    stems = band.load(band.tracks()[0]).stems
    mixture, vocals = sum(stems.values()), stems["vocals"]
    assert waveform_sdr(vocals, mixture) < -3  # dB; silence has 0
    assert waveform_sdr(vocals, separator(mixture, 44_100)["vocals"]) > 2
    backing = mixture - vocals
    assert waveform_sdr(backing, separator(backing, 44_100)["accompaniment"]) > 20


def test_it_finds_the_vocals_of_real_songs(separator, shared_data):
    gains = []
    for song in sorted((shared_data / "excerpts").glob("dsd100-*"))[:3]:
        mixture, rate = read_audio(next(song.glob("mixture.*")))
        vocals, _ = read_audio(next(song.glob("vocals.*")))
        estimate = separator(mixture, rate)["vocals"]
        gains.append(waveform_sdr(vocals, estimate) - waveform_sdr(vocals, mixture))
    assert np.mean(gains) > 4, gains  # dB
