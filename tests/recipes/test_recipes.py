"""The recipes: gathering sources, screening music, making speakers sing."""

import dataclasses
import json
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

# Before the recipes, which import them; see recipes/requirements.txt.
# ruff: noqa: E402
pytest.importorskip("debian")
pytest.importorskip("pedalboard")
pyloudnorm = pytest.importorskip("pyloudnorm")
pyworld = pytest.importorskip("pyworld")

from jaxsep.collections.built_in_band import BuiltInBand, write_audio
from jaxsep.models.load import load_model
from recipes import (
    box,
    effects,
    folders,
    gather,
    melody,
    packages,
    screen,
    sing,
    singer,
    sources,
    voices,
)
from recipes.melody import FRAME, Melody, Note
from recipes.sources import BACKING, MADE, RATE, SourceError, is_held_out

pytestmark = pytest.mark.slow

PLAIN = melody.Manner(5.5, 0.0, 0.3, 0.06, 0.9, 0.0, 0.0, 3.0)


def speech(seconds: float, f0: float = 120.0) -> np.ndarray:
    """Buzzes through resonances: vowels of 0.4 s with pauses between them."""
    time = np.arange(int(0.4 * RATE))
    words = []
    for formants in ((700, 1100, 2500), (300, 2200, 3000), (500, 900, 2400)):
        x = (np.diff(np.floor(time * f0 / RATE), prepend=-1) > 0).astype(float)
        for formant in formants:
            r = np.exp(-np.pi * 80 / RATE)
            x = lfilter([1], [1, -2 * r * np.cos(2 * np.pi * formant / RATE), r**2], x)
        words.append(np.r_[x * np.hanning(len(x)) / np.abs(x).max(), np.zeros(RATE // 8)])
    said = np.concatenate(words)
    return 0.5 * np.resize(said, int(seconds * RATE))


@pytest.fixture(scope="module")
def bank() -> list[voices.Syllable]:
    return voices.cut(voices.analyse(speech(4.2)))


def write(path, waveform, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate)


def run(monkeypatch, main, *flags) -> int:
    monkeypatch.setattr(sys, "argv", ["recipe", *map(str, flags)])
    return main()


def test_every_vowel_is_a_syllable(bank):
    assert len(bank) == 8
    assert all(150 < (s.end - s.start) * FRAME * 1000 < 350 for s in bank)


def test_consonants_keep_their_length_while_the_vowel_is_held(bank):
    positions = voices.stretch(bank[0], 200)
    assert len(positions) == 200
    assert np.all(np.diff(positions) >= 0)
    outside = (positions < bank[0].start) | (positions >= bank[0].end)
    assert outside.sum() == len(bank[0].voice.f0) - (bank[0].end - bank[0].start)


def test_melodies_keep_to_their_scale_and_range():
    song = melody.compose(np.random.default_rng(3), 60.0, 20.0)
    notes = [note for notes, _ in song.phrases for note in notes]
    pitches = np.array([song.pitch(note.degree) for note in notes])
    assert {int(p - song.tonic) % 12 for p in pitches} <= set(song.scale)
    assert pitches.min() >= 48 and pitches.max() <= 72
    frames = sum(n.frames for n in notes) + sum(rest for _, rest in song.phrases)
    assert 20 <= frames * FRAME < 40


def test_the_sung_pitch_is_the_melody(bank):
    notes = (Note(0, 100), Note(2, 150), Note(4, 200))
    song = Melody((0, 2, 4, 5, 7, 9, 11), 57.0, ((notes, 50),))
    style = singer.Style(PLAIN, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    sung = singer.perform(bank, song, style, 1, np.random.default_rng(0))
    assert len(sung) == pytest.approx(500 * FRAME * RATE, abs=FRAME * RATE)
    f0, _ = pyworld.harvest(sung, RATE, frame_period=1000 * FRAME)
    for middle, pitch in ((60, 57), (180, 61), (360, 64)):
        found = 69 + 12 * np.log2(np.median(f0[middle - 15 : middle + 15]) / 440)
        assert found == pytest.approx(pitch, abs=0.4)


def test_vibrato_has_its_rate_and_depth():
    manner = PLAIN._replace(vibrato_depth=0.5)
    curve = melody.pitch_curve([60.0], [800], manner, np.random.default_rng(0))[250:750] - 60
    spectrum = np.abs(np.fft.rfft(curve * np.hanning(500), 4096))
    assert np.fft.rfftfreq(4096, FRAME)[spectrum.argmax()] == pytest.approx(5.5, abs=0.6)
    assert 0.3 < np.sqrt(2) * curve.std() < 0.8


def test_a_telephone_voice_is_widened_and_a_full_one_is_not():
    full = voices.analyse(speech(1.6) + 0.01 * np.random.default_rng(0).standard_normal(70560))
    assert voices.widen(full) is full
    f = voices.frequencies(full)
    narrow = full._replace(envelope=np.where(f > 7000, -27.0, full.envelope).astype(np.float32))
    wide = voices.widen(narrow)
    assert np.all(wide.envelope[:, f > 8000].mean(axis=1) > -27)
    np.testing.assert_array_equal(wide.envelope[:, f < 5000], narrow.envelope[:, f < 5000])


def test_same_seed_same_song():
    first, again = (singer.sing(speech(6), 4.0, np.random.default_rng(7)) for _ in range(2))
    other = singer.sing(speech(6), 4.0, np.random.default_rng(8))
    assert first.tobytes() == again.tobytes()
    assert first.shape[1] == 2 and first.tobytes() != other.tobytes()


def test_who_says_nothing_cannot_sing():
    with pytest.raises(SourceError, match="mute: 0 syllables found, needs 8"):
        singer.sing(1e-3 * np.random.default_rng(0).standard_normal(RATE), 4.0,
                    np.random.default_rng(0), "mute")  # fmt: skip


def test_effects_end_at_one_loudness_without_clipping():
    voice = np.repeat(speech(4)[:, None], 2, axis=1)
    for seed in range(3):
        treated = effects.normalise(effects.treat(voice, np.random.default_rng(seed)))
        assert treated.shape == voice.shape
        assert np.abs(treated).max() <= 0.98 + 1e-6
        loudness = pyloudnorm.Meter(RATE).integrated_loudness(treated)
        assert loudness == pytest.approx(effects.LOUDNESS, abs=0.5)


def test_sing_gives_the_same_bytes_with_any_workers(tmp_path, monkeypatch):
    for split, name in (("train", "anna"), ("validation", "berta")):
        write(tmp_path / "sources/voices" / split / f"{name}.flac", speech(6))
    licence = {"voices/train/anna.flac": {"kind": "voice", "licence": "CC0", "source": "us"}}
    (tmp_path / "sources/licences.json").write_text(json.dumps(licence))
    made = []
    for workers in (1, 2):
        output = tmp_path / f"output-{workers}"
        flags = ("--minutes=0.1", "--take_seconds=3", f"--workers={workers}")
        assert run(monkeypatch, sing.main, "--speech", tmp_path / "sources/voices",
                   "--output", output, *flags) == 0  # fmt: skip
        files = sorted(output.rglob("*.flac"))
        made.append([path.read_bytes() for path in files])
        assert [str(path.relative_to(output)) for path in files] == [
            "train/sung-anna-0/vocals.flac",
            "validation/sung-berta-0/vocals.flac",
        ]
        licences = json.loads((output / "licences.json").read_text())
        assert licences["train/sung-anna-0/vocals.flac"]["licence"] == "CC0"
    assert made[0] == made[1]


def test_the_singing_of_training_songs_gets_variants(tmp_path, monkeypatch):
    write(tmp_path / "voices/train/anna.flac", speech(1))
    for split in ("train", "validation"):
        for stem in ("vocals", "accompaniment"):
            write(tmp_path / split / "song" / f"{stem}.flac", speech(2))
    licence = {"train/song/vocals.flac": {"kind": "voice", "licence": "MIT", "source": "us"}}
    (tmp_path / "licences.json").write_text(json.dumps(licence))
    assert run(monkeypatch, sing.main, "--speech", tmp_path / "voices", "--output", tmp_path,
               "--minutes=0", "--treated=2", "--workers=1") == 0  # fmt: skip
    made = sorted(path.parent.name for path in tmp_path.glob("*/treated-*/vocals.flac"))
    assert made == ["treated-song-0", "treated-song-1"]
    licences = json.loads((tmp_path / "licences.json").read_text())
    variant = licences["train/treated-song-0/vocals.flac"]
    assert variant["licence"] == "MIT" and variant["made_from"] == "train/song/vocals.flac"


def test_gather_takes_folders_and_names_every_licence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packages, "PACKAGES", ())
    rng = np.random.default_rng(0)
    for name in ("pia_001", "pia_002", "ole_001"):
        write(tmp_path / "speech/free" / f"{name}.wav", rng.uniform(-0.3, 0.3, 8000), 16000)
    (tmp_path / "speech/free/NOTE").write_text("Recorded by us, CC BY 4.0.")
    write(tmp_path / "speech/unclear/eva.wav", rng.uniform(-0.3, 0.3, 8000), 16000)
    for split in ("train", "validation"):
        for stem in ("vocals", "drums", "bass"):
            write(tmp_path / f"album/{split}/{split} song/{stem}.wav", rng.uniform(-0.9, 0.9, 8000))
    (tmp_path / "album/LICENSE.txt").write_text("CC0 1.0 Universal")
    flags = ("--output", tmp_path / "out", "--speech", tmp_path / "speech", "--stems",
             tmp_path / "album", "--hold_out", "free-ole", "validation-song")  # fmt: skip
    assert run(monkeypatch, gather.main, *flags) == 0
    assert f"left out: {tmp_path}/speech/unclear: no known licence" in capsys.readouterr().out
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.flac")}
    assert files == {
        *("voices/train/free-pia.flac", "voices/validation/free-ole.flac"),
        *("train/train-song/vocals.flac", "train/train-song/accompaniment.flac"),
        *(
            "validation/validation-song/vocals.flac",
            "validation/validation-song/accompaniment.flac",
        ),
    }
    licences = json.loads((tmp_path / "out/licences.json").read_text())
    assert licences.keys() == files
    assert licences["voices/train/free-pia.flac"]["licence"] == "CC-BY-4.0"
    rest, rate = soundfile.read(tmp_path / "out/train/train-song/accompaniment.flac")
    assert rate == RATE and rest.shape == (8000, 2) and np.abs(rest).max() < 0.99
    assert run(monkeypatch, gather.main, *flags) == 0
    assert "flac" not in capsys.readouterr().out


def test_songs_without_stems_are_labelled(tmp_path, monkeypatch, capsys):
    class LeftIsVocals:
        def __call__(self, waveform, rate):
            vocals = waveform * [1, 0]
            return {"vocals": vocals, "accompaniment": waveform - vocals}

    monkeypatch.setattr(packages, "PACKAGES", ())
    monkeypatch.setattr(gather.Separator, "restore", lambda path: LeftIsVocals())
    left, right = np.random.default_rng(0).uniform(-0.3, 0.3, (2, RATE))
    song = np.stack([left, right], axis=1)
    for file in ("one/song", "three/first", "three/second", "tracks/mixture"):
        write(tmp_path / "songs" / f"{file}.wav", song)
    write(tmp_path / "songs/tracks/drums.wav", song * [0.5, 1])
    write(tmp_path / "songs/tracks/voice.wav", song * [1, 0.5])
    for collection in ("one", "three", "tracks"):
        (tmp_path / "songs" / collection / "NOTE").write_text("A song by us, CC BY-SA.")
    flags = ("--output", tmp_path / "out", "--songs", tmp_path / "songs", "--model=teachers/best")
    assert run(monkeypatch, gather.main, *flags) == 0
    parted = (song * [1, 0], song * [0, 1])
    expected = {"one": parted, "three-first": parted, "three-second": parted}
    expected["tracks"] = (song * [1, 0.5], song * [0.5, 1])
    for name, stems in expected.items():
        for stem, waveform in zip(("vocals", "accompaniment"), stems, strict=True):
            read, _ = soundfile.read(tmp_path / "out/train" / name / f"{stem}.flac")
            np.testing.assert_allclose(read, waveform, atol=1e-4)
    licences = json.loads((tmp_path / "out/licences.json").read_text())
    assert len(licences) == 8
    entry = licences["train/three-first/vocals.flac"]
    assert entry["kind"] == "voice, labelled by best" and entry["licence"] == "CC-BY-SA"
    capsys.readouterr()
    assert run(monkeypatch, gather.main, *flags) == 0
    assert capsys.readouterr().out == ""


def test_without_apt_packages_are_left_out_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packages, "PACKAGES", packages.PACKAGES[:1])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(monkeypatch, gather.main, "--output", tmp_path / "out") == 2
    output = capsys.readouterr()
    assert output.out == "left out: klettres-data: needs apt-get, so Debian or Ubuntu\n"
    assert output.err.count("\n") == 1 and "nothing was found" in output.err


def test_a_licence_is_read_where_the_copyright_file_names_the_file(tmp_path):
    text = tmp_path / "copyright"
    text.write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        "Files: *\nCopyright: us\nLicense: GPL-2+\n\n"
        "Files: base/music/quiet.ogg\nCopyright: her\nLicense: CC-BY-3.0\n\n"
        "Files: ./base/music/fast.ogg\nCopyright: him\nLicense: CC0-1.0\n"
    )
    package = packages.Package("game-music", BACKING, "game", r"(\w+)\.ogg$")
    folder = tmp_path / "usr/share/games/base/music"
    assert packages._licence(package, text, folder / "quiet.ogg") == "CC-BY-3.0"
    assert packages._licence(package, text, folder / "fast.ogg") == "CC0-1.0"
    assert packages._licence(package, text, folder / "loud.ogg") == "GPL-2+"
    changed = package._replace(licence="MIT", evidence="free of charge")
    with pytest.raises(SourceError, match="game-music: its licence changed"):
        packages._licence(changed, text, folder / "quiet.ogg")


def test_of_a_games_archive_only_what_is_wanted_is_unpacked(tmp_path):
    archive = tmp_path / "game.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("voice/her.ogg", "")
        packed.writestr("pictures/her.png", "")
    packages._unzip(archive, r"/voice/(\w+)\.ogg$")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["her.ogg"]


def test_licences_of_folders_are_told_apart(tmp_path):
    own = "Attribution 4.0 International ... This text is dedicated to the public domain under CC0."
    known = {"CC BY-SA 3.0": "CC-BY-SA-3.0", "(CC BY 4.0)": "CC-BY-4.0", "MIT License": "MIT",
             "CC BY-SA per list": "CC-BY-SA", own: "CC-BY-4.0", "CC0 1.0": "CC0"}  # fmt: skip
    for i, (text, short) in enumerate(known.items()):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "LICENSE").write_text(text)
        assert folders.note_licence(tmp_path / str(i), tmp_path) == short


