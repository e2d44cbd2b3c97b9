"""Open-Unmix's network, the import of its weights, and their way back."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from jaxsep import models
from jaxsep.cli.main import main
from jaxsep.convert import openunmix, openunmix_files
from jaxsep.convert.arrays import write_model
from jaxsep.convert.openunmix_files import PUBLISHED_STFT, SPEECH_STFT
from jaxsep.convert.torch_files import read_arrays
from jaxsep.models.load import load_model
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.separation.separator import Separator
from jaxsep.spectrogram import istft, stft
from jaxsep.stft_config import StftConfig
from tests.helpers import TINY_OPENUNMIX, TINY_STFT, assert_one_line, random_arrays, settings_of

BOTH = pytest.mark.parametrize("bidirectional", [False, True])


def make(**fields) -> tuple[OpenUnmixMasker, dict]:
    masker = OpenUnmixMasker(TINY_STFT, **{**TINY_OPENUNMIX, **fields})
    return masker, openunmix.to_variables(random_arrays(masker), masker, name="it")


def magnitudes(frames: int = 12, config: StftConfig = TINY_STFT, batch: int = 2) -> np.ndarray:
    shape = (batch, frames, config.channels, config.bins)
    return np.random.default_rng(1).gamma(1.0, 1.0, shape).astype("f4")


def predict(masker, variables, magnitude, **kwargs) -> np.ndarray:
    carry = masker.initial_carry(len(magnitude))
    return np.asarray(jax.jit(masker.apply)(variables, magnitude, carry, **kwargs)[0])


def test_masks_have_only_a_lower_limit():
    mask = predict(*make(), magnitudes())
    assert mask.min() == 0 and mask.max() > 1


def test_bins_above_the_low_ones_are_not_heard():
    masker, variables = make()
    magnitude = magnitudes()
    louder = np.concatenate([magnitude[..., :100], 9 * magnitude[..., 100:]], axis=-1)
    before, after = (predict(masker, variables, x) for x in (magnitude, louder))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    "fields", [{"num_layers": 0}, {"hidden_size": 7}, {"low_bins": 130}, {"low_bins": 0}]
)
def test_impossible_fields_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        models.create("openunmix", TINY_STFT, **{**TINY_OPENUNMIX, **fields})


@pytest.fixture
def weights(tmp_path) -> Path:
    """The folder of a training by Open-Unmix."""
    folder = tmp_path / "training"
    folder.mkdir()
    masker = OpenUnmixMasker(TINY_STFT, **TINY_OPENUNMIX)
    (folder / "vocals.pth").write_bytes(pickle.dumps(random_arrays(masker), 2))
    (folder / "separator.json").write_text(json.dumps(settings_of(TINY_STFT)))
    return folder


@pytest.mark.parametrize("name", ["", "vocals.pth"])
def test_an_imported_model_is_that_of_the_file(weights, tmp_path, capsys, name):
    output = tmp_path / "models" / "umx"
    assert main(["import-openunmix", str(weights / name), f"--output={output}"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{output}\n"
    assert_one_line(printed.err, "the licence of these weights isn't known")
    masker, variables, info = load_model(output)
    assert masker == OpenUnmixMasker(TINY_STFT, **TINY_OPENUNMIX)
    jax.tree.map(np.testing.assert_array_equal, variables, make()[1])
    checksum = hashlib.sha256((weights / "vocals.pth").read_bytes()).hexdigest()
    assert info.provenance == {
        "model": None, "licence": None, "training": None, "sha256": {"vocals.pth": checksum}
    }  # fmt: skip
    assert [path.name for path in output.parent.iterdir()] == ["umx"]


def publish(monkeypatch, file: Path, target: str) -> None:
    """Makes a file one that Open-Unmix's authors have published."""
    digits = {target: hashlib.sha256(file.read_bytes()).hexdigest()[:8]}
    known = openunmix_files.PUBLISHED["umxl"]._replace(digits=digits, stft=TINY_STFT)
    monkeypatch.setitem(openunmix_files.PUBLISHED, "umxl", known)


def test_a_published_models_licence_is_shown_and_kept(weights, tmp_path, monkeypatch, capsys):
    publish(monkeypatch, weights / "vocals.pth", "vocals")
    assert main(["import-openunmix", str(weights), f"--output={tmp_path / 'umx'}"]) == 0
    assert_one_line(capsys.readouterr().err, "umxl", "CC BY-NC-SA 4.0", "non-commercial")
    info = load_model(tmp_path / "umx").info
    assert info.provenance["model"] == "umxl" and info.licence.startswith("CC BY-NC-SA 4.0")


def test_published_weights_are_known_by_what_they_are_not_by_their_name(
    weights, tmp_path, monkeypatch
):
    publish(monkeypatch, weights / "vocals.pth", "drums")
    (weights / "separator.json").unlink()
    openunmix.import_weights([weights], tmp_path / "umx")
    assert load_model(tmp_path / "umx").masker.targets == ("drums",)


