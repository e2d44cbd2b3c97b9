"""Makes bands play: pop, rock, funk, disco, ballads, country and more, without voices.

usage: python -m recipes.bands --output=SOURCES [--minutes=180] [--seed=0]

Writes `train/band-FAMILY-STYLE-NNN/accompaniment.flac`, and every twentieth song, in a style and
with drum patterns that no other has, to `validation`. MMA, Musical MIDI Accompaniment, plays chords
and forms drawn at random (`recipes/arranger.py`) in its styles; free soundfonts give the sound,
each group of instruments gets effects of its own, and the mix is brought to the loudness of
records. MMA and the soundfonts are Debian packages, fetched by apt, without root; fluidsynth must
be installed (`apt-get install fluidsynth`). The same seed gives the same bytes, whatever the number
of workers; what is there isn't made again.
"""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import argparse
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np
import soundfile
from numpy.random import Generator

from recipes import arranger, mixdown, packages
from recipes.arranger import DRUMS, TICKS, Event, Song
from recipes.packages import Package
from recipes.sources import (
    BACKING,
    MADE,
    RATE,
    STEMS,
    Item,
    SourceError,
    make_missing,
    make_parser,
    plain,
    run,
    write,
)

MMA = Package("mma", BACKING, "mma", r"bin/(mma)$", "GPL-2+", "License: GPL-2+")
FONTS = (
    Package("fluid-soundfont-gm", BACKING, "font", r"sf2/(FluidR3_GM)\.sf2$", "MIT",
            "I hereby release Fluid under the MIT license"),
    Package("musescore-general-soundfont", BACKING, "font", r"sf3/(MuseScore_General\w*)\.sf3$",
            "MIT", "MuseScore_General_HQ SoundFont (MIT, parts PD or CC0)"),
)  # fmt: skip
SHARES = (0.65, 0.35)  # of the fonts: the second one takes five times as long to load
TWICE = {"driven": 0.7, "clean": 0.3}  # how often
LONGEST = 8 * TICKS  # of a note
TAIL = 3.0  # seconds after the last bar


class Job(NamedTuple):
    """A song to make: of which number, with what, and where."""

    target: Path
    song: Song
    seed: int
    mma: Path
    fonts: tuple[Path, ...]


def main() -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the sources")
    add("--minutes", type=float, default=180.0, help="of music, altogether")
    add("--hold_out_share", type=float, default=0.05, help="share of songs for validation")
    add("--packages", type=Path, help="folder of Debian packages; default: OUTPUT/packages")
    add("--seed", type=int, default=0, help="decides everything random")
    add("--workers", type=int, default=os.cpu_count(), help="processes; no matter to result")
    return run(parser, make_bands)


