"""Made bands: what they play is within limits, and it sounds."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

# Before the recipes, which import them; see recipes/requirements.txt.
# ruff: noqa: E402
pytest.importorskip("debian")
mido = pytest.importorskip("mido")
pytest.importorskip("pedalboard")
pytest.importorskip("pyloudnorm")

from recipes import arranger, bands, mixdown
from recipes.arranger import DRUMS, FAMILIES, HELD_OUT, VOICES
from recipes.sources import RATE

pytestmark = pytest.mark.slow

# Debian's mma, and a soundfont of 6 MB in place of the recipe's 200.
MMA, FONT = Path("/usr/bin/mma"), Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
GROOVES = ("", "1", "Plus", "Fill", "Intro", "End")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Mimics MMA's: each style has some grooves, each file of drum patterns ten."""
    for family in FAMILIES.values():
        time = 3 if family is FAMILIES["waltz"] else 4
        files = {name: [f"{name[-5:]}{kind}" for kind in GROOVES] for name in family.styles.split()}
        files |= {f"zoom/{n}": [f"{n}{k:02}" for k in range(10)] for n in family.drums.split()}
        for name, grooves in files.items():
            path = tmp_path / f"{name}.mma"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"Time {time}\n" + "".join(f"DefGroove {g}  text\n" for g in grooves))
    return tmp_path


def songs(library: Path, count: int, **flags) -> list[arranger.Song]:
    return [arranger.compose(np.random.default_rng(i), library, **flags) for i in range(count)]


def test_the_same_seed_is_the_same_song(library):
    assert songs(library, 5) == songs(library, 5)
    assert len(set(songs(library, 5))) == 5


def test_songs_are_two_to_three_minutes_at_their_familys_tempo(library):
    for song in songs(library, 60):
        slowest, fastest = FAMILIES[song.family].tempos
        assert slowest <= song.tempo <= fastest
        assert 105 < song.seconds < 240
        assert song.sections[0].part == "intro" and song.sections[-1].part == "end"
        assert {s.part for s in song.sections} >= {"verse", "chorus"}


def test_styles_and_drum_patterns_for_validation_are_in_no_other_song(library):
    train, held_out = songs(library, 60), songs(library, 60, held_out=True)
    assert not {style for song in train for style in song.styles} & HELD_OUT
    assert {style for song in held_out for style in song.styles} <= HELD_OUT
    patterns = [{p for s in group for p in s.drums[1:]} for group in (train, held_out)]
    assert all(patterns) and not patterns[0] & patterns[1]


def test_every_held_out_style_is_some_familys():
    styles = {style for family in FAMILIES.values() for style in family.styles.split()}
    assert styles >= HELD_OUT


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_sounds_like_voices(name):
    for seed in range(20):
        chosen = arranger.substitutes(np.random.default_rng(seed), FAMILIES[name])
        assert not VOICES & set(chosen.values())
        assert all(mixdown.group(chosen[program]) == "bass" for program in range(32, 40))
    assert not VOICES & set(FAMILIES[name].leads)


def test_leads_keep_to_their_sections_scale_and_range(library):
    led = [song for song in songs(library, 60) if any(s.lead for s in song.sections)]
    assert 25 < len(led) < 55
    for song in led:
        events = arranger.lead(song, np.random.default_rng(1))
        bars = np.cumsum([0, *(len(s.chords) for s in song.sections)]) * song.beats
        for event in events:
            assert 40 <= event.pitch <= 96 and 1 <= event.velocity <= 127 and event.length > 0
            assert (event.pitch - song.key) % 12 in song.scale
            section = np.searchsorted(bars, event.start / arranger.TICKS, side="right") - 1
            assert song.sections[min(section, len(song.sections) - 1)].lead or (
                event.start / arranger.TICKS - bars[section] < 0.3
            )


@pytest.mark.parametrize(
    "numeral, name",
    [("I", "D"), ("vi", "Bm"), ("bVII", "C"), ("V/VII", "A/Db"), ("vii7b5", "Dbm7b5")],
)
def test_chords_are_named_as_mma_does(numeral, name):
    assert arranger.chord(numeral, 2) == name


def test_fills_lie_within_the_song(library):
    for song in songs(library, 10):
        end = song.seconds * song.tempo / 60 * arranger.TICKS
        for event in arranger.accents(song, np.random.default_rng(0)):
            assert 0 <= event.start < end and event.program == DRUMS and 35 <= event.pitch <= 57


def test_strings_that_are_left_to_ring_end_at_the_next_note_or_after_a_while():
    track = mido.MidiTrack([mido.MetaMessage("track_name", name="Plectrum")])
    track.append(mido.Message("program_change", program=25))
    track += [mido.Message("note_on", note=50, velocity=90, time=time) for time in (0, 100)]
    track.append(mido.Message("note_off", note=50, time=0))  # of the first
    events = [event[:4] for event in bands._notes(track)]
    assert events == [(0, 100, 25, 50), (100, bands.LONGEST, 25, 50)]


def test_the_limiter_keeps_what_is_soft_and_turns_down_what_is_loud():
    waveform = np.full((RATE, 2), 0.1)
    waveform[RATE // 2] = 4.0
    limited = mixdown.limit(waveform, 0.02)
    assert np.abs(limited).max() <= mixdown.CEILING + 1e-6
    np.testing.assert_array_equal(limited[: RATE // 4], waveform[: RATE // 4])


def test_mix_is_at_the_level_of_records():
    rng = np.random.default_rng(0)
    noise = {name: [0.01 * rng.standard_normal((3 * RATE, 2))] for name in mixdown.LEVELS}
    mixed = mixdown.mix(noise, rng)
    assert mixed.shape == (3 * RATE, 2) and np.abs(mixed).max() <= mixdown.CEILING + 1e-6
    assert -22 < 10 * np.log10(np.square(mixed).mean()) < -8


def test_without_fluidsynth_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bands", f"--output={tmp_path}"])
    assert bands.main() == 2
    assert capsys.readouterr().err.endswith("needs fluidsynth: apt-get install fluidsynth\n")


@pytest.mark.skipif(not (MMA.exists() and FONT.exists()), reason=f"no {MMA} or no {FONT}")
@pytest.mark.skipif(not shutil.which("fluidsynth"), reason="no fluidsynth")
def test_a_band_plays(tmp_path):
    rng = np.random.default_rng(0)
    song = arranger.compose(rng, Path("/usr/share/mma/lib"), 0.0, held_out=False)
    home = tmp_path / ("far away " * 9) / "share"  # MMA breaks its lines where names are long
    (home.parent / "bin").mkdir(parents=True)
    home.symlink_to("/usr/share")
    (home.parent / "bin" / "mma").symlink_to(MMA)
    targets = [tmp_path / take / "band" / "accompaniment.flac" for take in ("one", "two")]
    for target, mma in zip(targets, (MMA, home.parent / "bin" / "mma"), strict=True):
        bands.make(bands.Job(target, song, 0, mma, (FONT, FONT)))
    assert targets[0].read_bytes() == targets[1].read_bytes()
    waveform, rate = soundfile.read(targets[0])
    assert rate == RATE and 100 * RATE < len(waveform) < 260 * RATE and waveform.shape[1] == 2
    seconds = waveform[: len(waveform) // RATE * RATE].reshape(-1, 2 * RATE)
    assert (np.square(seconds).mean(axis=1) > 1e-6).mean() > 0.9
