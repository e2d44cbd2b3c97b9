"""One function loads a model from wherever it is: a folder of its own, a training, a checkpoint."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxsep import models
from jaxsep.models import orbax_reader
from jaxsep.models.files import ARRAYS, CONFIG, ModelError
from jaxsep.models.load import load_model
from tests.helpers import TINY_STFT

FIELDS = {"name": "mlp", "hidden_size": 4}


def make(seed: int = 0):
    return models.init(models.create(stft=TINY_STFT, **FIELDS), jax.random.key(seed))


def metadata_of(sdr: float | None = None, **others):
    config = {"model": FIELDS, "data_dir": "/music/data", "loss": "mean_square"}
    return {"sdr": sdr, "stft": dataclasses.asdict(TINY_STFT), "config": config, **others}


def write_checkpoint(folder: Path, variables, metadata) -> Path:
    """Writes what separates of a checkpoint, as a training does."""
    items = ocp.args.Composite(
        model=ocp.args.StandardSave(variables),
        metadata=ocp.args.JsonSave(orbax_reader.sign({"model": variables}, metadata)),
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as saver:
        saver.save(folder, args=items)
    return folder


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """The checkpoints of a training of version 0.1.0, which left no model."""
    workdir = tmp_path_factory.mktemp("scored")
    for step, sdr in ((2, 5.0), (4, 9.0), (6, 7.0), (10, None)):
        write_checkpoint(workdir / "checkpoints" / str(step), make(step), metadata_of(sdr))
    return workdir


@pytest.fixture
def workdir(scored, tmp_path) -> Path:
    return shutil.copytree(scored, tmp_path / "workdir")


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_model_is_the_same_from_its_folder_its_training_and_its_checkpoint(tiny_workdir):
    sources = ("", "model", "checkpoints/2")
    first, *others = (load_model(tiny_workdir / source) for source in sources)
    for other in others:
        assert other.masker == first.masker and other.info == first.info
        assert_same(other.variables, first.variables)
    assert first.info.step == 2 and np.isfinite(first.info.scores["sdr"])
    config = json.loads((tiny_workdir / "config.json").read_text())
    assert first.info.training["loss"] == config["loss"]


def test_the_config_of_a_model_is_json_that_others_read_too():
    metadata = metadata_of()
    metadata["config"] |= {"grad_clip_norm": float("inf"), "mixing": {"speed": float("nan")}}
    training = orbax_reader.describe(metadata, step=1).training
    assert (training["grad_clip_norm"], training["mixing"]) == ("inf", {"speed": "nan"})
    assert training["loss"] == "mean_square" and training["data_dir"] == "data"


def test_a_model_does_not_say_where_it_was_trained(tiny_workdir):
    config = json.loads((tiny_workdir / "model" / CONFIG).read_text())
    assert config["training"]["data_dir"] and "/" not in config["training"]["data_dir"]


def test_of_checkpoints_the_best_is_taken(workdir):
    model = load_model(workdir)
    assert (model.info.step, model.info.scores) == (4, {"sdr": 9.0})
    assert_same(model.variables, make(4))


def test_before_there_is_a_score_the_latest_is_taken(tmp_path):
    for step in (9, 10):
        write_checkpoint(tmp_path / "checkpoints" / str(step), make(step), metadata_of())
    assert load_model(tmp_path).info.step == 10


def test_the_model_of_a_training_comes_before_its_checkpoints(tiny_workdir, tmp_path):
    # As after a kill between the model and the checkpoint of its step.
    shutil.copytree(tiny_workdir / "model", tmp_path / "model")
    write_checkpoint(tmp_path / "checkpoints" / "1", make(), metadata_of(-30.0))
    assert_same(load_model(tmp_path).variables, load_model(tiny_workdir).variables)


@pytest.mark.parametrize("damage", ["no config", "other arrays", "no folder"])
def test_without_a_sound_model_the_best_checkpoint_is_taken(tiny_workdir, workdir, caplog, damage):
    shutil.copytree(tiny_workdir / "model", workdir / "model")
    if damage == "no config":  # killed while the first model was written
        (workdir / "model" / CONFIG).unlink()
    elif damage == "other arrays":  # killed while it was replaced
        (workdir / "model" / ARRAYS).write_bytes(b"others")
    else:
        shutil.rmtree(workdir / "model")
    assert load_model(workdir).info.step == 4
    assert ("checkpoints/4" in caplog.text) == (damage != "no folder")


def damage(checkpoint: Path) -> None:
    (checkpoint / "metadata" / "metadata").write_text("{")


def test_damaged_checkpoints_are_named_and_the_next_best_taken(workdir, caplog):
    damage(workdir / "checkpoints" / "4")
    assert load_model(workdir).info.step == 6
    checksums = workdir / "checkpoints" / "6" / "metadata" / "metadata"
    checksums.write_text(checksums.read_text().replace('"mean_square"', '"absolute"'))
    caplog.clear()
    assert load_model(workdir).info.step == 2
    assert "checkpoints/6" in caplog.text and "using" in caplog.text
    for step in (2, 10):
        damage(workdir / "checkpoints" / str(step))
    with pytest.raises(ModelError, match="metadata can't be read") as error:
        load_model(workdir)
    assert "\n" not in str(error.value)


def test_a_flipped_byte_of_a_checkpoint_never_gives_other_numbers(scored, tmp_path):
    expected, refused = make(4), 0
    whole = scored / "checkpoints" / "4"
    for file in sorted(path for path in whole.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for position in range(0, len(content), max(1, len(content) // 4)):
            copy = shutil.copytree(whole, tmp_path / "4", dirs_exist_ok=True)
            changed = bytearray(content)
            changed[position] ^= 1
            (copy / file.relative_to(whole)).write_bytes(changed)
            try:
                assert_same(load_model(copy).variables, expected)
            except ModelError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 5


def test_arrays_whose_checksum_is_of_others_are_refused(tmp_path):
    others = orbax_reader.sign({"model": make(1)}, metadata_of())
    checkpoint = write_checkpoint(tmp_path / "1", make(2), metadata_of())
    (checkpoint / "metadata" / "metadata").write_text(json.dumps(others))
    with pytest.raises(ModelError, match=r"damaged, params/.* fails its checksum"):
        load_model(checkpoint)


def test_float16_of_a_model_of_version_0_1_0_becomes_float32(tmp_path):
    variables = make()
    halves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables["params"])
    write_checkpoint(
        tmp_path / "checkpoints" / "5",
        {**variables, "params": halves},
        metadata_of(provenance={"album": "CC0"}, params_dtype="float16", step=5),
    )
    found = load_model(tmp_path)
    assert found.info.step == 5 and found.info.provenance == {"album": "CC0"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found.variables)} == {"float32"}
    assert_same(found.variables["params"], halves)


OTHERS = {
    "an unknown type": (make, {"params_dtype": "object"}, "unknown type 'object'"),
    "another size": (lambda: resized(5), {}, "dense_1/bias is float32 .5., not float32 .4."),
    "doubles": (lambda: jax.tree.map(lambda a: np.asarray(a, "f8"), make()), {}, "is float64"),
    "no masker": (make, {"config": {}}, "unknown model"),
    "no format of sound": (make, {"stft": {"n_fft": 0}}, "n_fft=0"),
    "a score that is text": (make, {"sdr": "best"}, "its score is no number"),
}


def resized(hidden_size: int):
    fields = {**FIELDS, "hidden_size": hidden_size}
    return models.init(models.create(stft=TINY_STFT, **fields), jax.random.key(0))


@pytest.mark.parametrize(("variables", "changes", "words"), OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_that_makes_no_sense_is_one_line(tmp_path, variables, changes, words):
    checkpoint = write_checkpoint(tmp_path / "1", variables(), metadata_of() | changes)
    with pytest.raises(ModelError, match=words) as error:
        load_model(checkpoint)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make_path", "words"),
    [
        (lambda folder: folder / "nowhere", "no such folder; give a model's folder"),
        (lambda folder: folder, "no model in it; give a model's folder"),
        (lambda folder: (folder / "checkpoints").mkdir() or folder, "no checkpoint in it yet"),
    ],
)
def test_where_no_model_is_the_message_says_what_to_give(tmp_path, make_path, words):
    with pytest.raises(ModelError, match=words):
        load_model(make_path(tmp_path))


def test_a_folder_of_the_packaged_models_name_comes_first(tiny_workdir, tmp_path, monkeypatch):
    shutil.copytree(tiny_workdir / "model", tmp_path / "jaxsep-vocals")
    monkeypatch.chdir(tmp_path)
    assert load_model("jaxsep-vocals").info.step == 2
    monkeypatch.chdir("/")
    assert load_model("jaxsep-vocals").info.step == 360


def test_the_config_of_a_training_is_not_taken_for_a_models(tiny_workdir, tmp_path):
    shutil.copy(tiny_workdir / "config.json", tmp_path)
    with pytest.raises(ModelError, match=r"config\.json: not a model's"):
        load_model(tmp_path)


@pytest.mark.parametrize("address", ["http://example.com/model", "file:///model", "nothing://x"])
def test_an_address_that_cannot_be_opened_is_one_line(address):
    with pytest.raises(ModelError, match="can't be opened") as error:
        load_model(address)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["manifest.ocdbt", "ocdbt.process_0/manifest.ocdbt"])
@pytest.mark.parametrize("device", ["/dev/zero", None])
def test_a_device_or_a_pipe_in_a_checkpoint_is_not_read(workdir, file, device):
    checkpoint = workdir / "checkpoints" / "4"
    path = checkpoint / "model" / file
    path.unlink()
    if device:
        path.symlink_to(device)
    else:
        os.mkfifo(path)
    with pytest.raises(ModelError, match=r"manifest\.ocdbt is no ordinary file"):
        load_model(checkpoint)