def change_settings(weights: Path, **changes) -> None:
    (weights / "separator.json").write_text(json.dumps({**settings_of(TINY_STFT), **changes}))


def change_arrays(weights: Path, **changes) -> None:
    arrays = random_arrays(OpenUnmixMasker(TINY_STFT, **TINY_OPENUNMIX))
    arrays |= {name.replace("__", "."): array for name, array in changes.items()}
    kept = {name: array for name, array in arrays.items() if array is not None}
    (weights / "vocals.pth").write_bytes(pickle.dumps(kept, 2))


# A dict whose key is a tuple of tuples of ...: to hash it takes 2**44 steps. And one text that is
# encoded 1,000 times.
PAIRS = b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(1, 45))
ENDLESS = b"\x80\x02})q\x01" + PAIRS + b"K\x01s."
LONG_TEXT = b"X" + (10_000).to_bytes(4, "little") + b"a" * 10_000
ENCODE = b"c_codecs\nencode\nq\x01"
AGAIN_AND_AGAIN = b"\x80\x02](" + LONG_TEXT + b"q\0" + ENCODE
AGAIN_AND_AGAIN += b"h\1h\0X\6\0\0\0latin1\x86R" * 1000 + b"e."
ENDLESS_LAYERS = {f"lstm__weight_ih_l{k}": np.zeros(0) for k in range(2, 1000)}

UNUSABLE = {
    "no settings": (lambda w: (w / "separator.json").unlink(), "lay Open-Unmix's separator.json"),
    "no JSON": (lambda w: (w / "separator.json").write_text("{"), "separator.json: no usable"),
    "deep settings": (
        lambda w: (w / "separator.json").write_text("[" * 200_000),
        "more than 100 lists",
    ),
    "infinite settings": (
        lambda w: (w / "separator.json").write_text('{"nfft": Infinity}'),
        "Infinity is no finite",
    ),
    "too large settings": (
        lambda w: (w / "separator.json").write_text('{"nfft": 1e400}'),
        "1e400 is no finite",
    ),
    "an endless key": (lambda w: (w / "vocals.pth").write_bytes(ENDLESS), "key that is a tuple"),
    "a text again and again": (
        lambda w: (w / "vocals.pth").write_bytes(AGAIN_AND_AGAIN),
        "more bytes than it has",
    ),
    "no hop": (lambda w: (w / "separator.json").write_text("{}"), "separator.json: no usable"),
    "a hop of a whole frame": (
        lambda w: change_settings(w, nhop=256),
        "hop_length=256 must be at most half a window",
    ),
    "other bins": (
        lambda w: change_settings(w, nfft=512),
        "makes 257 bins, but vocals.pth has 129",
    ),
    "other channels": (lambda w: change_settings(w, nb_channels=1), "fc1.weight of the shape"),
    "two vocals": (
        lambda w: shutil.copy(w / "vocals.pth", w / "vocals-1.pth"),
        "vocals.pth are both for vocals; give one",
    ),
    "no weights": (lambda w: (w / "vocals.pth").unlink(), "has no .pth file"),
    "the name of a stem that we make": (
        lambda w: (w / "vocals.pth").rename(w / "residual.pth"),
        "'residual' can't name a target",
    ),
    "another network": (lambda w: change_arrays(w, fc1__weight=None), "aren't the weights of an"),
    "no layer": (lambda w: change_arrays(w, bn2__bias=None), "there is no array bn2.bias"),
    "one more": (lambda w: change_arrays(w, fc4=np.zeros(3)), "fc4 is no array of this network"),
    "no LSTM": (
        lambda w: change_arrays(w, **{f"lstm__weight_ih_l{k}": None for k in (0, 1)}),
        "num_layers=0",
    ),
    "endless layers": (lambda w: change_arrays(w, **ENDLESS_LAYERS), "num_layers=1000 must be"),
    "doubles": (lambda w: change_arrays(w, input_mean=np.zeros(100)), "type float64"),
    "a command": (
        lambda w: (w / "vocals.pth").write_bytes(pickle.dumps(os.system, 2)),
        "vocals.pth: refused, it asks for 'posix.system'",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_weights_are_one_line_and_code_2(weights, tmp_path, capsys, spoil, words):
    spoil(weights)
    assert main(["import-openunmix", str(weights), f"--output={tmp_path / 'umx'}"]) == 2
    assert_one_line(capsys.readouterr().err, words)
    assert [path.name for path in tmp_path.iterdir()] == ["training"]


def test_a_missing_file_and_a_model_that_is_there_are_one_line_and_code_2(
    weights, tmp_path, capsys
):
    assert main(["import-openunmix", str(tmp_path / "no.pth"), f"--output={tmp_path / 'x'}"]) == 2
    assert_one_line(capsys.readouterr().err, "no.pth: can't be read (No such file")
    assert main(["import-openunmix", str(weights), f"--output={weights}"]) == 2
    assert_one_line(capsys.readouterr().err, "training is already there")


def test_what_the_files_of_2019_hold_beside_the_weights_is_left_out(weights, tmp_path):
    window = {"stft__window": np.ones(256, "f4"), "transform__0__window": np.ones(256, "f4")}
    change_arrays(weights, sample_rate=np.array(8000), **window)
    openunmix.import_weights([weights], tmp_path / "umx")
    assert load_model(tmp_path / "umx").masker == OpenUnmixMasker(TINY_STFT, **TINY_OPENUNMIX)


def test_songs_are_separated_by_an_imported_model(weights, tmp_path):
    song = tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).uniform(-0.3, 0.3, (9000, 2)), 8000, "FLOAT")
    model, output = tmp_path / "umx", tmp_path / "out"
    assert main(["import-openunmix", str(weights), f"--output={model}"]) == 0
    assert main(["separate", str(song), f"--model={model}", f"--output={output}"]) == 0
    vocals, rest, mixture = (
        soundfile.read(path)[0]
        for path in (output / "song" / "vocals.wav", output / "song" / "accompaniment.wav", song)
    )
    assert np.abs(vocals).max() > 0.01
    np.testing.assert_allclose(vocals + rest, mixture, atol=1e-6)


