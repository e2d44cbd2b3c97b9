"""A data set's own files: what is damaged is said, and never trained on."""

import json
import shutil

import numpy as np
import pytest

from jaxsep.data.records import CHECKSUM, MANIFEST, STATISTICS, DatasetError, load_dataset


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
    del manifest[CHECKSUM]  # as in older data sets
    (copy / MANIFEST).write_text(damage(manifest))
    with pytest.raises(DatasetError, match=r"manifest\.json: damaged, or not jaxsep's") as error:
        load_dataset(copy)
    assert "\n" not in str(error.value)


def test_a_manifest_that_was_changed_is_refused_or_says_the_same(copy):
    known = load_dataset(copy).manifest
    content = (copy / MANIFEST).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 200):
        changed = bytearray(content)
        changed[place] = rng.choice(list(b"0123456789aeiou"))
        (copy / MANIFEST).write_bytes(changed)
        try:
            found = load_dataset(copy).manifest
        except DatasetError:
            continue
        assert {name: found[name] for name in known} == known


def test_a_manifest_without_a_checksum_is_an_older_one(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest[CHECKSUM]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert load_dataset(copy).manifest == manifest


@pytest.mark.parametrize("address", ["http://example.com/data", "nothing://data"])
def test_an_address_that_cannot_be_opened_is_one_line(address):
    with pytest.raises(DatasetError, match="can't be opened") as error:
        load_dataset(address)
    assert "\n" not in str(error.value)