@pytest.mark.parametrize("text", ["CC BY-NC 4.0", "CC BY-ND 3.0", "Attribution-NonCommercial, CC0"])
def test_licences_that_restrict_use_or_changes_are_refused(tmp_path, text):
    (tmp_path / "LICENSE").write_text(text)
    with pytest.raises(SourceError, match="allows no such use"):
        folders.note_licence(tmp_path, tmp_path)


def test_held_out_names_are_whole_words():
    assert is_held_out("tuxpaint-el", ["tuxpaint-el"]) and is_held_out("game-song", ["game"])
    assert not is_held_out("tuxpaint-elx", ["tuxpaint-el"])


def test_the_whole_recipe_ends_with_a_model(tiny_workdir, tmp_path, monkeypatch):
    album = BuiltInBand(3, seed=1, duration=4.0)
    for track in album.tracks():
        split = "validation" if track.split == "validation" else "train"
        write_audio(album, dataclasses.replace(track, split=split), tmp_path / "album")
    (tmp_path / "album/LICENSE").write_text("CC0")
    write(tmp_path / "speech/free/eva.wav", speech(6))
    write(tmp_path / "songs/ours/song.wav", speech(4))
    for collection in ("speech/free", "songs/ours"):
        (tmp_path / collection / "LICENSE").write_text("CC0")
    flags = ("--output", tmp_path / "box", "--stems", tmp_path / "album", "--songs",
             tmp_path / "songs", "--speech", tmp_path / "speech",
             "--screen_model", tiny_workdir)  # fmt: skip
    assert run(monkeypatch, box.main, "--quick", *flags) == 0
    masker, _, info = load_model(tmp_path / "box/model")
    assert masker.fine_bins == 256 and info.step == 2
    (sung,) = (tmp_path / "box/sources/train").glob("sung-*/vocals.flac")
    assert sung.parent.name == "sung-free-eva-0"
    sources = info.provenance["sources"]
    assert {source["source"] for source in sources} == {"album", "free", "ours"}


