import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import librosa
import numpy as np
import pytest
import tensorflow_datasets.public_api as tfds
from filelock import FileLock

from jaxsep.collections.source import PreparationError, Song, Track, TrackError, hold_out
from jaxsep.data.records import DatasetError, load_dataset
from jaxsep.data.tfrecord import RecordSource
from jaxsep.preparation import command
from jaxsep.preparation.examples import remix_magnitudes, segment_magnitudes, to_format
from jaxsep.preparation.prepare import prepare
from tests.helpers import RATE, TINY_STFT, tiny_band, tiny_settings, tones


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def song(samples: int = 9000, **stems: int) -> Song:
    rng = np.random.default_rng(0)
    names = stems or {"vocals": 2, "drums": 2, "bass": 2, "other": 2}
    waveforms = {
        name: rng.uniform(-0.2, 0.2, (samples, channels)).astype(np.float32)
        for name, channels in names.items()
    }
    return Song(waveforms, None, TINY_STFT.sample_rate)


def decode_all(dataset, split):
    source = RecordSource(dataset.shards(split))
    return [dataset.codec.decode(source[index]) for index in range(len(source))]


def test_one_and_two_workers_write_the_same_bytes(tmp_path):
    settings = tiny_settings(remixes=1)
    for workers in (1, 2):
        prepare(tiny_band(), tmp_path / str(workers), settings, workers=workers)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


@pytest.mark.slow
def test_a_killed_preparation_is_finished_by_the_next_run(tmp_path):
    command = [sys.executable, "-m", "data_prep.synthetic", "--num_tracks=12", "--duration=8"]
    command += ["--sample_rate=8000", "--n_fft=256", "--hop_length=64", "--workers=2"]
    killed = subprocess.Popen([*command, f"--output={tmp_path / 'killed'}"], start_new_session=True)
    unfinished = tmp_path / "killed" / ".unfinished"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        parts = [path.name for path in unfinished.glob(".*.part-*")]
        if any(not name.endswith(f"-{killed.pid}") for name in parts):  # a worker's
            break
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    with pytest.raises(DatasetError, match="was not finished"):
        load_dataset(tmp_path / "killed")
    for name in ("killed", "whole"):
        subprocess.run([*command, f"--output={tmp_path / name}"], check=True, capture_output=True)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_examples_are_librosas_magnitudes_at_their_true_length(tiny_dataset):
    source = tiny_band()
    track = next(track for track in source.tracks() if track.split == "train")
    mixture = sum(source.load(track).stems.values())
    expected = np.abs(librosa.stft(mixture.T, n_fft=256, hop_length=64)).transpose(2, 0, 1)
    examples = [e for e in decode_all(tiny_dataset, "train") if e["track"] == track.name]
    joined = np.concatenate([example["mixture"] for example in examples])
    assert joined.shape == expected.shape
    np.testing.assert_allclose(joined, expected, rtol=1e-3, atol=1e-5)
    assert len(examples[-1]["mixture"]) < len(examples[0]["mixture"])
    assert [round(float(example["start"]), 3) for example in examples] == [0.0, 2.0, 4.0]


def test_statistics_are_those_of_the_training_mixtures(tiny_dataset):
    frames = np.concatenate([e["mixture"] for e in decode_all(tiny_dataset, "train")])
    statistics = tiny_dataset.statistics()
    frames = frames.astype(np.float64)
    logs = np.log(frames + TINY_STFT.magnitude_floor)
    for values, mean, std in ((frames, "mean", "std"), (logs, "log_mean", "log_std")):
        standardised = (values - statistics[mean]) / statistics[std]
        np.testing.assert_allclose(standardised.mean(axis=(0, 1)), 0, atol=0.01)
        np.testing.assert_allclose(standardised.std(axis=(0, 1)), 1, atol=0.01)


