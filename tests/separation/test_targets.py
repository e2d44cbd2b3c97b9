"""Several targets in one model: their import, their stems and their way back."""

import dataclasses
import json
import pickle
import sys
import types
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

import jaxsep
from jaxsep import models
from jaxsep.cli.main import main
from jaxsep.collections.built_in_band import BuiltInBand
from jaxsep.convert import openunmix, openunmix_files
from jaxsep.convert.torch_files import read_arrays
from jaxsep.evaluation.methods import load, make_methods
from jaxsep.models.files import save_model
from jaxsep.models.load import load_model
from jaxsep.models.one_each import OneNetworkEach
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.separation.separator import Separator
from jaxsep.separation.windows import choose_windows
from jaxsep.stft_config import StftConfig
from tests.helpers import TINY_OPENUNMIX, TINY_STFT, assert_one_line, random_arrays, settings_of

FOUR = ("vocals", "drums", "bass", "other")
SMALL = {**TINY_OPENUNMIX, "num_layers": 1}
HALF = StftConfig(sample_rate=8000, channels=1, n_fft=256, hop_length=128)


def write_weights(folder: Path, targets=FOUR, config: StftConfig = TINY_STFT, **fields) -> Path:
    """Writes what trainings by Open-Unmix leave; no two networks are of one size."""
    folder.mkdir()
    for seed, target in enumerate(targets):
        sizes = {**SMALL, "hidden_size": 8 + 2 * seed, **fields}
        arrays = random_arrays(OpenUnmixMasker(config, **sizes), seed)
        (folder / f"{target}.pth").write_bytes(pickle.dumps(arrays, 2))
    (folder / "separator.json").write_text(json.dumps(settings_of(config)))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("umx") / "training")


@pytest.fixture(scope="module")
def model(weights) -> Path:
    output = weights.with_name("model")
    openunmix.import_weights([weights], output)
    return output