@BOTH
@pytest.mark.parametrize("file_format", ["pth", "safetensors"])
def test_exported_weights_are_those_that_were_imported(
    weights, tmp_path, capsys, file_format, bidirectional
):
    masker = OpenUnmixMasker(TINY_STFT, **TINY_OPENUNMIX, bidirectional=bidirectional)
    arrays = random_arrays(masker)
    (weights / "vocals.pth").write_bytes(pickle.dumps(arrays, 2))
    model, output = tmp_path / "umx", tmp_path / "files"
    openunmix.import_weights([weights], model)
    command = ["export-openunmix", str(model), f"--output={output}", f"--format={file_format}"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}\n"
    read = read_arrays if file_format == "pth" else load_file
    found = read(output / f"vocals.{file_format}")
    for name, array in arrays.items():
        if "bias_ih" in name:
            array = array + arrays[name.replace("_ih_", "_hh_")]
        elif "bias_hh" in name or "num_batches" in name:
            array = np.zeros_like(array)
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found.pop(name), array)
    assert not found
    provenance = load_model(model).info.provenance
    assert json.loads((output / "vocals.json").read_text())["provenance"] == provenance
    assert json.loads((output / "separator.json").read_text()) == settings_of(TINY_STFT)


def test_a_model_of_another_kind_is_not_exported(tmp_path, capsys):
    masker = models.create("lstm", TINY_STFT, hidden_size=4)
    fields = {"name": "lstm", "hidden_size": 4}
    write_model(tmp_path / "lstm", TINY_STFT, fields, models.init(masker, jax.random.key(0)), {})
    assert main(["export-openunmix", str(tmp_path / "lstm"), f"--output={tmp_path / 'x'}"]) == 2
    assert_one_line(capsys.readouterr().err, "lstm: a model of another kind", "import-openunmix")
    assert main(["export-openunmix", str(tmp_path / "no"), f"--output={tmp_path / 'x'}"]) == 2
    assert_one_line(capsys.readouterr().err, "no: no such folder")
    assert not (tmp_path / "x").exists()


SHAPES = {
    "umxhq": (PUBLISHED_STFT, {}),
    "unidirectional": (PUBLISHED_STFT, {"bidirectional": False}),
    "umxl": (PUBLISHED_STFT, {"hidden_size": 1024}),
    "umxse": (SPEECH_STFT, {"hidden_size": 256, "low_bins": 513}),
}


def make_both(openunmix_package, folder: Path, config: StftConfig, **fields):
    """Makes the package's network, with random weights, and ours by its file."""
    import torch

    masker = OpenUnmixMasker(config, **fields)
    network = openunmix_package.OpenUnmix(
        nb_bins=config.bins,
        nb_channels=config.channels,
        hidden_size=masker.hidden_size,
        nb_layers=masker.num_layers,
        unidirectional=not masker.bidirectional,
        max_bin=masker.low_bins,
    ).eval()
    state = {name: torch.from_numpy(array) for name, array in random_arrays(masker).items()}
    network.load_state_dict(state)
    torch.save(network.state_dict(), folder / "vocals.pth")
    (folder / "separator.json").write_text(json.dumps(settings_of(config)))
    openunmix.import_weights([folder], folder / "model")
    return network, *load_model(folder / "model")[:2]


