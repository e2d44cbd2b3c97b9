import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxsep.cli.main import main
from jaxsep.models import files as model_files
from jaxsep.models.files import CheckpointError
from jaxsep.separation.separator import Separator


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_exported_model_separates_as_the_training_it_is_from(tiny_workdir, tmp_path, dtype):
    output = tmp_path / "models" / "small"
    assert main(["export", str(tiny_workdir), f"--output={output}", f"--dtype={dtype}"]) == 0
    noise = np.random.default_rng(0).normal(0, 0.1, (4000, 2))
    here, there = (
        Separator.restore(path)(noise, 8000)["vocals"] for path in (tiny_workdir, output)
    )
    np.testing.assert_allclose(here, there, atol=1e-3 if dtype == "float16" else 0)
    assert not list(output.parent.glob(".part-*"))


def test_float16_is_rounding_and_no_more(tiny_workdir, tmp_path):
    main(["export", str(tiny_workdir), f"--output={tmp_path / 'small'}"])
    (_, _, exact), (_, _, rounded) = map(
        model_files.restore_best, (tiny_workdir, tmp_path / "small")
    )
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), exact["params"])
    jax.tree.map(np.testing.assert_array_equal, rounded["params"], expected)
    jax.tree.map(np.testing.assert_array_equal, rounded["statistics"], exact["statistics"])


def test_origin_and_config_stay_with_the_model(tiny_workdir, tmp_path):
    (tmp_path / "sources.json").write_text(json.dumps({"album": "CC0"}))
    arguments = [f"--output={tmp_path / 'small'}", f"--provenance={tmp_path / 'sources.json'}"]
    assert main(["export", str(tiny_workdir), *arguments]) == 0
    (checkpoint,) = model_files.find_checkpoints(tmp_path / "small")
    before = model_files.read_metadata(model_files.find_checkpoints(tiny_workdir)[0])
    after = model_files.read_metadata(checkpoint)
    assert after["provenance"] == {"album": "CC0"}
    folder = Path(before["config"]["data_dir"]).name
    assert after["config"] == before["config"] | {"data_dir": folder}
    assert after["data_set"] == before["data_set"]


def test_what_is_there_is_not_overwritten(tiny_workdir, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    assert main(["export", str(tiny_workdir), f"--output={tmp_path / 'there'}"]) == 2
    assert "already there" in capsys.readouterr().err
    assert not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--output=x"], "no such folder"),
        (["WORKDIR", "--output=x", "--provenance=nothing.json"], "nothing.json"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(tiny_workdir, capsys, arguments, message):
    arguments = [argument.replace("WORKDIR", str(tiny_workdir)) for argument in arguments]
    assert main(["export", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_parameters_of_an_unknown_type_are_refused(tiny_workdir, tmp_path, monkeypatch):
    metadata = model_files.read_metadata(model_files.find_checkpoints(tiny_workdir)[0])
    monkeypatch.setattr(
        model_files, "read_metadata", lambda _: {**metadata, "params_dtype": "object"}
    )
    with pytest.raises(CheckpointError, match="unknown 'object'"):
        model_files.restore_best(tiny_workdir)


def test_arrays_of_another_model_are_refused(tiny_workdir, monkeypatch):
    metadata = model_files.read_metadata(model_files.find_checkpoints(tiny_workdir)[0])
    metadata["config"]["model"]["hidden_size"] += 2
    monkeypatch.setattr(model_files, "read_metadata", lambda _: metadata)
    with pytest.raises(CheckpointError, match="aren't those of its model"):
        model_files.restore_best(tiny_workdir)


def test_an_exported_model_does_not_say_where_it_was_made(tiny_workdir, tmp_path):
    assert main(["export", str(tiny_workdir), f"--output={tmp_path / 'small'}"]) == 0
    trained_on = model_files.read_metadata(model_files.find_checkpoints(tiny_workdir)[0])["config"]
    places = (str(tmp_path), str(tiny_workdir), str(Path(trained_on["data_dir"]).parent))
    for path in (tmp_path / "small").rglob("*"):
        for place in places:
            assert path.is_dir() or place.encode() not in path.read_bytes(), (path, place)