def noise(samples: int, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return rng.uniform(-0.1, 0.1, (samples, channels)).astype(np.float32)


def test_a_folder_becomes_one_model_of_all_targets_in_their_usual_order(weights, model):
    masker, variables, info = load_model(model)
    assert masker.targets == FOUR
    for seed, target in enumerate(FOUR):
        alone = OpenUnmixMasker(TINY_STFT, (target,), **{**SMALL, "hidden_size": 8 + 2 * seed})
        assert masker.maskers[target] == alone
        expected = openunmix.to_variables(random_arrays(alone, seed), alone, name=target)
        found = {name: tree[target] for name, tree in variables.items()}
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    files = info.provenance["sha256"]
    assert set(files) == {f"{target}.pth" for target in FOUR}


def test_files_by_name_become_a_model_of_their_targets(weights, tmp_path, capsys):
    paths = [str(weights / f"{target}.pth") for target in ("bass", "drums")]
    assert main(["import-openunmix", *paths, f"--output={tmp_path / 'rhythm'}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'rhythm'}\n"
    assert load_model(tmp_path / "rhythm").masker.targets == ("drums", "bass")


def test_files_that_do_not_belong_together_are_one_line_and_code_2(weights, tmp_path, capsys):
    other = write_weights(tmp_path / "other", ("drums",), HALF)
    output = f"--output={tmp_path / 'model'}"
    assert main(["import-openunmix", str(weights / "vocals.pth"), str(other), output]) == 2
    assert_one_line(capsys.readouterr().err, "drums.pth: its 8000 Hz, 1 channels, nfft=256 and")
    assert main(["import-openunmix", str(weights), str(weights / "bass.pth"), output]) == 2
    assert_one_line(capsys.readouterr().err, "are both for bass; give one file for each target")
    assert not (tmp_path / "model").exists()


def test_the_origin_of_mixed_files_is_that_of_each(weights):
    files = openunmix_files.read_files([weights])
    assert openunmix_files.provenance(files)["licence"] is None
    mixed = [files[0]._replace(model="umxl"), *(file._replace(model="umxhq") for file in files[1:])]
    origin = openunmix_files.provenance(mixed)
    assert origin["model"] == "umxl; umxhq"
    assert origin["licence"] == "CC BY-NC-SA 4.0, for non-commercial use alone; MIT"
    assert openunmix_files.provenance([mixed[0], files[1]])["model"] == "umxl; unknown"


def test_models_of_the_masker_for_open_unmix_alone_are_read(model, tmp_path):
    masker, variables, info = load_model(model)
    networks = {
        target: {name: value for name, value in fields.items() if name != "name"}
        for target, fields in info.masker["networks"].items()
    }
    old = {"name": "openunmix_targets", "networks": networks}
    save_model(tmp_path, dataclasses.replace(info, masker=old), variables)
    found = load_model(tmp_path)
    assert found.masker.maskers == masker.maskers
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


@pytest.mark.slow
def test_each_target_is_what_its_network_alone_finds(model):
    masker, variables, _ = load_model(model)
    waveform = noise(9000)
    together = Separator(masker, variables)(waveform, 8000)
    assert list(together) == list(FOUR)
    for target, network in masker.maskers.items():
        alone = Separator(network, {name: tree[target] for name, tree in variables.items()})
        expected = alone(waveform, 8000)[target]
        np.testing.assert_allclose(together[target], expected, atol=1e-6)
    chosen = Separator(masker, variables, stems=["bass"])(waveform, 8000)
    assert list(chosen) == ["bass"]
    np.testing.assert_allclose(chosen["bass"], together["bass"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "channels", "iterations"), [(8000, 2, 1), (11_025, 1, 0), (7350, 3, 1)]
)
def test_both_sums_are_the_song_at_any_rate_and_channels(model, rate, channels, iterations):
    stems = (*FOUR, "accompaniment", "residual")
    separator = Separator.restore(model, stems=stems, wiener_iterations=iterations)
    waveform = noise(9000, channels)
    found = separator(waveform, rate)
    assert {stem.shape for stem in found.values()} == {waveform.shape}
    np.testing.assert_allclose(found["vocals"] + found["accompaniment"], waveform, atol=1e-6)
    whole = sum(found[stem] for stem in (*FOUR, "residual"))
    np.testing.assert_allclose(whole, waveform, atol=1e-6)


@pytest.mark.slow
def test_refined_targets_share_the_whole_song_unless_there_is_a_residual(model):
    """But for what no target claims, where all of their masks are 0."""
    waveform = noise(9000)
    four, five = (
        Separator.restore(model, stems=stems, wiener_iterations=1)(waveform, 8000)
        for stems in (FOUR, (*FOUR, "residual"))
    )
    missing, residual = (
        np.sum((waveform - sum(stems[name] for name in FOUR)) ** 2) for stems in (four, five)
    )
    assert missing < 0.02 * np.sum(waveform**2) < 0.2 * residual
    vocals = Separator.restore(model, stems=["vocals"], wiener_iterations=1)(waveform, 8000)
    np.testing.assert_allclose(vocals["vocals"], four["vocals"], atol=1e-6)


def test_the_command_writes_the_stems_that_were_asked_for(model, tmp_path, capsys):
    song, output = tmp_path / "song.wav", tmp_path / "out"
    soundfile.write(song, noise(9000), 8000, "PCM_16")
    command = ["separate", str(song), f"--model={model}", f"--output={output}"]
    assert main(command) == 0
    assert sorted(path.stem for path in (output / "song").glob("*.wav")) == sorted(FOUR)
    stems = ("vocals", "accompaniment", "drums", "bass", "other", "residual")
    assert main([*command, "--overwrite", f"--stems={','.join(stems)}"]) == 0
    found = {
        stem: soundfile.read(output / "song" / f"{stem}.wav", dtype="int16")[0].astype(int)
        for stem in stems
    }
    mixture = soundfile.read(song, dtype="int16")[0]
    np.testing.assert_array_equal(found["vocals"] + found["accompaniment"], mixture)
    whole = sum(found[stem] for stem in (*FOUR, "residual"))
    np.testing.assert_array_equal(whole, mixture)
    capsys.readouterr()
    assert main([*command, "--stems=vocals,piano"]) == 2
    words = "--stems: 'piano' is no stem of this model; it has vocals, drums, bass, other"
    assert_one_line(capsys.readouterr().err, words)


def test_where_vocals_are_asked_for_a_model_without_them_is_refused(tmp_path, capsys):
    rhythm = tmp_path / "rhythm"
    openunmix.import_weights([write_weights(tmp_path / "files", ("drums", "bass"))], rhythm)
    with pytest.raises(ValueError, match=r"rhythm: 'vocals' is no stem .* it has drums, bass"):
        make_methods({"rhythm": str(rhythm)})
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(9000), 8000)
    command = ["plot", str(song), f"--model={rhythm}", f"--output={tmp_path / 'it.png'}"]
    command.append("--stem=vocals")
    assert main(command) == 2
    assert_one_line(capsys.readouterr().err, "'vocals' is no stem of this model")


def test_a_model_of_several_targets_is_scored_by_its_vocals(model):
    band = BuiltInBand(1, seed=1, duration=2.0, sample_rate=8000)
    recording = load(band, band.tracks()[0])
    _, plain, _ = make_methods({"umx": str(model)})
    _, refined, _ = make_methods({"umx": str(model)}, wiener_iterations=1)
    assert (plain.name, refined.name) == ("umx", "umx")
    assert refined.identity == f"{plain.identity}, wiener_iterations 1"
    found, refound = plain.separate(recording), refined.separate(recording)
    assert np.abs(found["vocals"] - refound["vocals"]).max() > 1e-3
    for stems in (found, refound):
        assert list(stems) == ["vocals", "accompaniment"]
        np.testing.assert_allclose(sum(stems.values()), recording.mixture, atol=1e-6)


def test_causal_targets_are_streamed(tmp_path):
    files = write_weights(tmp_path / "files", ("vocals", "drums"), bidirectional=False)
    openunmix.import_weights([files], tmp_path / "model")
    stems = ("vocals", "drums", "accompaniment", "residual")
    separator = Separator.restore(tmp_path / "model", stems=stems)
    waveform = noise(3000)
    streamer = jaxsep.Streamer(separator, 8000, 2)
    parts = [streamer.push(waveform[:1234]), streamer.push(waveform[1234:]), streamer.finish()]
    for stem, expected in separator(waveform, 8000).items():
        streamed = np.concatenate([part[stem] for part in parts])
        np.testing.assert_allclose(streamed, expected, atol=1e-5)


def test_one_network_that_looks_ahead_makes_all_go_in_windows():
    fields = {"vocals": {**SMALL, "bidirectional": False}, "drums": SMALL}
    masker = OneNetworkEach(TINY_STFT, fields)
    assert masker.traits.windows is not None
    assert hash(masker) == hash(OneNetworkEach(TINY_STFT, fields))
    assert choose_windows(masker, 1) == OpenUnmixMasker(TINY_STFT, **SMALL).traits.windows
    assert masker.only(["vocals"]).traits.windows is None
    with pytest.raises(ValueError, match="hidden_size=7"):
        models.create("openunmix_targets", TINY_STFT, networks={"vocals": {"hidden_size": 7}})
    with pytest.raises(ValueError, match="networks is empty"):
        models.create("openunmix_targets", TINY_STFT, networks={})


def test_exported_targets_are_those_that_were_imported(weights, model, tmp_path):
    assert main(["export-openunmix", str(model), f"--output={tmp_path / 'files'}"]) == 0
    for seed, target in enumerate(FOUR):
        found = read_arrays(tmp_path / "files" / f"{target}.pth")
        original = read_arrays(weights / f"{target}.pth")
        assert found.keys() == original.keys()
        np.testing.assert_array_equal(found["fc3.weight"], original["fc3.weight"])
        args = json.loads((tmp_path / "files" / f"{target}.json").read_text())["args"]
        assert args["hidden_size"] == 8 + 2 * seed
    openunmix.import_weights([tmp_path / "files"], tmp_path / "again")
    before, after = (load_model(path).variables for path in (model, tmp_path / "again"))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_hop_of_half_a_frame_loses_no_sample(tmp_path):
    files = write_weights(tmp_path / "files", ("speech", "noise"), HALF)
    openunmix.import_weights([files], tmp_path / "model")
    masker, variables, _ = load_model(tmp_path / "model")
    output = variables["params"]["speech"]["output"]
    output["scale"], output["mean"] = 0 * output["scale"], 0 * output["mean"] + 1  # a mask of ones
    waveform = noise(9001, 1)
    stems = Separator(masker, variables)(waveform, 8000)
    assert list(stems) == ["noise", "speech"]
    np.testing.assert_allclose(stems["speech"], waveform, atol=1e-6)


@pytest.fixture
def package(monkeypatch):
    """The package, with its PyTorch."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    # It is imported for reading files and for resampling.
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("openunmix.model", reason="openunmix is not installed")


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("config", "targets"), [(TINY_STFT, FOUR), (HALF, ("speech", "noise"))])
def test_songs_are_separated_as_by_the_package(
    package, tmp_path, config, targets, residual, iterations
):
    import torch

    openunmix.import_weights([write_weights(tmp_path / "files", targets, config)], tmp_path / "it")
    masker, variables, _ = load_model(tmp_path / "it")
    networks = {}
    for target, network in masker.maskers.items():
        networks[target] = package.OpenUnmix(
            nb_bins=config.bins,
            nb_channels=config.channels,
            hidden_size=network.hidden_size,
            nb_layers=network.num_layers,
            max_bin=network.low_bins,
        ).eval()
        arrays = read_arrays(tmp_path / "files" / f"{target}.pth")
        state = {name: torch.tensor(array) for name, array in arrays.items()}
        networks[target].load_state_dict(state)
    peer = package.Separator(
        networks,
        niter=iterations,
        residual=residual,
        sample_rate=8000.0,
        n_fft=config.n_fft,
        n_hop=config.hop_length,
        nb_channels=config.channels,
    )
    # Silence around, and not quite silence: see the test of one target.
    song = np.random.default_rng(0).uniform(-1, 1, (25_088, config.channels)).astype("f4")
    waveform = song * np.pad(np.ones((9088, 1), "f4"), ((8000, 8000), (0, 0)), constant_values=1e-6)
    with torch.no_grad():
        expected = peer.to_dict(peer(torch.from_numpy(waveform.T.copy())[None]))
    stems = (*masker.targets, *(["residual"] if residual else []))
    found = Separator(masker, variables, stems=stems, wiener_iterations=iterations)(waveform, 8000)
    assert found.keys() == expected.keys()
    for stem, theirs in expected.items():
        np.testing.assert_allclose(found[stem], theirs[0].numpy().T, atol=1e-4)