@pytest.mark.parametrize(("config", "fields"), SHAPES.values(), ids=SHAPES)
def test_estimates_of_the_vocals_equal_the_packages(openunmix_package, tmp_path, config, fields):
    import torch

    network, masker, variables = make_both(openunmix_package, tmp_path, config, **fields)
    mixture = magnitudes(20, config)
    # In float64: on some processors the same input is now and then 4e-5 off in PyTorch's float32.
    with torch.no_grad():
        inputs = torch.from_numpy(mixture.transpose(0, 2, 3, 1).astype("f8"))
        expected = network.double()(inputs).numpy()
    found = (predict(masker, variables, mixture)[:, 0] * mixture).transpose(0, 2, 3, 1)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < 2e-6


def test_transforms_equal_the_packages(openunmix_package):
    import torch

    transform, inverse = openunmix_package.make_filterbanks(n_fft=256, n_hop=64, center=True)
    waveform = np.random.default_rng(0).uniform(-1, 1, (5000, 2)).astype("f4")
    theirs = transform(torch.from_numpy(waveform.T.copy())[None])
    ours = np.asarray(stft(jnp.asarray(waveform), TINY_STFT))
    expected = torch.view_as_complex(theirs)[0].numpy().transpose(2, 0, 1)
    # The package mirrors the sound at both ends, where there is silence here.
    np.testing.assert_allclose(ours[2:-2], expected[2:-2], atol=1e-5 * TINY_STFT.full_scale)
    mask = np.random.default_rng(1).uniform(0, 1, expected.shape).astype("f4")
    masked = torch.from_numpy((mask * expected).transpose(1, 2, 0).copy())
    expected = inverse(torch.view_as_real(masked)[None], length=5000)[0].numpy().T
    found = istft(jnp.asarray(masked.numpy().transpose(2, 0, 1)), TINY_STFT, length=5000)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@BOTH
@pytest.mark.parametrize("iterations", [0, 1])
def test_songs_are_separated_as_by_the_package(
    openunmix_package, tmp_path, bidirectional, iterations
):
    import torch

    network, masker, variables = make_both(
        openunmix_package,
        tmp_path,
        TINY_STFT,
        **{**TINY_OPENUNMIX, "hidden_size": 64},
        bidirectional=bidirectional,
    )
    settings = {"sample_rate": 8000.0, "n_fft": 256, "n_hop": 64}
    peer = openunmix_package.Separator(
        {"vocals": network}, niter=iterations, residual=True, **settings
    )
    # Silence around, for the package mirrors the sound at both ends; and as long that the LSTMs are
    # at rest, for the first frame of ours is one earlier. Not quite silence: in a spectrogram that
    # it filters the package makes ones of zeros.
    song = np.random.default_rng(0).uniform(-1, 1, (25_000, 2)).astype("f4")
    waveform = song * np.pad(np.ones((9000, 1), "f4"), ((8000, 8000), (0, 0)), constant_values=1e-6)
    with torch.no_grad():
        estimates = peer(torch.from_numpy(waveform.T.copy())[None])[0].numpy()
    stems = Separator(masker, variables, wiener_iterations=iterations)(waveform, 8000)
    for stem, expected in zip(("vocals", "accompaniment"), estimates, strict=True):
        np.testing.assert_allclose(stems[stem], expected.T, atol=1e-4 if iterations else 1e-5)


def test_unidirectional_weights_that_the_packages_loader_refuses_are_read(
    openunmix_package, tmp_path
):
    from openunmix.utils import load_target_models

    _, masker, _ = make_both(
        openunmix_package, tmp_path, TINY_STFT, **TINY_OPENUNMIX, bidirectional=False
    )
    args = {"nfft": 256, "nb_channels": 2, "hidden_size": 8, "unidirectional": True}
    (tmp_path / "vocals.json").write_text(json.dumps({"args": args}))
    with pytest.raises(RuntimeError, match="size mismatch for lstm"):
        load_target_models(["vocals"], str(tmp_path))
    assert masker.traits.windows is None


def test_the_package_separates_with_exported_weights(openunmix_package, tmp_path):
    import torch
    from openunmix.utils import load_separator

    network, _, _ = make_both(
        openunmix_package, tmp_path, TINY_STFT, **{**TINY_OPENUNMIX, "num_layers": 3}
    )
    assert main(["export-openunmix", str(tmp_path / "model"), f"--output={tmp_path / 'out'}"]) == 0
    peer = load_separator(str(tmp_path / "out"), targets=["vocals"], niter=0).eval()
    mixture = torch.from_numpy(magnitudes().transpose(0, 2, 3, 1).copy())
    with torch.no_grad():
        found, expected = peer.target_models["vocals"](mixture), network(mixture)
    np.testing.assert_allclose(found, expected, atol=1e-5)
