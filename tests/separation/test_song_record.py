"""A record says whose stems lie in a folder, and whether they are what they were."""

import jax
import numpy as np
import pytest

from jaxsep import models
from jaxsep.files import sha256_of
from jaxsep.separation import song_record
from jaxsep.separation.song_record import Making, SongRecord, SongRecordError, digest_of
from tests.helpers import TINY_STFT

MAKING = Making("model", {"format": "wav", "bit_depth": None})


@pytest.fixture
def stems(tmp_path):
    paths = [tmp_path / "vocals.wav", tmp_path / "accompaniment.wav"]
    for path in paths:
        path.write_text(path.name, encoding="utf-8")
    record = SongRecord("source", "song.wav")
    record.add(MAKING, {path.name: sha256_of(path) for path in paths}, seconds=2.5)
    record.write(tmp_path)
    return paths


def test_it_is_read_as_it_was_written(tmp_path, stems):
    record = song_record.read(tmp_path)
    assert record and (record.source, record.name) == ("source", "song.wav")
    assert record.holds(MAKING, stems)
    assert record.runs[0]["seconds"] == 2.5
    assert song_record.read(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("making", [Making("other", MAKING.options), Making("model", {})])
def test_stems_of_another_model_or_other_options_are_others(tmp_path, stems, making):
    record = song_record.read(tmp_path)
    assert record and not record.holds(making, stems)


def test_a_missing_or_altered_stem_and_another_set_are_noticed(tmp_path, stems):
    record = song_record.read(tmp_path)
    assert record and not record.holds(MAKING, stems[:1])
    stems[0].write_text("Vocals.wav", encoding="utf-8")
    assert not record.holds(MAKING, stems)
    stems[0].unlink()
    assert not record.holds(MAKING, stems)


def test_a_stem_belongs_to_the_last_run_alone(tmp_path, stems):
    record = song_record.read(tmp_path)
    assert record
    record.add(Making("other", {}), {"vocals.wav": "1"}, seconds=1.0)
    assert [run["stems"].keys() for run in record.runs] == [{"accompaniment.wav"}, {"vocals.wav"}]
    record.add(MAKING, {"accompaniment.wav": "2"}, seconds=1.0)
    assert [run["model"] for run in record.runs] == ["other", "model"]


DAMAGED = ["", "{", "[]", "null", "{}", "[" * 100_000, "\xff"]
DAMAGED += [
    '{"source": {"sha256": "x"}, "runs": []}',
    '{"source": {"name": "x", "sha256": 5}, "runs": []}',
    '{"source": {"name": "x", "sha256": "y"}, "runs": [{"model": "m", "stems": {}}]}',
    '{"source": {"name": "x", "sha256": "y"}, "runs": 1e400}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_one_error(tmp_path, text):
    (tmp_path / song_record.NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(SongRecordError, match="damaged"):
        song_record.read(tmp_path)


def test_a_record_that_cannot_be_read_is_the_same_error(tmp_path):
    (tmp_path / song_record.NAME).mkdir()
    with pytest.raises(SongRecordError, match="damaged"):
        song_record.read(tmp_path)


def test_a_digest_tells_models_apart():
    def digest(seed=0, **fields):
        masker = models.create("lstm", TINY_STFT, **{"hidden_size": 8, **fields})
        return digest_of(masker, models.init(masker, jax.random.key(seed)))

    assert digest() == digest()
    others = {digest(), digest(seed=1), digest(hidden_size=16), digest(level_seconds=5.0)}
    assert len(others) == 4


def test_a_digest_is_of_names_shapes_types_and_values():
    masker, values = models.create("mlp", TINY_STFT), np.zeros((2, 3), np.float32)
    trees = [
        {"a": values},
        {"b": values},
        {"a": {"b": values}},
        {"a": values.T},
        {"a": values.view(np.int32)},
        {"a": values + 1},
    ]
    assert len({digest_of(masker, tree) for tree in trees}) == len(trees)