def test_blocks_near_vocals_and_short_remains_are_cut():
    found = np.array([-30, -30, -30, -30, -30, -3, -30, -30, -30, np.nan, -30, -30, -5, -30.0])
    kept = screen.clear_blocks(found, -12)
    assert list(np.flatnonzero(kept)) == [0, 1, 2, 3, 7, 8, 9, 10]
    assert screen.clear_blocks(np.full(2, -30.0), -12).all()
    waveform = np.ones((int(13.5 * screen.BLOCK * RATE), 2), np.float32)
    assert len(screen.cut(waveform, kept)) == 8 * screen.BLOCK * RATE


class Half:
    """Finds vocals from the 33rd second on."""

    def __call__(self, waveform, rate):
        late = np.arange(len(waveform))[:, None] > 6.5 * 5 * RATE
        return {"vocals": np.where(late, waveform, 0)}


def test_screen_keeps_the_original_and_says_what_it_took(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(screen.Separator, "restore", lambda path: Half())
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (50 * RATE, 2))
    write(tmp_path / "train/song/accompaniment.flac", noise)
    write(tmp_path / "train/own/accompaniment.flac", noise[:RATE])
    write(tmp_path / "train/own/vocals.flac", noise[:RATE])
    write(tmp_path / "train/band/accompaniment.flac", noise)
    made = {"train/band/accompaniment.flac": {"kind": MADE, "licence": "MIT"}}
    (tmp_path / "licences.json").write_text(json.dumps(made))
    assert run(monkeypatch, screen.main, "--sources", tmp_path, "--model=any") == 0
    assert soundfile.info(tmp_path / "train/song/accompaniment.flac").duration == 25
    assert soundfile.info(tmp_path / "left_out/train/song/accompaniment.flac").duration == 50
    report = json.loads((tmp_path / "screened.json").read_text())
    assert report.keys() == {"train/song/accompaniment.flac"}
    assert report["train/song/accompaniment.flac"]["left_out"] == [25, 30, 35, 40, 45]
    capsys.readouterr()
    assert run(monkeypatch, screen.main, "--sources", tmp_path, "--model=any") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("moment", ["write", "write_json"])
