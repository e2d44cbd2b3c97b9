"""One group of tracks, in this process: its shards and what its marker says."""

import json

import pytest

from jaxsep.collections.source import TrackError
from jaxsep.data.records import ExampleCodec
from jaxsep.data.tfrecord import RecordSource
from jaxsep.preparation import shards
from jaxsep.preparation.shards import BadTrackError, Group, write_group, write_shards
from tests.helpers import TINY_STFT, tiny_band, tiny_settings


class BandOfOneBadTrack:
    """Three tracks of the band, of which the middle one can't be loaded."""

    root, licence, name = None, "none", "band"

    def __init__(self, error: Exception):
        self._error = error

    def tracks(self):
        return [track for track in tiny_band(5).tracks() if track.split == "train"][:3]

    def load(self, track):
        if track == self.tracks()[1]:
            raise self._error
        return tiny_band(5).load(track)


def group_of(source) -> Group:
    return Group("group", "train", 0, tuple((track, None) for track in source.tracks()))


@pytest.mark.parametrize("error", [TrackError("is\nbroken"), OSError("is broken")])
def test_a_bad_track_is_named_or_left_out_alone(tmp_path, error):
    source, settings = BandOfOneBadTrack(error), tiny_settings()
    bad = f"train/{source.tracks()[1].name}"
    with pytest.raises(BadTrackError, match=f"^{bad}: is broken$"):
        write_group(source, tmp_path, settings, group_of(source), skip_bad=False)
    assert not list(tmp_path.iterdir())
    write_group(source, tmp_path, settings, group_of(source), skip_bad=True)
    marker = json.loads((tmp_path / "group.json").read_text())
    assert marker["skipped"] == [{"track": bad, "reason": f"{bad}: is broken"}]
    [shard] = marker["shards"]
    codec = ExampleCodec(TINY_STFT, settings.targets)
    names = [codec.decode(payload)["track"] for payload in RecordSource([tmp_path / shard["file"]])]
    good = [track.name for track in source.tracks()[::2]]
    assert list(dict.fromkeys(names)) == good == [track["track"] for track in marker["tracks"]]


def test_a_shard_ends_once_it_is_large_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    payloads = [bytes([number]) * 400 for number in range(7)]
    written = write_shards(tmp_path, "name", iter(payloads))
    files = [tmp_path / shard["file"] for shard in written]
    assert [file.name for file in files] == [f"name-00{number}.tfrecord" for number in range(3)]
    assert [shard["records"] for shard in written] == [3, 3, 1]
    assert [shard["bytes"] for shard in written] == [file.stat().st_size for file in files]
    assert list(RecordSource(files)) == payloads


def test_a_shard_that_fails_leaves_no_file(tmp_path):
    def payloads():
        yield b"payload"
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_shards(tmp_path, "name", payloads())
    assert not list(tmp_path.iterdir())
