"""A model's folder: what was saved comes back, and nothing else does."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save

from jaxsep import models
from jaxsep.models import files
from jaxsep.models.files import ARRAYS, CONFIG, ModelError, ModelInfo, read_model, save_model
from jaxsep.models.load import load_model
from tests.helpers import TINY_STFT

INFO = ModelInfo(
    {"name": "mlp", "hidden_size": 4},
    TINY_STFT,
    step=7,
    scores={"sdr": 1.25},
    licence="CC0",
    provenance={"album": "CC0"},
    training={"loss": "mean_square"},
)


@pytest.fixture(scope="module")
def variables():
    return models.init(models.create(stft=TINY_STFT, **INFO.masker), jax.random.key(0))


@pytest.fixture
def folder(tmp_path, variables):
    save_model(tmp_path / "model", INFO, variables)
    return load_model(tmp_path / "model") and tmp_path / "model"


def forge(folder, *left_out: str, **changes):
    """Changes a config as somebody would who knows how it is signed."""
    config = json.loads((folder / CONFIG).read_text()) | changes
    for name in ("config_sha256", *left_out):
        del config[name]
    config["config_sha256"] = files._checksum(config)
    (folder / CONFIG).write_text(json.dumps(config))


def forge_arrays(folder, content: bytes):
    (folder / ARRAYS).write_bytes(content)
    forge(folder, sha256=hashlib.sha256(content).hexdigest())


def problem_of(folder) -> str:
    with pytest.raises(ModelError) as error:
        load_model(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(folder))
    return str(error.value)


NAMES = ["[1]", "two words", "100%", "#1", "a~b", "~", "ü", "{x}", "*"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_is_what_was_saved(variables, tmp_path, name):
    save_model(tmp_path / name / "it", INFO, variables)
    model = load_model(tmp_path / name / "it")
    assert model.masker == models.create(stft=TINY_STFT, **INFO.masker) and model.info == INFO
    jax.tree.map(np.testing.assert_array_equal, model.variables, variables)
    assert {path.name for path in (tmp_path / name / "it").iterdir()} == {CONFIG, ARRAYS}


def test_float16_rounds_the_parameters_alone(variables, tmp_path):
    save_model(tmp_path / "half", INFO, variables, dtype="float16")
    found = load_model(tmp_path / "half").variables
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32"}
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables["params"])
    jax.tree.map(np.testing.assert_array_equal, found["params"], rounded)
    jax.tree.map(np.testing.assert_array_equal, found["statistics"], variables["statistics"])
    assert json.loads((tmp_path / "half" / CONFIG).read_text())["dtype"] == "float16"


def test_others_can_read_it(folder, variables):
    config = json.loads((folder / CONFIG).read_text())
    assert config["masker"] == INFO.masker and config["targets"] == ["vocals"]
    assert config["licence"] == "CC0" and config["scores"] == {"sdr": 1.25}
    assert config["sha256"] == hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    kernel = load_file(folder / ARRAYS)["params/mask/dense/kernel"]
    np.testing.assert_array_equal(kernel, variables["params"]["mask"]["dense"]["kernel"])


def test_a_flipped_bit_of_the_arrays_is_refused(folder):
    whole = (folder / ARRAYS).read_bytes()
    for position in [*range(60), *range(60, len(whole), len(whole) // 20), len(whole) - 1]:
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        (folder / ARRAYS).write_bytes(content)
        assert "fails its checksum" in problem_of(folder)


def test_a_flipped_bit_of_the_config_is_refused_or_changes_nothing(folder):
    whole = (folder / CONFIG).read_bytes()
    refused = 0
    for position in range(0, len(whole), 9):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        (folder / CONFIG).write_bytes(content)
        try:
            assert load_model(folder).info == INFO  # one space became another
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > len(range(0, len(whole), 9)) / 2


@pytest.mark.parametrize("name", [CONFIG, ARRAYS])
@pytest.mark.parametrize("size", [0, 1, 9, 100, -1])
def test_a_truncated_file_is_refused(folder, name, size):
    (folder / name).write_bytes((folder / name).read_bytes()[: size - (size < 0)])
    assert name in problem_of(folder)


@pytest.mark.parametrize("name", [CONFIG, ARRAYS])
def test_a_missing_file_or_a_folder_in_its_place_is_refused(folder, name):
    (folder / name).unlink()
    assert "no model in it" in (found := problem_of(folder)) or name in found
    (folder / name).mkdir()
    assert name in problem_of(folder)


FORGED = {
    "another format": ({"format": 2}, "a model of format 2, not 1"),
    "no number as format": ({"format": float("inf")}, ""),
    "an unknown masker": ({"masker": {"name": "wavenet"}}, "'wavenet' is unknown"),
    "no name": ({"masker": {"hidden_size": 4}}, "unknown model"),
    "an unknown field": ({"masker": {**INFO.masker, "hidden": 4}}, "hidden"),
    "no masker": ({"masker": None}, "masker is no dict"),
    "a list as masker": ({"masker": []}, "masker is no dict"),
    "text as a size": ({"masker": {**INFO.masker, "hidden_size": "4"}}, "unknown model"),
    "half a unit": ({"masker": {**INFO.masker, "hidden_size": 4.5}}, "unknown model"),
    "infinite units": ({"masker": {**INFO.masker, "hidden_size": float("inf")}}, ""),
    "no size": ({"masker": {**INFO.masker, "hidden_size": None}}, "unknown model"),
    "fewer than no units": ({"masker": {**INFO.masker, "hidden_size": -4}}, ""),
    "no units": ({"masker": {**INFO.masker, "hidden_size": 0}}, ""),
    "other units": ({"masker": {**INFO.masker, "hidden_size": 5}}, "aren't those of its model"),
    "many units": ({"masker": {**INFO.masker, "hidden_size": 10**6}}, "must be a whole number"),
    "no format of sound": ({"stft": None}, "not a model's"),
    "an endless window": ({"stft": {"n_fft": float("inf")}}, ""),
    "a text as rate": ({"stft": {"sample_rate": "8000"}}, "sample_rate"),
    "other frames": ({"stft": {"n_fft": 512, "hop_length": 128}}, "aren't those of its model"),
    "other targets": ({"targets": ["drums"]}, "its targets aren't those of its masker"),
    "an unknown type": ({"dtype": "object"}, "unknown type 'object'"),
    "a list of types": ({"dtype": ["float32"]}, "unknown type"),
    "another type": ({"dtype": "float16"}, "is float32 [4], not float16 [4]"),
    "no step": ({"step": "last"}, "step is no int"),
    "no scores": ({"scores": [1]}, "scores is no dict"),
    "a training that is a text": ({"training": "x"}, "training is no dict"),
    "a checksum of another kind": ({"sha256": None}, "fails its checksum"),
}


@pytest.mark.parametrize(("changes", "words"), FORGED.values(), ids=FORGED)
def test_a_config_that_makes_no_sense_is_one_line(folder, changes, words):
    forge(folder, **changes)
    assert words in problem_of(folder)


@pytest.mark.parametrize("name", ["masker", "stft", "targets", "dtype", "sha256"])
def test_a_config_without_what_is_needed_is_one_line(folder, name):
    forge(folder, name)
    assert name in problem_of(folder)


def test_what_a_config_does_not_say_is_unknown(folder):
    forge(folder, "licence", "provenance", "training", "step")
    info = load_model(folder).info
    assert (info.licence, info.provenance, info.training, info.step) == ("", None, {}, 0)


TEXTS = {
    "deep lists": "[" * 200_000,
    "deep objects": '{"masker":' * 100_000,
    "a deep value": '{"config_sha256": "", "format": 1, "x": ' + "[" * 800 + "]" * 800 + "}",
    "infinity": "Infinity",
    "a number too large": '{"format": 1e400}',
    "an endless number": '{"format": ' + "9" * 10_000 + "}",
    "a list": "[]",
    "nothing": "",
    "no UTF-8": "\udcff",
    "another JSON": '{"data_dir": "x"}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_json_that_is_no_config_is_one_line(folder, text):
    (folder / CONFIG).write_bytes(text.encode(errors="surrogateescape"))
    assert CONFIG in problem_of(folder)


def change(name: str, value):
    def arrays_of(folder) -> dict[str, np.ndarray]:
        arrays = load_file(folder / ARRAYS)
        arrays[name] = value(arrays.get(name))
        return {name: array for name, array in arrays.items() if array is not None}

    return arrays_of


BIAS = "params/dense_1/bias"
OTHER_ARRAYS = {
    "one more": (change("params/dense_3/bias", lambda _: np.zeros(4, "f4")), "not missing"),
    "one less": (change(BIAS, lambda _: None), f"{BIAS} is missing, not float32 [4]"),
    "longer": (change(BIAS, lambda _: np.zeros(5, "f4")), "is float32 [5], not float32 [4]"),
    "of more axes": (change(BIAS, lambda a: a[None]), "is float32 [1, 4], not float32 [4]"),
    "doubles": (change(BIAS, lambda a: a.astype("f8")), "is float64 [4], not float32 [4]"),
    "integers": (change(BIAS, lambda a: a.astype("i4")), "is int32 [4], not float32 [4]"),
    "halves": (change("statistics/normalise/mean", lambda a: a.astype("f2")), "is float16"),
}


@pytest.mark.parametrize(("arrays_of", "words"), OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_arrays_that_are_not_the_maskers_are_refused(folder, arrays_of, words):
    forge_arrays(folder, save(arrays_of(folder)))
    assert words in problem_of(folder)


def header(**arrays) -> bytes:
    text = json.dumps(arrays).encode()
    return struct.pack("<Q", len(text)) + text


HEADERS = {
    "a header beyond the file": struct.pack("<Q", 2**63) + b"{}",
    "an array beyond the file": header(
        x={"dtype": "F32", "shape": [160_000, 160_000], "data_offsets": [0, 102_400_000_000]}
    ),
    "a size that overflows": header(
        x={"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}
    ),
    "bytes of another": header(
        x={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        y={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    )
    + b"1234",
    "a type that NumPy lacks": header(x={"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]})
    + b"12",
    "no type at all": header(x={"dtype": "X", "shape": [1], "data_offsets": [0, 2]}) + b"12",
    "deep JSON": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "no header": b"",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_header_that_lies_is_one_line(folder, content):
    forge_arrays(folder, content)
    assert "model.safetensors: damaged" in problem_of(folder)


def test_a_file_far_larger_than_its_model_is_not_read(folder):
    with (folder / ARRAYS).open("ab") as file:
        file.truncate(2**40)  # sparse: it takes no room
    assert "more than its model has" in problem_of(folder)


@pytest.mark.parametrize("name", [CONFIG, ARRAYS])
@pytest.mark.parametrize("device", ["/dev/zero", None])
def test_a_device_or_a_pipe_in_a_file_s_place_is_not_read(folder, name, device):
    (folder / name).unlink()
    if device:
        (folder / name).symlink_to(device)
    else:
        os.mkfifo(folder / name)
    assert f"{name}: can't be read (no ordinary file)" in problem_of(folder)


def test_a_write_that_ends_between_the_files_leaves_the_old_model_or_none(
    folder, variables, monkeypatch
):
    def fail(path, value):
        raise OSError("the disk is full")

    monkeypatch.setattr(files, "write_json", fail)
    changed = jax.tree.map(lambda leaf: leaf + 1, variables)
    with pytest.raises(OSError, match="disk is full"):
        save_model(folder, INFO, changed)
    assert "fails its checksum" in problem_of(folder)
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="disk is full"):
        save_model(folder, INFO, changed)
    assert "no model in it" in problem_of(folder)


def test_loading_a_model_imports_neither_orbax_nor_tensorstore():
    code = "import sys; from jaxsep.models.load import load_model; load_model('jaxsep-vocals')"
    code += "; print({'orbax', 'tensorstore'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_a_model_of_before_is_replaced(folder, variables):
    save_model(folder, INFO, jax.tree.map(lambda leaf: leaf + 1, variables), dtype="float16")
    found = read_model(files.epath.Path(folder)).variables["params"]["dense_1"]["bias"]
    np.testing.assert_array_equal(found, 1.0)
