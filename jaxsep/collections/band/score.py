"""Composition: what every player reads.

Musical time is in beats, four to the bar; pitch is in MIDI semitones; harmony is in scale degrees,
where 0 is the tonic and 7 its octave. Rhythms are bars of sixteenths.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

BEATS = 4  # in a bar
STROKES = {"X": 1.0, "x": 0.7, "o": 0.3}  # accented, normal and soft
DYNAMICS = {"intro": 0.7, "verse": 0.8, "chorus": 1.0, "break": 0.75}  # level of a section

# fmt: off
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10),
          (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10))
PROGRESSIONS = np.array([(0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 5, 4), (1, 4, 0, 0),
                         (0, 3, 0, 4), (0, 5, 2, 6), (0, 6, 5, 6), (0, 3, 4, 3), (3, 4, 2, 5)])
# The chance that a player rests in the sections of one kind.
RESTS = {("drums", "intro"): 0.4, ("bass", "intro"): 0.4, ("pad", "intro"): 0.5,
         ("drums", "break"): 0.3, ("bass", "break"): 0.2, ("pad", "verse"): 0.5}
# fmt: on


class Note(NamedTuple):
    """Onset and length in beats, MIDI pitch, level from 0 to 1."""

    start: float
    length: float
    pitch: int
    level: float


@dataclass(frozen=True)
class Song:
    """The key, tempo, form and harmony of a song."""

    sample_rate: int
    samples: int
    tempo: float  # beats per minute
    swing: float  # where in the beat its second half starts: 0.5 is straight
    tonic: int  # MIDI pitch of degree 0
    scale: tuple[int, ...]  # semitones above the tonic
    sections: list[str]  # of each bar
    chords: list[int]  # degree of each bar's root
    tacet: frozenset[tuple[str, str]]  # (player, section) where the player rests

    def seconds(self, beat: float) -> float:
        """Time at which a beat falls, swing included."""
        whole, part = divmod(beat, 1.0)
        return float(whole + np.interp(part, (0, 0.5, 1), (0, self.swing, 1))) * 60 / self.tempo

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a scale degree."""
        octave, step = divmod(degree, 7)
        return self.tonic + 12 * octave + self.scale[step]

    def transpose(self, pitch: int, degrees: int) -> int:
        """A pitch of the scale, moved by a number of scale degrees."""
        octave, step = divmod(pitch - self.tonic, 12)
        return self.pitch(octave * 7 + self.scale.index(step) + degrees)

    def bars(self, player: str) -> list[tuple[int, str]]:
        """Number and section of each bar in which `player` plays."""
        return [(i, s) for i, s in enumerate(self.sections) if (player, s) not in self.tacet]


def compose(duration: float, sample_rate: int, rng: Generator) -> Song:
    """Draws key, tempo, form and harmony of a song of `duration` seconds."""
    tempo = rng.uniform(72, 150)
    bars = int(np.ceil(duration * tempo / 60 / BEATS))
    unit = 1 if bars < 8 else 2 if bars < 32 else 4
    verses = ["verse"] * 2 * unit + ["chorus"] * 2 * unit + ["break"] * unit * (rng.random() < 0.6)
    intro = ["intro"] * unit * (bars > 2)
    sections = (intro + verses * bars)[:bars]
    verse, chorus = rng.choice(PROGRESSIONS, 2, replace=False).tolist()
    return Song(
        sample_rate=sample_rate,
        samples=round(duration * sample_rate),
        tempo=tempo,
        swing=rng.choice([0.5, rng.uniform(0.5, 0.66)]),
        tonic=int(rng.integers(48, 60)),
        scale=SCALES[rng.choice(len(SCALES), p=(0.4, 0.35, 0.15, 0.1))],
        sections=sections,
        chords=[(chorus if s == "chorus" else verse)[i % 4] for i, s in enumerate(sections)],
        tacet=frozenset(who for who, chance in RESTS.items() if rng.random() < chance),
    )


def melody(song: Song, centre: float, sections: tuple[str, ...], rng: Generator) -> list[Note]:
    """Writes a tune around MIDI pitch `centre` for the bars of the given sections.

    Each kind of section has its own motif, a rhythm and a contour two bars long. Its repeats bend
    to the chords: notes on the strong beats and the last of a phrase are chord tones.
    """
    home = min(range(-28, 36), key=lambda degree: abs(song.pitch(degree) - centre))
    notes = []
    for section in sections:
        register = home + (rng.integers(1, 4) if section == "chorus" else 0)
        last = int(rng.integers(10, 13))  # onset, in eighths, of the note that ends the phrase
        busy = np.where(np.arange(last) % 2, rng.uniform(0.25, 0.75), rng.uniform(0.65, 0.95))
        onsets = [*np.flatnonzero(rng.random(last) < busy).tolist(), last, rng.uniform(14, 15.5)]
        contour = np.rint(rng.normal(0, 1.4, 16)).astype(int)
        legato = rng.uniform(0.75, 1.0)
        for bar in [i for i, s in enumerate(song.sections) if s == section][::2]:
            degree = register
            for onset, until in pairwise(onsets):
                now = bar + onset // 8
                if song.sections[now : now + 1] != [section]:
                    break
                degree += contour[onset] + rng.integers(-1, 2) * (rng.random() < 0.2)
                degree = int(np.clip(degree, register - 4, register + 5))
                if onset % 4 == 0 or onset == last:
                    while (degree - song.chords[now]) % 7 not in (0, 2, 4):
                        degree -= 1
                length = (until - onset) / 2 * (1 if onset == last else legato)
                level = DYNAMICS[section] * rng.uniform(0.8, 1.0)
                notes.append(Note(bar * BEATS + onset / 2, length, song.pitch(degree), level))
    return sorted(notes)


def strokes(line: str, bar: int) -> list[tuple[float, float, float]]:
    """Onset and length in beats, and level, of each stroke of a one-bar rhythm."""
    steps = [i for i, stroke in enumerate(line) if stroke != "."] + [len(line)]
    return [(bar * BEATS + a / 4, (b - a) / 4, STROKES[line[a]]) for a, b in pairwise(steps)]