def test_manifest_checksums_are_those_of_the_shards(tiny_dataset):
    for info in tiny_dataset.manifest["splits"].values():
        for shard in info["shards"]:
            content = (tiny_dataset.path / shard["file"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == shard["sha256"]
            assert len(content) == shard["bytes"]


def test_a_released_mixture_is_kept_and_the_accompaniment_is_what_it_leaves():
    released = dataclasses.replace(song(), mixture=np.full((9000, 2), 0.25, np.float32))
    waveforms = to_format(released, tiny_settings())
    np.testing.assert_array_equal(waveforms["mixture"], released.mixture)
    total = waveforms["vocals"] + waveforms["accompaniment"]
    np.testing.assert_allclose(total, released.mixture, atol=1e-6)


@pytest.mark.parametrize("targets", [("vocals", "drums", "bass", "other"), ("drums",)])
def test_any_targets_are_stored_with_what_they_leave_of_the_mixture(targets):
    settings = tiny_settings(targets=targets)
    assert settings.rests == tuple(f"no_{target}" for target in targets)
    waveforms = to_format(song(), settings)
    for target, rest in zip(targets, settings.rests, strict=True):
        np.testing.assert_allclose(
            waveforms[target] + waveforms[rest], waveforms["mixture"], atol=1e-6
        )
    _, magnitudes = next(segment_magnitudes(waveforms, settings))
    assert magnitudes.keys() == {"mixture", *targets, *settings.rests}


def test_vocals_and_accompaniment_are_each_others_rest():
    assert tiny_settings(targets=("vocals", "accompaniment")).rests == ()
    assert tiny_settings(targets=("vocals", "accompaniment", "drums")).rests == ("no_drums",)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (song(vocals=2), "vocals alone"),
        (song(drums=2), "drums alone"),
        (song(vocals=1, accompaniment=2), "differ in channels: vocals 1, accompaniment 2"),
        (song(vocals=6, accompaniment=6), "has 6 channels"),
        (song(samples=0, vocals=2, accompaniment=2), "is empty"),
        (dataclasses.replace(song(), mixture=np.zeros((9001, 2), np.float32)),
         "mixture 9001; make them equal, or have --length_tolerance=1 cut"),
        (Song({"vocals": np.full((900, 2), 900.0, np.float32),
               "accompaniment": np.zeros((900, 2), np.float32)}, None, 8000), "scale it down"),
    ],
)  # fmt: skip
def test_unusable_songs_are_refused_with_the_reason(bad, message):
    with pytest.raises(TrackError, match=message):
        to_format(bad, tiny_settings())


def test_a_target_that_a_song_lacks_is_silent():
    settings = tiny_settings(targets=("speech", "effects"))
    waveforms = to_format(song(speech=2, music=2), settings)
    assert not waveforms["effects"].any() and waveforms["effects"].dtype == np.float32
    np.testing.assert_array_equal(waveforms["no_effects"], waveforms["mixture"])
    total = waveforms["speech"] + waveforms["no_speech"]
    np.testing.assert_allclose(total, waveforms["mixture"], atol=1e-6)
    assert waveforms["no_speech"].any()


@pytest.mark.parametrize("mixture", [None, np.full((9000, 2), 0.25, np.float32)])
def test_a_song_without_vocals_is_all_accompaniment(mixture):
    instrumental = dataclasses.replace(song(drums=2, bass=2), mixture=mixture)
    waveforms = to_format(instrumental, tiny_settings())
    assert not waveforms["vocals"].any()
    np.testing.assert_array_equal(waveforms["accompaniment"], waveforms["mixture"])
    assert waveforms["mixture"].any()


@pytest.mark.parametrize(
    ("stems", "targets", "beside"),
    [
        ({"speech": 2, "music": 2, "effects": 2}, ("speech",), ("music", "effects")),
        ({"speech": 2, "music": 2, "effects": 2}, ("speech", "effects"), ("music",)),
        ({"music": 2, "effects": 2}, ("speech",), ("music", "effects")),
        ({"speech": 2, "music": 2}, ("music", "speech"), ()),
        ({"vocals": 2, "drums": 2, "bass": 2}, ("vocals", "accompaniment"), ()),
        ({"vocals": 2, "accompaniment": 2, "drums": 2}, ("vocals", "accompaniment"), ()),
        ({"vocals": 2, "accompaniment": 2}, ("vocals",), ("accompaniment",)),
    ],
)
def test_what_waveforms_have_beside_the_targets_is_the_residual(stems, targets, beside):
    of_song = song(**stems)
    settings = tiny_settings(representation="waveform", targets=targets)
    waveforms = to_format(of_song, settings)
    there = {name for name in targets if name in of_song.stems or name == "accompaniment"}
    assert waveforms.keys() == {"mixture", *there} | ({"residual"} if beside else set())
    if beside:
        expected = sum(of_song.stems[name] for name in beside)
        np.testing.assert_allclose(waveforms["residual"], expected, atol=1e-6)


def test_a_released_mixture_with_one_stem_has_the_rest_as_residual():
    mixed = Song(song(speech=2).stems, song(mixture=2).stems["mixture"] * 3, TINY_STFT.sample_rate)
    waveforms = to_format(mixed, tiny_settings(representation="waveform", targets=("speech",)))
    total = waveforms["speech"] + waveforms["residual"]
    np.testing.assert_allclose(total, mixed.mixture, atol=1e-6)


