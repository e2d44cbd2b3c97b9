"""Pictures of songs and of separators' errors, and the command that draws them."""

import subprocess
import sys

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
import soundfile

from jaxsep.cli.main import main
from jaxsep.plots import spectra
from jaxsep.plots.spectra import MAX_COLUMNS, ROWS, picture_of, separation_error, to_picture
from jaxsep.spectrogram import stft
from jaxsep.stft_config import StftConfig

RATE = 8000
CONFIG = StftConfig(sample_rate=RATE, channels=2, n_fft=256, hop_length=64)


def noise(seconds: float, rate: int = RATE, channels: int = 2, seed: int = 0) -> np.ndarray:
    shape = (max(1, int(seconds * rate)), channels)
    return np.random.default_rng(seed).uniform(-0.3, 0.3, shape).astype(np.float32)


def row_of(hertz: float, picture) -> int:
    edges = np.geomspace(*picture.hertz, ROWS + 1)
    return int(np.searchsorted(edges, hertz)) - 1


@pytest.mark.parametrize("hertz", [60, 1000, 3500])
def test_a_sine_stands_at_its_frequency_and_time(hertz):
    seconds = np.arange(60 * RATE)[:, None] / RATE
    wave = np.sin(2 * np.pi * hertz * seconds) * (seconds > 30) * np.ones(2)
    picture = picture_of(wave.astype(np.float32), RATE, (10, 60))
    assert picture.energy.shape[0] == ROWS and picture.energy.shape[1] <= MAX_COLUMNS
    # A window is 20 times as long as the period of 60 Hz, or longer.
    assert abs(picture.energy.sum(axis=1).argmax() - row_of(hertz, picture)) <= 2
    centres = np.linspace(*picture.seconds, picture.energy.shape[1] + 1)
    loud = picture.energy.max(axis=0) > picture.energy.max() / 2
    np.testing.assert_allclose(centres[loud.argmax()], 30, atol=0.1)
    np.testing.assert_allclose(picture.seconds, (10, 60), atol=0.1)


def test_long_songs_become_columns_of_averages():
    energy = np.zeros((10 * MAX_COLUMNS + 3, CONFIG.bins), np.float32)
    energy[5000:6000] = 2.0
    picture = to_picture(energy, CONFIG)
    assert MAX_COLUMNS / 2 <= picture.energy.shape[1] <= MAX_COLUMNS
    assert picture.seconds[0] == -32 / RATE  # frames are centred on multiples of the hop
    centres = np.linspace(*picture.seconds, picture.energy.shape[1] + 1)[:-1]
    inside = (centres > 5000 * 64 / RATE) & (centres < 5980 * 64 / RATE)
    np.testing.assert_allclose(picture.energy[:, inside], 2.0, rtol=1e-6)
    share = picture.energy.mean() / (2.0 * 1000 / len(energy))
    np.testing.assert_allclose(share, 1, rtol=0.01)


def test_going_in_blocks_changes_nothing(monkeypatch):
    wave = noise(30)
    monkeypatch.setattr(spectra, "BLOCK_FRAMES", 100)
    config = StftConfig(sample_rate=RATE, channels=2, n_fft=1024, hop_length=256)
    energy = np.square(np.abs(stft(jnp.asarray(wave), config))).mean(axis=1)
    expected = to_picture(energy, config)
    picture = picture_of(wave, RATE, (0, 30))
    assert (picture.seconds, picture.hertz) == (expected.seconds, expected.hertz)
    np.testing.assert_allclose(picture.energy, expected.energy, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "leaked_db", "lost_db", "strongest"),
    [
        # Backing at a tenth of the vocals; the mixture's loudest is 1.1 times the vocals'.
        (1.0, -20, -np.inf, 60 - 20.828),
        (0.0, -np.inf, 0, -60 + 0.828),
        (0.5, -26.021, -6.021, -60 + 6.848),
    ],
)
def test_what_leaks_and_what_is_lost_is_as_computed_by_hand(mask, leaked_db, lost_db, strongest):
    vocals = noise(2)
    masks = np.full((CONFIG.num_frames(len(vocals)), 2, CONFIG.bins), mask, np.float32)
    error = separation_error(masks, 1.1 * vocals, vocals, 0.1 * vocals, CONFIG, (0.5, 1.5))
    np.testing.assert_allclose([error.leaked_db, error.lost_db], [leaked_db, lost_db], atol=1e-3)
    levels = error.signed_levels()
    assert (levels * np.sign(strongest) >= 0).all()
    np.testing.assert_allclose(levels.flat[np.abs(levels).argmax()], strongest, atol=1e-2)


def test_each_place_has_the_sign_of_what_prevails_there():
    backing, vocals = noise(4), noise(4, seed=1)
    vocals[: 2 * RATE], backing[2 * RATE :] = 0, 0
    masks = np.full((CONFIG.num_frames(len(vocals)), 2, CONFIG.bins), 0.5, np.float32)
    error = separation_error(masks, vocals + backing, vocals, backing, CONFIG, (0, 4))
    levels = error.signed_levels()
    before, after = np.array_split(levels, 2, axis=1)
    assert (before[:, :-5] > 0).all() and (after[:, 5:] < 0).all()
    silent = separation_error(masks, vocals + backing, vocals, backing, CONFIG, (0, 1))
    assert silent.leaked_db is None and silent.lost_db is None