def make_bands(args: argparse.Namespace) -> None:
    """Makes what isn't there yet, and notes the licences.

    Raises:
      SourceError: if MMA, a soundfont or fluidsynth can't be had.
    """
    try:
        subprocess.run(["fluidsynth", "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SourceError("needs fluidsynth: apt-get install fluidsynth") from error
    texts, cache = args.output / "licences", args.packages or args.output / "packages"
    texts.mkdir(parents=True, exist_ok=True)
    mma, *fonts = (packages.items(package, cache, texts)[0] for package in (MMA, *FONTS))
    jobs = _plan(args, mma, fonts)
    made_by = ", ".join(f"{font.source} {font.version}" for font in fonts)
    entry = {
        "kind": MADE,
        "licence": ", ".join(sorted({font.licence for font in fonts})),
        "source": f"made by mma {mma.version} with {made_by}",
        "version": "",
    }
    entries = {str(job.target.relative_to(args.output)): entry for job in jobs}
    make_missing(make, jobs, args.output, entries, args.workers)


def _plan(args: argparse.Namespace, mma: Item, fonts: list[Item]) -> list[Job]:
    """Draws songs until the minutes are full."""
    jobs, seconds = [], 0.0
    every = round(1 / args.hold_out_share) if args.hold_out_share else 0
    files = tuple(font.files[0].absolute() for font in fonts)
    while seconds < args.minutes * 60:
        number = len(jobs)
        held_out = bool(every) and number % every == every - 1
        rng = np.random.default_rng([args.seed, number])
        # By the golden ratio: any number of the first songs are spread evenly over the families.
        turn = (number * 0.618034) % 1
        song = arranger.compose(rng, _home(mma.files[0]) / "lib", turn, held_out=held_out)
        split = "validation" if held_out else "train"
        folder = f"band-{song.family}-{plain(Path(song.styles[0]).name)}-{number:03}"
        target = args.output / split / folder / f"{STEMS[BACKING]}.flac"
        jobs.append(Job(target, song, args.seed, mma.files[0].absolute(), files))
        seconds += song.seconds
    return jobs


def _home(mma: Path) -> Path:
    """Returns where MMA's modules and its library are."""
    return mma.parents[1] / "share/mma"


def make(job: Job) -> None:
    """Makes a song.

    Raises:
      SourceError: if MMA or fluidsynth fails.
    """
    rng = np.random.default_rng([job.seed, zlib.crc32(job.target.parent.name.encode())])
    with tempfile.TemporaryDirectory() as folder:
        groups = _groups(job, Path(folder), rng)
        end = sum(len(section.chords) for section in job.song.sections) * job.song.beats * TICKS
        end += int(TAIL * job.song.tempo / 60 * TICKS)
        tracks = {}
        for name, events in groups.items():
            font = job.fonts[int(rng.choice(len(job.fonts), p=SHARES))]
            tracks[name] = [_render(job.song, events, end, font, Path(folder))]
            # Guitars are often played twice, for left and right.
            if rng.random() < TWICE.get(name, 0.0):
                again = [_played_again(event, rng) for event in events]
                tracks[name].append(_render(job.song, again, end, font, Path(folder)))
    write(job.target, mixdown.mix(tracks, rng))


def _groups(job: Job, folder: Path, rng: Generator) -> dict[str, list[Event]]:
    """Lets MMA play; returns the notes of the groups of instruments, as the band plays them."""
    song, kin = job.song, arranger.FAMILIES[job.song.family]
    seed = int(rng.integers(2**31))
    events = _play(job.mma, arranger.score(song, seed), folder)
    if song.drums:
        patterns = _play(job.mma, arranger.score(song, seed, drums=True), folder)
        events = [e for e in events if e.program != DRUMS] + patterns
    if song.drums or rng.random() < 0.6:
        events += arranger.accents(song, rng)
    instead = arranger.substitutes(rng, kin) | {DRUMS: DRUMS}
    groups: dict[str, list[Event]] = {}
    for event in events:
        played = event._replace(program=instead[event.program])
        groups.setdefault(mixdown.group(played.program), []).append(played)
    if solo := arranger.lead(song, rng):
        groups["lead"] = solo
    return groups


def _play(mma: Path, score: str, folder: Path) -> list[Event]:
    """Runs MMA, and reads what it wrote."""
    source, target = folder / "score.mma", folder / "score.mid"
    source.write_text(score)
    target.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, str(mma), "-w", "-f", str(target), str(source)],  # -w: no warnings
        env=os.environ | {"MMA_HOME": str(_home(mma))}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode or not target.exists():
        raise SourceError(f"MMA failed: {' '.join((done.stdout + done.stderr).split())}")
    return [event for track in mido.MidiFile(target).tracks for event in _notes(track)]


def _notes(track: mido.MidiTrack) -> list[Event]:
    """Reads the notes of a track. A bass that would be a piano is a fingered bass."""
    low, program, tick = track.name.startswith(("Bass", "Walk")), 0, 0
    events: list[Event] = []
    sounding: dict[int, Event] = {}  # by pitch

    def end(pitch: int) -> None:
        event = sounding.pop(pitch)
        events.append(event._replace(length=min(tick - event.start, LONGEST)))

    for message in track:
        tick += message.time
        if message.type == "program_change":
            program = message.program
        elif message.type in ("note_on", "note_off"):
            pitch = message.note
            # An end at the moment of a begin is that of the note before.
            if pitch in sounding and tick > sounding[pitch].start:
                end(pitch)
            if message.type == "note_on" and message.velocity and pitch not in sounding:
                played = 33 if low and program < 8 else program
                played = DRUMS if message.channel == 9 else played
                sounding[pitch] = Event(tick, 0, played, pitch, message.velocity)
    tick += LONGEST
    for pitch in list(sounding):  # some tracks leave strings to ring
        end(pitch)
    return events


def _played_again(event: Event, rng: Generator) -> Event:
    """Returns a note as somebody plays it the second time: not quite at the same moment."""
    start = max(0, event.start + round(rng.normal(0, 0.02) * TICKS))
    velocity = int(np.clip(event.velocity + rng.normal(0, 6), 1, 127))
    return event._replace(start=start, velocity=velocity)


def _render(song: Song, events: list[Event], end: int, font: Path, folder: Path) -> np.ndarray:
    """Lets fluidsynth play notes: float `[samples, 2]` at 44.1 kHz, without effects."""
    programs = sorted({event.program for event in events} - {DRUMS})
    free = [channel for channel in range(16) if channel != 9]
    channels = {program: free[i % len(free)] for i, program in enumerate(programs)} | {DRUMS: 9}
    timed = [(0, mido.Message("program_change", channel=9, program=song.kit))]
    for program in programs:
        channel = channels[program]
        timed.append((0, mido.Message("program_change", channel=channel, program=program)))
    for event in events:
        timed += _messages(event, channels[event.program])
    # What ends at a moment ends before what begins then.
    timed.sort(key=lambda pair: (pair[0], pair[1].type == "note_on"))
    track, tick = mido.MidiTrack(), 0
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(song.tempo)))
    for at, message in timed:
        track.append(message.copy(time=at - tick))
        tick = at
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - tick)))
    source, target = folder / "group.mid", folder / "group.wav"
    mido.MidiFile(type=0, ticks_per_beat=TICKS, tracks=[track]).save(source)
    target.unlink(missing_ok=True)
    done = subprocess.run(
        ["fluidsynth", "-niq", "-R", "0", "-C", "0", "-g", "0.4", "-r", str(RATE), "-T", "wav",
         "-O", "float", "-o", "synth.dynamic-sample-loading=1", "-o", "synth.polyphony=64",
         "-F", str(target), str(font), str(source)], capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode or not target.exists():
        raise SourceError(f"fluidsynth failed: {' '.join(done.stderr.split())}")
    return soundfile.read(target, dtype="float32")[0]


def _messages(event: Event, channel: int) -> list[tuple[int, mido.Message]]:
    """Returns a note's messages and their ticks; what slides also has vibrato when it is long."""
    end = event.start + event.length
    on = mido.Message("note_on", channel=channel, note=event.pitch, velocity=event.velocity)
    off = mido.Message("note_off", channel=channel, note=event.pitch)
    timed = [(event.start, on), (end, off)]
    if event.scoop:
        for i in range(5):
            bend = round(-4096 * event.scoop * (1 - i / 4))
            at = min(event.start + i * TICKS // 24, end)
            timed.append((at, mido.Message("pitchwheel", channel=channel, pitch=bend)))
        if event.length > TICKS:
            for at, value in ((event.start + TICKS // 2, 80), (end, 0)):
                wheel = mido.Message("control_change", channel=channel, control=1, value=value)
                timed.append((at, wheel))
    return timed


if __name__ == "__main__":
    sys.exit(main())