@pytest.mark.parametrize(
    ("targets", "representation", "message"),
    [
        (("vocals", "speech"), "magnitude", "no song has a stem 'speech'; choose .*: .*bass"),
        (("speech",), "waveform", "no song has a stem 'speech'; choose"),
    ],
)
def test_a_target_that_no_song_has_is_refused_at_once(tmp_path, targets, representation, message):
    settings = tiny_settings(targets=targets, representation=representation)
    with pytest.raises(PreparationError, match=message):
        prepare(tiny_band(), tmp_path / "data", settings, workers=1)
    assert not (tmp_path / "data").exists()


def test_training_songs_of_one_stem_are_refused_as_waveforms(tmp_path):
    class Voices(type(tiny_band())):
        def tracks(self):
            return [dataclasses.replace(track, stems=("speech",)) for track in super().tracks()]

    settings = tiny_settings(targets=("speech",), representation="waveform")
    with pytest.raises(PreparationError, match="the training songs have speech alone; add what"):
        prepare(Voices(3, seed=0), tmp_path / "data", settings, workers=1)


def test_stems_whose_lengths_differ_are_cut_at_the_end_within_the_tolerance():
    stems = {
        name: np.random.default_rng(length).normal(size=(length, 2)).astype(np.float32)
        for name, length in (("vocals", 9007), ("drums", 9000), ("bass", 9003))
    }
    stems_and_more = Song(stems, np.zeros((9005, 2), np.float32), 8000)
    waveforms = to_format(stems_and_more, tiny_settings(length_tolerance=7))
    np.testing.assert_array_equal(waveforms["mixture"], np.zeros((9000, 2)))
    np.testing.assert_array_equal(waveforms["vocals"], stems["vocals"][:9000])
    np.testing.assert_array_equal(waveforms["accompaniment"], -stems["vocals"][:9000])
    with pytest.raises(TrackError, match="vocals 9007, drums 9000, bass 9003, mixture 9005"):
        to_format(stems_and_more, tiny_settings(length_tolerance=6))


def test_another_length_tolerance_is_another_data_set(tiny_dataset):
    settings = tiny_settings(length_tolerance=5)
    with pytest.raises(PreparationError, match=r"another data set .*length_tolerance 0, not 5"):
        prepare(tiny_band(), Path(tiny_dataset.path), settings, workers=1)


class BandWithABadTrack:
    """The band, with one training track that can't be read."""

    root, licence, name = None, "none", "bad_band"
    bad = tiny_band().tracks()[-1]

    def tracks(self):
        return tiny_band().tracks()

    def load(self, track):
        if track == self.bad:
            raise TrackError("is broken\nin two lines")
        return tiny_band().load(track)


@pytest.mark.slow
def test_a_bad_track_stops_the_preparation_or_is_skipped_and_listed(tmp_path):
    source = BandWithABadTrack()
    with pytest.raises(PreparationError, match=f"train/{source.bad.name}: is broken in two lines"):
        prepare(source, tmp_path / "data", tiny_settings(), workers=1)
    dataset = prepare(source, tmp_path / "data", tiny_settings(), workers=1, skip_bad=True)
    assert [s["track"] for s in dataset.manifest["skipped"]] == [f"train/{source.bad.name}"]
    assert dataset.num_tracks("train") == 1


def test_another_data_set_is_not_overwritten(tmp_path, tiny_dataset):
    before = hashes(Path(tiny_dataset.path))
    with pytest.raises(PreparationError, match=r"another data set .*segment_frames"):
        prepare(tiny_band(), Path(tiny_dataset.path), tiny_settings(segment_frames=9), workers=1)
    assert hashes(Path(tiny_dataset.path)) == before
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(PreparationError, match="holds other files"):
        prepare(tiny_band(), tmp_path, tiny_settings(), workers=1)


def test_two_preparations_do_not_share_a_folder(tmp_path):
    with pytest.raises(PreparationError, match=r"0\.00 GB free"), pytest.MonkeyPatch.context() as m:
        m.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 1000}))
        prepare(tiny_band(), tmp_path / "data", tiny_settings(), workers=1)
    with (
        FileLock(tmp_path / "data" / ".unfinished" / "lock"),
        pytest.raises(PreparationError, match="another preparation is at work"),
    ):
        prepare(tiny_band(), tmp_path / "data", tiny_settings(), workers=1)


