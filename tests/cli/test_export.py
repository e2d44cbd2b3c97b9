import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxsep.cli.main import main
from jaxsep.models import files
from jaxsep.models.load import load_model
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
    exact, rounded = (load_model(p).variables for p in (tiny_workdir, tmp_path / "small"))
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), exact["params"])
    jax.tree.map(np.testing.assert_array_equal, rounded["params"], expected)
    jax.tree.map(np.testing.assert_array_equal, rounded["statistics"], exact["statistics"])


def test_origin_and_config_stay_with_the_model(tiny_workdir, tmp_path):
    (tmp_path / "sources.json").write_text(json.dumps({"album": "CC0"}))
    arguments = [f"--output={tmp_path / 'small'}", f"--provenance={tmp_path / 'sources.json'}"]
    arguments.append("--licence=CC0 too")
    assert main(["export", str(tiny_workdir), *arguments]) == 0
    before, after = (load_model(path).info for path in (tiny_workdir, tmp_path / "small"))
    assert before.data_set["name"] == "built_in_band" and before.scores
    changes = {"provenance": {"album": "CC0"}, "licence": "CC0 too"}
    assert after == dataclasses.replace(before, **changes)


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


def test_an_exported_model_does_not_say_where_it_was_made(tiny_workdir, tmp_path):
    assert main(["export", str(tiny_workdir), f"--output={tmp_path / 'small'}"]) == 0
    checkpoint = tiny_workdir / "checkpoints/2/metadata/metadata"
    for path in (checkpoint, *(tmp_path / "small").iterdir()):
        for place in (tmp_path, tiny_workdir, tiny_workdir.parent):
            assert str(place).encode() not in path.read_bytes(), (path, place)


@pytest.mark.parametrize("source", ["model", "checkpoints/2", "again"])
def test_any_form_of_a_model_is_exported_alike(tiny_workdir, tmp_path, source):
    assert main(["export", str(tiny_workdir), f"--output={tmp_path / 'first'}"]) == 0
    source = tmp_path / "first" if source == "again" else tiny_workdir / source
    assert main(["export", str(source), f"--output={tmp_path / 'second'}"]) == 0
    for name in ("config.json", "model.safetensors"):
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_an_export_that_fails_leaves_nothing(tiny_workdir, tmp_path, monkeypatch, capsys):
    def fail(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_json", fail)
    output = tmp_path / "models" / "small"
    assert main(["export", str(tiny_workdir), f"--output={output}"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(output.parent.iterdir())