def test_an_interrupted_screening_goes_on_from_the_original(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(screen.Separator, "restore", lambda path: Half())
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (50 * RATE, 2))
    write(tmp_path / "train/song/accompaniment.flac", noise)
    with monkeypatch.context() as patch:
        patch.setattr(screen, moment, interrupt)
        assert run(monkeypatch, screen.main, "--sources", tmp_path, "--model=any") == 130
    assert run(monkeypatch, screen.main, "--sources", tmp_path, "--model=any") == 0
    assert soundfile.info(tmp_path / "train/song/accompaniment.flac").duration == 25
    assert soundfile.info(tmp_path / "left_out/train/song/accompaniment.flac").duration == 50


def interrupt(*args):
    raise KeyboardInterrupt


class Take(NamedTuple):
    target: Path


def make_good_ones(take: Take) -> None:
    if "bad" in take.target.name:
        raise SourceError("too few syllables")
    take.target.touch()


def test_what_can_not_be_made_is_left_out_again_in_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "worker_pool", ThreadPoolExecutor)
    good, bad = Take(tmp_path / "good"), Take(tmp_path / "bad")
    for _ in range(2):
        sources.make_missing(make_good_ones, [good, bad], tmp_path, {}, workers=1)
    assert good.target.exists()
    with pytest.raises(SourceError, match="nothing could be made"):
        sources.make_missing(make_good_ones, [bad], tmp_path, {}, workers=1)
