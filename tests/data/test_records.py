"""A data set's own files: what is damaged is said, and never trained on."""

import json
import shutil

import numpy as np
import pytest

from jaxsep.data.records import MANIFEST, STATISTICS, DatasetError, load_dataset


@pytest.fixture
def copy(tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset.path, tmp_path / "data")
    return tmp_path / "data"


def test_statistics_that_were_changed_are_refused(copy):
    assert np.isfinite(load_dataset(copy).statistics()["mean"]).all()
    content = bytearray((copy / STATISTICS).read_bytes())
    for place in range(20, len(content), len(content) // 10):
        changed = content.copy()
        changed[place] ^= 1
        (copy / STATISTICS).write_bytes(changed)
        with pytest.raises(DatasetError, match=r"statistics\.json: damaged"):
            load_dataset(copy).statistics()


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_shard_that_is_missing_or_cut_off_is_named(copy, damage):
    shard = sorted(copy.glob("*.tfrecord*"))[-1]
    content = shard.read_bytes()
    shard.unlink()
    if damage == "cut off":
        shard.write_bytes(content[:-1])
    with pytest.raises(DatasetError, match=f"{shard.name}: missing or cut off"):
        load_dataset(copy)


DAMAGES = {
    "no JSON": lambda manifest: "{",
    "a list": lambda manifest: "[]",
    "no settings": lambda manifest: json.dumps({**manifest, "settings": None}),
    "no splits": lambda manifest: json.dumps({**manifest, "splits": []}),
    "a split that is text": lambda manifest: json.dumps({**manifest, "splits": {"train": "x"}}),
    "no shards": lambda manifest: json.dumps({**manifest, "splits": {"train": {"num_tracks": 1}}}),
    "no sources": lambda manifest: json.dumps({**manifest, "sources": None}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_one_line(copy, damage):
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(damage(manifest))
    with pytest.raises(DatasetError, match=r"manifest\.json: damaged, or not jaxsep's") as error:
        load_dataset(copy)
    assert "\n" not in str(error.value)