@pytest.mark.parametrize("representation", ["magnitude", "waveform"])
def test_a_disk_needs_room_for_the_data_set_and_little_more(
    tmp_path, monkeypatch, tiny_dataset, representation
):
    def begin(*_):
        raise RuntimeError("began")

    splits = tiny_dataset.manifest["splits"].values()
    sizes = {
        "magnitude": sum(shard["bytes"] for info in splits for shard in info["shards"]),
        "waveform": 4 * 5 * RATE * 2 * 2 * 2,  # songs, seconds, stems, channels, bytes
    }
    monkeypatch.setattr("jaxsep.preparation.prepare._run", begin)
    for share, error in ((1.015, PreparationError), (1.025, RuntimeError)):
        usage = types.SimpleNamespace(free=share * sizes[representation])
        monkeypatch.setattr("shutil.disk_usage", lambda path, usage=usage: usage)
        settings = tiny_settings(representation=representation)
        with pytest.raises(error, match=r"needed, 0\.00 GB free|began"):
            prepare(tiny_band(), tmp_path / "data", settings, workers=1)
    assert not list(tmp_path.glob("data/*.tfrecord*"))


@pytest.mark.parametrize("stem", ["vocals", "accompaniment"])
def test_the_loudest_song_that_is_taken_fits_float16_in_any_remix(stem):
    def song_at(peak):
        waves = {name: np.zeros((9000, 2), np.float32) for name in ("vocals", "accompaniment")}
        waves[stem] += peak * tones([1000, 1000], 9000 / RATE, RATE) / np.float32(0.2)
        return Song(waves, None, RATE)

    settings, peak = tiny_settings(), 1.0
    with contextlib.suppress(TrackError):
        while True:
            loudest = to_format(song_at(peak), settings)
            peak *= 1.01
    remixes = (
        m for key in map(str, range(40)) for m in remix_magnitudes(loudest, loudest, key, settings)
    )
    highest = max(magnitudes["mixture"].max() for _, magnitudes in remixes)
    # The other stem may be as loud.
    assert 0.4 < highest / np.finfo(np.float16).max < 0.51


def test_hold_out_takes_fifteen_percent_and_never_the_only_track():
    tracks = [Track(f"song {index}", "train", 1.0) for index in range(20)]
    split = hold_out(tracks)
    assert sum(track.split == "validation" for track in split) == 3
    assert {t.name: t.split for t in hold_out(tracks[::-1])} == {t.name: t.split for t in split}
    assert hold_out(tracks[:1]) == tracks[:1]
    assert sum(track.split == "validation" for track in hold_out(tracks[:2])) == 1


def test_the_metadata_names_the_features_and_files_of_each_split(tiny_dataset):
    builder = tfds.builder_from_directory(str(tiny_dataset.path))
    assert builder.info.features.keys() == {"mixture", "vocals", "accompaniment", "track", "start"}
    assert builder.info.splits.keys() == tiny_dataset.manifest["splits"].keys()
    for name, info in tiny_dataset.manifest["splits"].items():
        split = builder.info.splits[name]
        assert split.shard_lengths == [shard["records"] for shard in info["shards"]]
        assert split.num_bytes == sum(shard["bytes"] for shard in info["shards"])
        assert split.filenames == sorted(shard["file"] for shard in info["shards"])


def test_tensorflow_datasets_reads_the_folder(tiny_dataset):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    builder = tfds.builder_from_directory(str(tiny_dataset.path))
    theirs = list(tfds.as_numpy(builder.as_dataset("train", shuffle_files=False)))
    ours = decode_all(tiny_dataset, "train")
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours, strict=True):
        assert their["track"].decode() == our["track"]
        np.testing.assert_array_equal(their["mixture"], our["mixture"])


def test_the_manifest_names_no_folder_of_this_machine(tiny_dataset):
    text = json.dumps(tiny_dataset.manifest)
    assert str(Path.home()) not in text and "/tmp" not in text


def test_names_are_safe_to_show(tiny_dataset, monkeypatch, capsys):
    dataset = dataclasses.replace(tiny_dataset, path=Path("a\n\x1b[31m\udcff"))
    monkeypatch.setattr(command, "prepare", lambda *_, **options: dataset)
    monkeypatch.setattr("sys.argv", ["prepare", "--output=out"])
    assert command.run(command.make_parser(""), lambda args: None) == 0
    assert capsys.readouterr().out.startswith("data set: a\\n\\x1b[31m\\udcff\n  train: ")
