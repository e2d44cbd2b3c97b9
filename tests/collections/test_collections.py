"""The collections that can be prepared, each from files as its users have them."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from jaxsep.collections.built_in_band import BuiltInBand, write_audio
from jaxsep.collections.mir1k import Mir1k
from jaxsep.collections.musdb18 import STEMS, Musdb18
from jaxsep.collections.source import TrackError
from jaxsep.collections.stems_folder import StemsFolder
from jaxsep.data.records import ExampleCodec
from jaxsep.data.tfrecord import RecordSource
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.job import describe_job
from jaxsep.preparation.shards import Group, write_group
from tests.helpers import TINY_STFT

RATE = 8000
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg program")


def noise(name: str, channels: int = 2, samples: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(list(name.encode()))
    return rng.integers(-8000, 8000, (samples, channels)).astype(np.int16)


def write(path, channels: int = 2, samples: int = RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(path.stem, channels, samples), RATE)
    return path


def prepare(module: str, *arguments):
    command = [sys.executable, "-m", f"data_prep.{module}", *map(str, arguments)]
    small = ["--sample_rate=8000", "--n_fft=256", "--hop_length=64", "--workers=1"]
    return subprocess.run([*command, *small], capture_output=True, text=True)


def musdb_hq(root, names=("A - One", "B - Two"), subset="train"):
    for name in names:
        for stem in ("mixture", *STEMS):
            write(root / subset / name / f"{stem}.wav")
    return root


def test_stems_folder_takes_the_mixture_as_released_outside_training_alone(tmp_path):
    for split in ("train", "validation", "test"):
        for stem in ("mixture", "vocals", "accompaniment"):
            write(tmp_path / split / "song" / f"{stem}.flac")
    source = StemsFolder(tmp_path, "mine", "mine")
    songs = {track.split: source.load(track) for track in source.tracks()}
    assert songs["train"].mixture is None
    assert songs["validation"].mixture is not None and songs["test"].mixture is not None
    expected = noise("vocals") / np.float32(2**15)
    np.testing.assert_allclose(songs["train"].stems["vocals"], expected, atol=1e-7)


def test_stems_folder_holds_validation_tracks_out_and_skips_hidden_folders(tmp_path):
    for name in ("a", "b", "c", ".ipynb_checkpoints"):
        for stem in ("vocals", "drums", "bass", "other"):
            write(tmp_path / "train" / name / f"{stem}.wav")
    tracks = StemsFolder(tmp_path, "mine", "mine").tracks()
    assert sorted(track.name for track in tracks) == ["a", "b", "c"]
    assert sorted(track.split for track in tracks) == ["train", "train", "validation"]
    assert all(track.seconds == 1.0 for track in tracks)


def test_stems_folder_names_a_doubled_stem_and_a_text_file(tmp_path):
    write(tmp_path / "train" / "song" / "vocals.wav")
    write(tmp_path / "train" / "song" / "vocals.flac")
    source = StemsFolder(tmp_path, "mine", "mine")
    with pytest.raises(TrackError, match="two files for the stem 'vocals'"):
        source.load(source.tracks()[0])
    (tmp_path / "train" / "song" / "vocals.flac").unlink()
    (tmp_path / "train" / "song" / "vocals.wav").write_text("lyrics")
    with pytest.raises(TrackError, match=r"vocals\.wav"):
        source.load(source.tracks()[0])


def test_stems_folder_uses_names_in_any_case_and_other_words_for_the_accompaniment(tmp_path):
    write(tmp_path / "train" / "a" / "Vocals.WAV")
    write(tmp_path / "train" / "a" / "Instrumental.aiff")
    write(tmp_path / "train" / "b" / "vocals.flac")
    write(tmp_path / "train" / "b" / "no_vocals.ogg")
    source = StemsFolder(tmp_path, "mine", "mine")
    for track in source.tracks():
        assert source.load(track).stems.keys() == {"vocals", "accompaniment"}


def test_stems_folder_leaves_no_sound_out_silently(tmp_path):
    for stem in ("vocals", "drums", "Bass", "guitar"):
        write(tmp_path / "train" / "song" / f"{stem}.wav")
    (tmp_path / "train" / "song" / "cover.png").write_text("a picture")
    source = StemsFolder(tmp_path, "mine", "mine")
    (track,) = source.tracks()
    assert (
        set(track.stems) == source.load(track).stems.keys() == {"vocals", "drums", "bass", "guitar"}
    )


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (("speech", "music", "residual"), r"has residual\.wav, a name for what"),
        (("speech", "no_Speech"), r"has no_Speech\.wav, a name for what"),
        (("speech", "accompaniment"), r"has speech\.wav beside accompaniment\.wav, which is the"),
        (("vocals", "no_vocals", "guitar"), r"has guitar\.wav beside no_vocals\.wav, which is the"),
    ],
)
def test_stems_folder_takes_no_name_that_means_something_else(tmp_path, stems, message):
    for stem in stems:
        write(tmp_path / "train" / "song" / f"{stem}.wav")
    source = StemsFolder(tmp_path, "mine", "mine")
    with pytest.raises(TrackError, match=message):
        source.load(source.tracks()[0])


@pytest.mark.parametrize("others", [("speech", "music"), ("vocals", "drums", "bass")])
def test_a_mixture_of_another_name_is_no_stem(tmp_path, others):
    folder, waves = tmp_path / "train" / "song", [noise(stem) for stem in others]
    for stem in others:
        write(folder / f"{stem}.wav")
    mixture = sum(wave.astype(np.float64) for wave in waves) + noise("codec") / 20
    soundfile.write(folder / "Mix.wav", 0.7 * mixture / 2**15, RATE)
    source = StemsFolder(tmp_path, "mine", "mine")
    with pytest.raises(TrackError, match=r"has Mix\.wav, which sounds like all .* call it mixture"):
        source.load(source.tracks()[0])
    (folder / "Mix.wav").rename(folder / "mixture.wav")
    assert source.load(source.tracks()[0]).stems.keys() == set(others)


def test_songs_right_in_the_root_can_be_for_training(tmp_path):
    for name in ("a", "b", "c"):
        for stem in ("speech", "music"):
            write(tmp_path / name / f"{stem}.wav")
    write(tmp_path / "raw" / "interview.wav")  # a name that no other song has: other sound
    tracks = StemsFolder(tmp_path, "mine", "mine", split="train").tracks()
    assert sorted(track.name for track in tracks) == ["a", "b", "c"]
    assert sorted(track.split for track in tracks) == ["train", "train", "validation"]
    assert {track.split for track in StemsFolder(tmp_path, "mine", "mine").tracks()} == {"test"}


@pytest.mark.slow
def test_stems_folder_cuts_stems_to_one_length_when_asked_to(tmp_path):
    write(tmp_path / "in" / "train" / "song" / "vocals.wav", samples=RATE + 40)
    write(tmp_path / "in" / "train" / "song" / "other.wav")
    arguments = ("stems_folder", f"--root={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    refused = prepare(*arguments)
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert "train/song: stems differ in samples: other 8000, vocals 8040" in last
    assert prepare(*arguments, "--length_tolerance=-1").returncode == 2
    result = prepare(*arguments, "--length_tolerance=40")
    assert result.returncode == 2 and "unfinished data set of another kind" in result.stderr
    arguments = (*arguments[:2], f"--output={tmp_path / 'cut'}", "--length_tolerance=40")
    assert prepare(*arguments).returncode == 0
    manifest = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["seconds"] == 1.0


def test_stems_folder_waits_for_no_pipe_and_names_what_is_no_file(tmp_path):
    for track in ("a", "b", "c"):
        write(tmp_path / "train" / track / "vocals.wav")
    os.mkfifo(tmp_path / "train" / "a" / "bass.wav")
    (tmp_path / "train" / "b" / "bass.wav").symlink_to("bass.wav")
    (tmp_path / "train" / "c" / "bass.wav").symlink_to("/dev/zero")
    source = StemsFolder(tmp_path, "mine", "mine")
    settings = Settings(TINY_STFT, ("vocals", "accompaniment"), 16, 0, 0)
    assert describe_job(source, settings, source.tracks())["name"] == "mine"
    for track in source.tracks():
        with pytest.raises(TrackError, match=r"has bass\.wav, which is no ordinary file"):
            source.load(track)


def test_a_track_of_any_bytes_has_a_name_that_can_be_stored_and_shown(tmp_path):
    for name in (b"a\xff", b"b\n\x1b[1m"):
        for stem in ("vocals", "accompaniment"):
            write(tmp_path / "train" / "song" / f"{stem}.wav")
        (tmp_path / "train" / "song").rename(tmp_path / "train" / os.fsdecode(name))
    source = StemsFolder(tmp_path, "mine", "mine")
    tracks = sorted(source.tracks(), key=lambda track: track.name)
    assert [track.name for track in tracks] == ["a\\udcff", "b\\n\\x1b[1m"]
    settings = Settings(TINY_STFT, ("vocals", "accompaniment"), 16, 0, 0)
    for number, track in enumerate(tracks):
        group = Group(str(number), "train", 0, ((track, None),))
        write_group(source, tmp_path, settings, group, False)
        written = RecordSource([tmp_path / f"{number}-000.tfrecord"])
        codec = ExampleCodec(TINY_STFT, settings.targets)
        assert codec.decode(written[0])["track"] == track.name


@pytest.mark.parametrize("layout", ["splits", "flat"])
def test_mir1k_has_accompaniment_left_and_voice_right(tmp_path, layout):
    folders = ("train", "dev") if layout == "splits" else (".",)
    for folder in folders:
        write(tmp_path / folder / "amy_1_01.wav")
        (tmp_path / folder / "._amy_1_01.wav").write_text("of a Mac")
    source = Mir1k(tmp_path)
    tracks = source.tracks()
    expected = ["train", "validation"] if layout == "splits" else ["train"]
    assert [track.split for track in tracks] == expected
    song = source.load(tracks[0])
    clip = noise("amy_1_01") / np.float32(2**15)
    np.testing.assert_allclose(song.stems["accompaniment"], clip[:, :1], atol=1e-7)
    np.testing.assert_allclose(song.stems["vocals"], clip[:, 1:], atol=1e-7)


@needs_ffmpeg
def test_musdb18_hq_is_read_and_its_own_validation_tracks_are_used(tmp_path):
    pytest.importorskip("musdb", reason="the musdb package is not installed")
    names = ("Actions - One Minute Smile", "B - Two")
    musdb_hq(musdb_hq(tmp_path, names), ("C - Three",), "test")
    source = Musdb18(tmp_path, is_wav=True, licence="none")
    splits = {track.name: track.split for track in source.tracks()}
    assert splits == {names[0]: "validation", "B - Two": "train", "C - Three": "test"}
    for track in source.tracks():
        song = source.load(track)
        assert (song.mixture is None) == (track.split == "train")
        vocals = noise("vocals") / np.float32(2**15)
        np.testing.assert_allclose(song.stems["vocals"], vocals, atol=1e-4)


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize(
    ("channels", "samples", "message"), [(1, RATE, "channels: "), (2, 4000, "samples: ")]
)
def test_musdb18_hq_with_an_odd_stem_names_track_and_reason(tmp_path, channels, samples, message):
    pytest.importorskip("musdb", reason="the musdb package is not installed")
    musdb_hq(tmp_path / "in")
    write(tmp_path / "in" / "train" / "A - One" / "bass.wav", channels, samples)
    result = prepare("musdb18", f"--root={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert "/A - One: stems differ in" in last and message in last


@needs_ffmpeg
def test_musdb18_stems_keep_their_identity_and_a_damaged_file_its_name(shared_data, tmp_path):
    pytest.importorskip("musdb", reason="the musdb package is not installed")
    album = shared_data / "eif-musdb18"
    source = Musdb18(album, is_wav=False, licence="CC0")
    tracks = source.tracks()
    assert sorted(track.split for track in tracks) == ["test"] * 2 + ["train"] * 4 + ["validation"]
    track = min(tracks, key=lambda track: track.seconds if track.split == "test" else 1e9)
    song = source.load(track)
    assert song.mixture is not None
    assert abs(len(song.mixture) / 44100 - track.seconds) < 0.1
    # The released mixture is the sum of the stems but for what the codec did to each.
    error = song.mixture - sum(song.stems.values())
    assert np.square(error).mean() < 0.01 * np.square(song.mixture).mean()

    (tmp_path / "train").mkdir()
    whole = (album / track.files[0]).read_bytes()
    (tmp_path / "train" / "Cut - Off.stem.mp4").write_bytes(whole[:200_000])
    result = prepare("musdb18", f"--root={tmp_path}", f"--output={tmp_path / 'out'}")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "train/Cut - Off: musdb can't read it" in result.stderr.replace(
        "train/Cut - Off.stem.mp4", "it"
    )


def test_the_band_as_audio_is_a_stems_folder_with_the_same_sound(tmp_path):
    band = BuiltInBand(3, seed=0, duration=2.0, sample_rate=RATE)
    for track in band.tracks():
        write_audio(band, track, tmp_path)
    folder = StemsFolder(tmp_path, "band", "none")
    splits = {track.name: track.split for track in band.tracks()}
    assert {track.name: track.split for track in folder.tracks()} == splits
    track = folder.tracks()[0]
    ours = band.load(next(t for t in band.tracks() if t.name == track.name))
    theirs = folder.load(track)
    for name, stem in ours.stems.items():
        np.testing.assert_allclose(theirs.stems[name], stem, atol=2**-15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("stems_folder", ("--root=nowhere",), "nowhere: no such folder"),
        ("mir1k", ("--root=nowhere",), "nowhere: no such folder"),
        ("stems_folder", ("--root=.",), "expected train/<track>/vocals.wav"),
        ("stems_folder", ("--root=.", "--name=../my-songs"), "must be a letter, then"),
        ("synthetic", ("--num_tracks=0",), "--num_tracks must be"),
        ("synthetic", ("--remixes=-1",), "--remixes must be"),
        ("synthetic", ("--num_tracks=1", "--remixes=1"), "two training tracks"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(tmp_path, module, arguments, message):
    result = prepare(module, *arguments, f"--output={tmp_path / 'out'}")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr


@pytest.mark.slow
def test_another_length_of_the_same_songs_is_another_data_set(tmp_path):
    arguments = ("synthetic", "--num_tracks=1", f"--output={tmp_path / 'out'}")
    assert prepare(*arguments, "--duration=2").returncode == 0
    assert prepare(*arguments, "--duration=2").returncode == 0
    result = prepare(*arguments, "--duration=3")
    assert result.returncode == 2 and "another data set" in result.stderr