@pytest.fixture
def songs(tmp_path):
    """A song of two seconds and stems of it."""
    vocals, drums = noise(2), noise(2, seed=1)
    waves = {"song": vocals + drums, "vocals": vocals, "drums": drums[:-100]}
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
    return tmp_path


def plot(folder, *args, song="song.wav", output="out.png") -> int:
    return main(["plot", str(folder / song), f"--output={folder / output}", *map(str, args)])


def test_it_draws_models_beside_the_truth(tiny_workdir, songs, capsys):
    models = (f"--model=first={tiny_workdir}", f"--model={tiny_workdir}")
    truth = f"--reference={songs / 'vocals.wav'}"
    assert plot(songs, *models, truth) == 0
    assert capsys.readouterr().out == f"{songs / 'out.png'}\n"
    errors = ("--errors", "--leaked", songs / "drums.wav", "--start=0.5", "--seconds=1")
    assert plot(songs, *models, truth, *errors, output="errors.png") == 0
    sizes = [matplotlib.image.imread(songs / name).shape for name in ("out.png", "errors.png")]
    assert all(width == 1430 and 600 < height < 1000 for height, width, _ in sizes)
    assert len(list(songs.iterdir())) == 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "one sample", "mono", "six channels"])
def test_any_song_can_be_drawn(tiny_workdir, tmp_path, kind):
    rate, channels = {"mono": (8000, 1), "six channels": (96000, 6)}.get(kind, (44100, 2))
    wave = noise(0 if kind == "one sample" else 0.5, rate, channels)
    wave *= kind != "silent"
    name = "$a_{\N{HIRAGANA LETTER A}\n.wav"  # neither a formula nor in the font nor one line
    soundfile.write(tmp_path / name, wave, rate)
    soundfile.write(tmp_path / "vocals.wav", 0.5 * wave, rate)
    common = (f"--model={tiny_workdir}", f"--reference={tmp_path / 'vocals.wav'}")
    assert plot(tmp_path, *common, song=name) == 0
    assert plot(tmp_path, *common, "--errors", song=name, output="errors.png") == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--errors"], "--errors needs"),
        (["--leaked", "{}/drums.wav"], "--leaked is for --errors"),
        (["--start=2.5"], "has 2.00 s only"),
        (["--start=-1"], "--start=-1"),
        (["--seconds=0"], "--seconds=0 must"),
        (["--reference={}/long.wav"], "long.wav: 1.00 s longer"),
        (["--reference={}/text.wav"], "text.wav"),
        (["--reference={}/missing.wav"], "missing.wav"),
        (["--model={}"], "no model in it"),
        (["--output={}/picture.jpg"], ".png"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(tiny_workdir, songs, capsys, args, words):
    (songs / "text.wav").write_text("not audio")
    soundfile.write(songs / "long.wav", noise(3), RATE)
    before = set(songs.iterdir())
    args = [arg.format(songs) for arg in args]
    assert plot(songs, f"--model={tiny_workdir}", *args) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and words in errors
    assert set(songs.iterdir()) == before


@pytest.mark.parametrize("song", ["missing.wav", "text.wav"])
def test_an_unusable_song_is_one_line_and_code_2(tiny_workdir, tmp_path, capsys, song):
    (tmp_path / "text.wav").write_text("not audio")
    assert plot(tmp_path, f"--model={tiny_workdir}", song=song) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and song in errors


def test_a_picture_that_is_there_is_refused_before_any_work(tiny_workdir, songs, capsys):
    (songs / "out.png").write_text("mine")
    assert plot(songs, "--model=nowhere") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (songs / "out.png").read_text() == "mine"
    assert plot(songs, f"--model={tiny_workdir}", "--overwrite") == 0
    assert matplotlib.image.imread(songs / "out.png").ndim == 3


def test_a_missing_folder_is_one_line_and_code_1(tiny_workdir, songs, capsys):
    assert plot(songs, f"--model={tiny_workdir}", output="missing/out.png") == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "missing/out.png: can't be written" in errors


@pytest.mark.slow
def test_a_full_disk_is_code_1_and_leaves_nothing(tiny_workdir, songs):
    before = set(songs.iterdir())
    # A limit on file size fails as a full disk does, and any user can set it.
    limited = "import resource, signal, sys; from jaxsep.cli.main import main;"
    limited += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); sys.exit(main())"
    args = ["plot", songs / "song.wav", f"--model={tiny_workdir}", f"--output={songs / 'out.png'}"]
    command = [sys.executable, "-c", limited, *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and "can't be written (File too large)" in result.stderr
    assert "Traceback" not in result.stderr
    assert set(songs.iterdir()) == before
