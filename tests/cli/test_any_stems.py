"""Commands that once knew vocals alone, with models of any targets and any masks."""

import sys
import types

import matplotlib.image
import numpy as np
import pytest
import soundfile

from jaxsep.cli import live, main
from jaxsep.plots import figures
from tests.helpers import RATE, assert_one_line, tiny_model

DRUMS, FOUR, SPEECH = ("drums",), ("drums", "bass", "other", "vocals"), ("speech", "music")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    kinds = {"drums": DRUMS, "four": FOUR, "speech": SPEECH}
    made = {name: tiny_model(folder / name, targets) for name, targets in kinds.items()}
    return made | {"complex": tiny_model(folder / "complex", SPEECH, "tiny_complex")}


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    file = tmp_path_factory.mktemp("song") / "song.wav"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (2 * RATE, 2)).astype(np.float32)
    soundfile.write(file, noise, RATE, subtype="FLOAT")
    return file


def separate(model, song, stems, folder) -> dict[str, np.ndarray]:
    arguments = ["separate", song, f"--model={model}", f"--output={folder}", f"--stems={stems}"]
    assert main.main([str(argument) for argument in arguments]) == 0
    names = stems.split(",")
    return {n: soundfile.read(folder / song.stem / f"{n}.wav", dtype="float32")[0] for n in names}


def stream(model, song, monkeypatch, *arguments) -> int:
    """Runs the command on a song's samples, without a header."""
    raw = song.with_suffix(".f32")
    soundfile.read(song, dtype="float32")[0].tofile(raw)
    with open(raw) as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        return main.main(["stream", f"--model={model}", f"--rate={RATE}", *arguments])


@pytest.mark.parametrize(
    ("model", "flags", "stems"),
    [
        ("drums", (), "drums"),
        ("drums", ("--stem=both",), "drums,accompaniment"),
        ("four", (), "vocals"),
        ("four", ("--stems=other,no_drums,residual",), "other,no_drums,residual"),
        ("speech", (), "speech"),
        ("speech", ("--stem=residual",), "residual"),
        ("complex", ("--stems=music,speech",), "music,speech"),
    ],
)
def test_a_stream_has_the_stems_that_the_file_has(
    models, song, monkeypatch, tmp_path, capfdbinary, model, flags, stems
):
    whole = separate(models[model], song, stems, tmp_path)
    capfdbinary.readouterr()
    assert stream(models[model], song, monkeypatch, *flags) == 0
    output, errors = capfdbinary.readouterr()
    assert f"stems ({stems.replace(',', ', ')}) come at most".encode() in errors
    columns = np.frombuffer(output, "<f4").reshape(-1, 2 * len(whole))
    np.testing.assert_allclose(columns, np.concatenate(list(whole.values()), axis=1), atol=1e-5)


def test_stems_that_a_model_lacks_are_one_line_and_code_2(models, song, monkeypatch, capfd):
    for flag, words in {
        "--stem=vocals": "--stem: 'vocals' is no stem of this model; it has drums, no_drums, acc",
        "--stems=drums,piano": "--stem: 'piano' is no stem",
    }.items():
        assert stream(models["drums"], song, monkeypatch, flag) == 2
        assert_one_line(capfd.readouterr().err, words)
    assert stream(models["speech"], song, monkeypatch, "--stem=both") == 2
    assert_one_line(capfd.readouterr().err, "'accompaniment' is no stem of this model")


@pytest.mark.parametrize(
    ("model", "flags", "stem"),
    [("drums", (), "drums"), ("four", (), "vocals"), ("four", ("--stem=no_bass",), "no_bass")],
)
def test_live_plays_any_stem(models, monkeypatch, capsys, model, flags, stem):
    class Stream:
        def __init__(self, *, callback, channels, **_):
            self.callback, self.block = callback, np.full((800, channels), 0.1, np.float32)

        def __enter__(self):
            self.callback(self.block, np.empty_like(self.block), 800, None, None)

        def __exit__(self, *_):
            pass

    module = types.SimpleNamespace(PortAudioError=OSError, Stream=Stream)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(live, "STALLED_SECONDS", 0.01)
    command = ["live", f"--model={models[model]}", f"--rate={RATE}", *flags]
    assert main.main(command) == 1  # as no more sound comes
    assert f"playing the {stem} " in capsys.readouterr().out
    assert main.main([*command, "--stem=both"]) == 2
    assert_one_line(capsys.readouterr().err, "--stem: 'both' is no stem of this model")


def captions(monkeypatch) -> list[list[str]]:
    found = []
    save = figures.save_pictures

    def note(path, pictures, **options):
        found.append(list(pictures))
        save(path, pictures, **options)

    monkeypatch.setattr(figures, "save_pictures", note)
    return found


def test_a_plot_shows_any_stem_of_any_model(models, song, monkeypatch, tmp_path, capsys):
    found, picture = captions(monkeypatch), tmp_path / "out.png"
    command = ["plot", str(song), f"--output={picture}", "--overwrite"]
    several = [f"--model={models[name]}" for name in ("drums", "four", "complex")]
    assert main.main([*command, *several]) == 0
    assert found.pop() == ["mixture", "drums, drums", "vocals, four", "speech, complex"]
    assert main.main([*command, several[1], "--stems=bass,residual", f"--seconds={1}"]) == 0
    assert found.pop() == ["mixture", "bass, four", "residual, four"]
    assert main.main([*command, several[0], f"--reference={song}"]) == 0
    assert found.pop() == ["mixture", "drums, drums", "true drums"]
    assert matplotlib.image.imread(picture).shape[1] == 1430
    capsys.readouterr()
    assert main.main([*command, *several, f"--reference={song}"]) == 2
    assert_one_line(capsys.readouterr().err, "is of one stem, not of drums, vocals, speech; choose")
    assert main.main([*command, *several, "--stem=drums"]) == 2
    assert_one_line(capsys.readouterr().err, "--stems: 'drums' is no stem of this model; it has sp")


@pytest.mark.parametrize("model", ["speech", "complex"])
def test_what_a_stem_loses_leaks_into_the_rest(models, song, monkeypatch, tmp_path, model):
    found = []
    monkeypatch.setattr(figures, "save_errors", lambda *args, **names: found.append((args, names)))
    truth = np.random.default_rng(1).uniform(-0.1, 0.1, (2 * RATE, 2)).astype(np.float32)
    waves = {"music": truth, "no_music": soundfile.read(song, dtype="float32")[0] - truth}
    command = ["plot", str(song), f"--model={models[model]}", f"--output={tmp_path / 'out.png'}"]
    for stem, wave in waves.items():
        soundfile.write(tmp_path / f"{stem}.wav", wave, RATE, subtype="FLOAT")
        reference = f"--reference={tmp_path / stem}.wav"
        assert main.main([*command, reference, "--errors", f"--stem={stem}"]) == 0
    music, rest = (arguments[2][model] for arguments, _ in found)
    assert [names["stem"] for _, names in found] == list(waves)
    np.testing.assert_allclose(music.lost.energy, rest.leaked.energy, rtol=1e-3)
    np.testing.assert_allclose(music.leaked.energy, rest.lost.energy, rtol=1e-3)
    assert music.leaked_db > music.lost_db > -60
