"""What made bands play: style, key, form, chords, instruments and a lead, all drawn at random.

The styles and drum patterns are those of MMA's library, as files `FOLDER/NAME` of it; pitch is in
MIDI numbers, programs are General MIDI's, counted from 0.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from recipes import melody

TICKS = 192  # a beat, in MMA's MIDI files
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
ROMAN = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
VOICES = frozenset((52, 53, 54, 85, 91))  # choir, oohs, synth voice, lead voice, choir pad
DRUMS = 128  # what stands for the drums where a program is expected


class Family(NamedTuple):
    """Styles that go together.

    Attributes:
      weight: how often it is drawn.
      tempos: beats per minute, the slowest and the fastest.
      styles: names in MMA's library.
      drums: files of drum patterns, in `zoom/`, that can replace a style's own.
      kits: drum kits.
      basses: programs.
      drive: how often a clean guitar becomes a distorted one.
      colour: how often a triad gets another note.
      leads: programs.
      moods: weights of progressions in major, in minor, blues, and jazz.
    """

    weight: float
    tempos: tuple[int, int]
    styles: str
    drums: str
    kits: tuple[int, ...]
    basses: tuple[int, ...]
    drive: float
    colour: float
    leads: tuple[int, ...]
    moods: tuple[float, float, float, float]


_KITS, _SOFT, _BOXES = (0, 0, 8, 16), (0, 8, 32, 40), (24, 25, 25, 16, 0)
_ELECTRIC, _SYNTH, _UPRIGHT = (33, 33, 34, 34, 35), (38, 39, 38, 33), (32, 32, 33, 35)
_GUITARS, _WINDS = (29, 30, 29, 27), (65, 66, 64, 56, 73, 71)
FAMILIES = {
    "rock": Family(5, (100, 165), "casio/rock1 casio/rock2 casio/poprock1 casio/poprock2 "
        "casio/digitalrock casio/shufflerock stdlib/basicrock stdlib/bubblerock pflib/rock1 "
        "yamaha/w-rock stdlib/folkrock stdlib/softrock", "rock hrk punk", _KITS, _ELECTRIC,
        0.5, 0.15, (*_GUITARS, 30, 18, 65, 22), (0.6, 0.35, 0.05, 0)),
    "metal": Family(1, (100, 170), "casio/heavymetal pflib/metal1 pflib/metal2 casio/rock2",
        "mtl thr hrk", (16, 16, 0), (34, 34, 33), 0.9, 0.0, (30, 29, 30, 81), (0.2, 0.8, 0, 0)),
    "oldies": Family(2, (110, 165), "stdlib/50srock casio/60srock casio/60spop stdlib/60srock "
        "kara/K50s_rock casio/twist stdlib/twist kara/2beatp casio/popshuffle1", "rock shuffle",
        _KITS, (*_UPRIGHT, *_ELECTRIC), 0.15, 0.1, (27, 66, 65, 16, 22), (0.7, 0.1, 0.2, 0)),
    "pop": Family(5, (84, 140), "casio/8beat1 casio/8beat2 casio/8beat3 casio/8beatpop1 "
        "casio/8beatpop2 casio/8beatpop3 casio/80spop casio/pop casio/electricpop casio/16beat1 "
        "casio/16beat2 casio/16beat3 casio/worldpop casio/popshuffle2 stdlib/8beat pflib/8beat1 "
        "pflib/8beat2 pflib/16beat1 pflib/16beat2 pflib/highfive stdlib/boneym casio/16shuffle1",
        "pop beat8 beat16 rock", _KITS, (*_ELECTRIC, 36, 39), 0.15, 0.25,
        (*_GUITARS, 80, 81, 65, 73, 22, 40), (0.65, 0.33, 0, 0.02)),
    "ballad": Family(3, (62, 92), "casio/8beatballad1 casio/8beatballad2 casio/8beatballad3 "
        "casio/16beatballad1 casio/16beatballad2 casio/16beatballad3 casio/popballad "
        "casio/oldieballad casio/slow16beat casio/slowrock stdlib/ballad stdlib/popballad "
        "stdlib/pianoballad stdlib/rockballad stdlib/rb-ballad stdlib/guitarballad pflib/slowrock "
        "stdlib/folkballad stdlib/stringballad", "bald", _SOFT, (*_ELECTRIC, 32), 0.1, 0.3,
        (29, 27, 65, 64, 73, 68, 40, 71), (0.6, 0.35, 0, 0.05)),
    "soul": Family(2.5, (76, 124), "casio/soul casio/60ssoul casio/soulpop casio/r+b "
        "casio/modernrb casio/mellowrb stdlib/rb stdlib/dsoul kara/8beatmotown", "rnb funk pop",
        _KITS, (33, 33, 35, 36), 0.1, 0.5, (*_WINDS, 27, 16, 4), (0.5, 0.35, 0.1, 0.05)),
    "funk": Family(2, (88, 126), "casio/funk1 casio/funk2 kara/Kfunk1 stdlib/bvfunk stdlib/strut "
        "casio/fusion stdlib/jazzrock", "funk fusion fus16", _KITS, (36, 37, 33, 33), 0.15, 0.6,
        (*_WINDS, 27, 29, 7, 81), (0.2, 0.6, 0.15, 0.05)),
    "disco": Family(2, (108, 132), "casio/discosoul casio/8beatdance casio/dancepop1 "
        "casio/dancepop2 casio/dancepop3 casio/dance1 casio/dance2", "dance house pop",
        (0, 16, 24, 25), (33, 36, 38, 39), 0.05, 0.35, (80, 81, 56, 65, 40, 27),
        (0.45, 0.55, 0, 0)),
    "electronic": Family(2, (96, 145), "casio/house casio/techno casio/trance1 casio/trance2 "
        "casio/latinhouse casio/rave stdlib/trance alexis/teamtechno casio/ambient1",
        "house techno dance dnb", _BOXES, _SYNTH, 0.05, 0.2, (80, 81, 81, 84, 87, 62),
        (0.3, 0.7, 0, 0)),
    "hiphop": Family(1.5, (74, 104), "casio/hip-hop casio/triphop alexis/hiphop casio/modernrb",
        "hiphop trip", _BOXES, (38, 39, 33, 35), 0.05, 0.35, (81, 65, 56, 73, 4),
        (0.3, 0.65, 0, 0.05)),
    "country": Family(2, (84, 150), "stdlib/hillcountry stdlib/slowcountry stdlib/countryblues "
        "stdlib/folk stdlib/bluegrass stdlib/countryswing stdlib/bluefolk yamaha/jazzcountry "
        "yamaha/western kara/kwestballad", "cntry country", _SOFT, (*_UPRIGHT, 33), 0.05, 0.1,
        (40, 110, 22, 25, 27, 105), (0.85, 0.1, 0.05, 0)),
    "blues": Family(1.5, (76, 140), "casio/blues stdlib/blues stdlib/slowblues "
        "stdlib/shuffleboggie casio/shuffleboogie kara/happyshuffle stdlib/fastblues", "blues "
        "shuffle", _KITS, (33, 33, 32, 34), 0.3, 0.4, (29, 29, 27, 22, 22, 66, 16),
        (0.1, 0.1, 0.8, 0)),
    "reggae": Family(1.5, (72, 120), "stdlib/ska stdlib/calypso stdlib/zydeco casio/worldpop",
        "reggae ska", _KITS, (33, 33, 35), 0.1, 0.2, (57, 56, 65, 22, 16), (0.65, 0.35, 0, 0)),
    "latin": Family(1.5, (90, 140), "stdlib/bossanova stdlib/salsa stdlib/samba stdlib/chacha "
        "stdlib/merengue stdlib/rhumba stdlib/mambo kara/kbossa casio/latinfusion stdlib/beguine "
        "stdlib/cubanguitar", "latin bossa samba", _SOFT, (32, 32, 33, 35), 0.0, 0.5,
        (*_WINDS, 24, 11), (0.3, 0.5, 0, 0.2)),
    "jazz": Family(0.7, (90, 170), "stdlib/swing stdlib/jazzguitar stdlib/bigband casio/swing "
        "casio/jazzcombo yamaha/jazztrio", "jazz", (32, 40, 0), (32, 32, 35), 0.0, 0.7,
        (*_WINDS, 26, 11), (0.15, 0.15, 0.1, 0.6)),
    "waltz": Family(0.6, (84, 150), "casio/popwaltz stdlib/rockwaltz stdlib/countrywaltz "
        "stdlib/waltz", "", _SOFT, (32, 33, 35), 0.05, 0.2, (40, 21, 73, 25, 68),
        (0.75, 0.25, 0, 0)),
}  # fmt: skip
HELD_OUT = frozenset((
    "casio/poprock2", "stdlib/bubblerock", "casio/60spop", "casio/8beatpop3", "pflib/16beat2",
    "casio/16beat3", "stdlib/popballad", "casio/16beatballad2", "casio/soulpop", "casio/funk2",
    "casio/dancepop3", "casio/trance2", "stdlib/countryblues", "stdlib/slowblues",
))  # fmt: skip

PROGRESSIONS = (
    ("I V vi IV", "vi IV I V", "I vi IV V", "I IV V V", "I IV V IV", "I IV I V", "I V/VII vi IV",
     "I bVII IV I", "I iii IV V", "ii V I vi", "I ii IV V", "I IV vi V", "IV V iii vi",
     "I V ii IV", "IV I/III ii V", "I I IV V", "I vi ii V", "I III7 vi IV", "IV IV I I",
     "I I/III IV V", "vi V IV V", "I bVI bVII I"),
    ("i bVI bIII bVII", "i bVII bVI V", "i iv bVII bIII", "i bVI iv V", "i iv i V7", "i bVII iv i",
     "i bIII bVII IV", "i v bVI bVII", "i i bVI bVII", "bVI bVII i i", "i bVII bVI bVII",
     "i IV i IV", "i i iv v", "iv i V7 i", "i i/bVII bVI V7"),
    ("I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
     "i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7", "I7 I7 IV7 IV7 I7 V7 I7 V7", "I7 I7 IV7 I7"),
    ("ii7 V7 IM7 vi7", "iii7 VI7 ii7 V7", "IM7 vi7 ii7 V7", "IM7 IM7 ii7 V7",
     "vii7b5 III7 vi7 VI7", "ii7 ii7 V7 V7 IM7 IM7 VI7 VI7", "iv7 bVII7 IM7 VI7"),
)  # fmt: skip
COLOURS = {"": ("M7", "add9", "sus4", "sus2", "6", "9"), "m": ("m7", "m7", "m9", "m7", "m6")}
RELATED = (
    (0, 1, 2, 3), (4, 5), (4, 5, 2), (6, 7), (24, 25, 26, 27), (26, 27, 28), (29, 30),
    (16, 17, 18), (18, 19, 20, 16), (48, 49, 50, 51), (44, 48), (61, 62, 63), (56, 57),
    (64, 65, 66), (88, 89, 90, 94, 95), (80, 81, 82, 84, 87), (11, 12, 13), (40, 110), (71, 68, 73),
)  # fmt: skip


class Style(NamedTuple):
    """Grooves of a file in MMA's library: names of those for a song's parts."""

    name: str
    beats: int  # in a bar
    mains: tuple[str, ...]
    fills: tuple[str, ...]
    intros: tuple[str, ...]
    ends: tuple[str, ...]


class Section(NamedTuple):
    """Bars of one groove."""

    part: str
    groove: str
    chords: tuple[tuple[str, ...], ...]  # of each bar, one or two
    fill: str  # groove of its last bar, or ""
    lead: bool


class Song(NamedTuple):
    """What a band plays.

    Attributes:
      family: of `FAMILIES`.
      styles: names in MMA's library; the first gives the song its name.
      beats: in a bar.
      tempo: beats per minute.
      key: pitch class of the tonic.
      scale: semitones of its degrees.
      sections: in the order they are played.
      drums: file of drum patterns, and one for each section; or none.
      kit: drum kit.
    """

    family: str
    styles: tuple[str, ...]
    beats: int
    tempo: float
    key: int
    scale: tuple[int, ...]
    sections: tuple[Section, ...]
    drums: tuple[str, ...]
    kit: int

    @property
    def seconds(self) -> float:
        """Returns the length, up to the last bar's end."""
        bars = sum(len(section.chords) for section in self.sections)
        return bars * self.beats * 60 / self.tempo


class Event(NamedTuple):
    """A note.

    Attributes:
      start: tick.
      length: ticks.
      program: of General MIDI, or `DRUMS`.
      pitch: of MIDI.
      velocity: 1 to 127.
      scoop: semitones below, from where the pitch slides up.
    """

    start: int
    length: int
    program: int
    pitch: int
    velocity: int
    scoop: float = 0.0


def read_style(library: Path, name: str) -> Style:
    """Reads the names of a style's grooves from MMA's library."""
    text = (library / f"{name}.mma").read_text(errors="replace")
    time = re.search(r"^\s*time\s+(\d+)", text, re.I | re.M)
    grooves = dict.fromkeys(re.findall(r"^\s*defgroove\s+(\S+)", text, re.I | re.M))
    kinds: dict[str, list[str]] = {"main": [], "fill": [], "intro": [], "end": []}
    for groove in grooves:
        short = name.startswith("pflib/")
        if re.search("break|hit$|metronome", groove, re.I):
            continue
        if re.search("intro", groove, re.I):
            kinds["intro"].append(groove)
        elif re.search(r"end(ing)?\w?$", groove, re.I) or (short and groove.endswith("E")):
            kinds["end"].append(groove)
        elif re.search("fill", groove, re.I) or (short and re.search("F[AB]$", groove)):
            kinds["fill"].append(groove)
        else:
            kinds["main"].append(groove)
    return Style(name, int(time[1]) if time else 4, *(tuple(kind) for kind in kinds.values()))


def drum_patterns(library: Path, file: str, beats: int, *, held_out: bool) -> list[str]:
    """Lists drum patterns; every fifth is for validation only."""
    style = read_style(library, f"zoom/{file}")
    held = [groove for i, groove in enumerate(style.mains) if (i % 5 == 4) == held_out]
    return held if style.beats == beats else []


def chord(numeral: str, key: int) -> str:
    """Names a chord, like `V7` or `I/III`, as MMA does: small numerals are minor."""
    upper, _, bass = numeral.partition("/")
    name, minor, rest = _degree(upper, key)
    return name + ("m" if minor else "") + rest + (f"/{_degree(bass, key)[0]}" if bass else "")


def _degree(numeral: str, key: int) -> tuple[str, bool, str]:
    match = re.match(r"(b?)([iv]+|[IV]+)(.*)", numeral)
    assert match, numeral
    flat, roman, rest = match.groups()
    return NAMES[(key + ROMAN[roman.lower()] - len(flat)) % 12], roman.islower(), rest


def compose(
    rng: Generator, library: Path, turn: float | None = None, *, held_out: bool = False
) -> Song:
    """Draws a song.

    Args:
      rng: decides everything but the family.
      library: MMA's.
      turn: 0 to 1, decides the family; by default, `rng` does.
      held_out: with styles that no other songs have.
    """
    styles = {
        name: [s for s in family.styles.split() if (s in HELD_OUT) == held_out]
        for name, family in FAMILIES.items()
    }
    names = [name for name in FAMILIES if styles[name]]
    weights = np.cumsum([FAMILIES[name].weight for name in names])
    turn = rng.random() if turn is None else turn
    family = names[int(np.searchsorted(weights, turn * weights[-1], side="right"))]
    kin = FAMILIES[family]
    first = read_style(library, str(rng.choice(styles[family])))
    used, others = [first], [s for s in styles[family] if s != first.name]
    if others and rng.random() < 0.5:
        other = read_style(library, str(rng.choice(others)))
        clash = {g.lower() for g in other.mains} & {g.lower() for g in first.mains}
        if other.beats == first.beats and not clash:
            used.append(other)
    tempo, key = float(round(rng.uniform(*kin.tempos), 1)), int(rng.integers(12))
    if first.beats == 6:
        tempo *= 2
    mood = int(rng.choice(4, p=kin.moods))
    scales = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 6, 7, 10))
    scale = scales[(0, 1, 2, 0)[mood]]
    if mood < 2 and rng.random() < 0.3:
        scale = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10))[mood]
    sections = _form(rng, used, tempo, _parts(rng, kin, used, mood, key))
    drums: tuple[str, ...] = ()
    if kin.drums and rng.random() < 0.5:
        file = str(rng.choice(kin.drums.split()))
        if patterns := drum_patterns(library, file, first.beats, held_out=held_out):
            by_part = {part: str(rng.choice(patterns)) for part in ("verse", "chorus", "bridge")}
            drums = (file, *(by_part.get(s.part, by_part["chorus"]) for s in sections))
    kit = int(rng.choice(kin.kits))
    names = tuple(style.name for style in used)
    return Song(family, names, first.beats, tempo, key, scale, tuple(sections), drums, kit)


def _parts(
    rng: Generator, kin: Family, used: list[Style], mood: int, key: int
) -> dict[str, tuple[str, list[tuple[str, ...]]]]:
    """Draws grooves and chords of a verse, a chorus and a bridge."""
    parts, grooves = {}, [groove for style in used for groove in style.mains]
    for part in ("verse", "chorus", "bridge"):
        groove = str(rng.choice(grooves))
        progression = str(rng.choice(PROGRESSIONS[mood])).split()
        bars = [(_coloured(rng, chord(numeral, key), kin),) for numeral in progression]
        if len(bars) == 4 and used[0].beats == 4 and rng.random() < 0.2:
            bars = [(*bars[0], *bars[1]), (*bars[2], *bars[3])] * 2
        elif len(bars) == 4 and used[0].beats == 4 and rng.random() < 0.15:
            bars = [bar for bar in bars for _ in range(2)]
        parts[part] = groove, bars * max(1, 8 // len(bars))
    return parts


def _coloured(rng: Generator, name: str, kin: Family) -> str:
    """Adds a note to a plain chord at times; metal has none but fifths."""
    match = re.fullmatch(r"([A-G][b#]?)(m?)", name)
    if not match:
        return name
    if kin.drive > 0.8:
        return f"{match[1]}5" if rng.random() < 0.7 else name
    if rng.random() < kin.colour:
        return match[1] + str(rng.choice(COLOURS[match[2]]))
    return name


def _form(rng: Generator, used: list[Style], tempo: float, parts: dict) -> list[Section]:
    """Puts parts together to a song of two to three minutes."""
    bar = used[0].beats * 60 / tempo
    left, led = rng.uniform(115, 165) / bar, rng.random() < 0.67
    with_lead = {"verse": rng.random() < 0.4, "chorus": rng.random() < 0.5, "bridge": True}
    sections = []
    groove, chords = parts["chorus"]
    intro = str(rng.choice(used[0].intros)) if used[0].intros and rng.random() < 0.7 else groove
    sections.append(Section("intro", intro, tuple(chords[:4]), "", False))
    order = ["verse", "chorus", "verse", "chorus", "bridge", "chorus"]
    if rng.random() < 0.4:
        order.insert(0, "verse")
    fills = used[0].fills
    for turn in range(100):
        part = order[turn % len(order)]
        groove, chords = parts[part]
        fill = str(rng.choice(fills)) if fills and rng.random() < 0.7 else ""
        lead = bool(led and with_lead[part])
        sections.append(Section(part, groove, tuple(chords), fill, lead))
        left -= len(chords)
        if left < 0:
            break
    end = str(rng.choice(used[0].ends)) if used[0].ends else parts["verse"][0]
    tonic = (parts["verse"][1][0][0],)
    return [*sections, Section("end", end, (tonic, tonic), "", False)]


def score(song: Song, seed: int, *, drums: bool = False) -> str:
    """Writes a song for MMA: all of it, or only the drum patterns that replace a style's own."""
    files = [f"zoom/{song.drums[0]}"] if drums else song.styles
    lines = [f"RndSeed {seed}", *(f"Use {file}" for file in files), f"Tempo {song.tempo}"]
    for i, section in enumerate(song.sections):
        lines.append(f"Groove {song.drums[1 + i] if drums else section.groove}")
        for number, names in enumerate(section.chords, 1):
            if section.fill and number == len(section.chords) and not drums:
                lines.append(f"Groove {section.fill}")
            lines.append(" / ".join(names))
    return "\n".join([*lines, ""])


def substitutes(rng: Generator, kin: Family) -> dict[int, int]:
    """Draws which program is played instead of each one: never one that sounds like voices."""
    chosen = {}
    bass = int(rng.choice(kin.basses))
    for program in range(128):
        other = program
        if 32 <= program < 40:
            other = bass
        elif program in VOICES:
            other = int(rng.choice((48, 49, 50, 89, 16)))
        elif rng.random() < 0.7:
            related = [p for group in RELATED if program in group for p in group]
            other = int(rng.choice(related)) if related else program
        if 26 <= other <= 28 and rng.random() < kin.drive:
            other = int(rng.choice((29, 30)))
        chosen[program] = other
    return chosen


def lead(song: Song, rng: Generator) -> list[Event]:
    """Writes a solo instrument's melody over the sections that have one."""
    program = int(rng.choice(FAMILIES[song.family].leads))
    centre = 55 + (song.key + 5) % 12 + int(rng.choice((0, 12)))
    swing, busy, scoop = rng.random() < 0.3, rng.uniform(0.6, 0.95), rng.choice((0.0, 1.0, 2.0))
    events, bar, size = [], 0, len(song.scale)
    for section in song.sections:
        total = len(section.chords) * song.beats
        at, degree, first = 0.0, 0, bar * song.beats
        bar += len(section.chords)
        while section.lead and at < total - 1:
            if rng.random() > busy:
                at += float(rng.choice((1, 2)))
                continue
            for beats in melody.RHYTHMS[rng.choice(len(melody.RHYTHMS), p=melody.LIKELY)]:
                steps = np.array(melody.STEPS)
                weights = melody.STEP_WEIGHTS * np.exp(-0.09 * degree * steps)
                degree += int(steps[rng.choice(len(steps), p=weights / weights.sum())])
                octave, step = divmod(int(np.clip(degree, -size, size)), size)
                if at + beats > total:
                    break
                late = 0.12 if swing and at % 1 == 0.5 else 0.0
                events.append(Event(
                    int((first + at + late + abs(rng.normal(0, 0.02))) * TICKS),
                    int(beats * rng.uniform(0.7, 1.0) * TICKS), program,
                    centre + 12 * octave + song.scale[step], int(rng.uniform(70, 120)),
                    float(scoop * rng.random()) if rng.random() < 0.3 else 0.0,
                ))  # fmt: skip
                at += beats
    return events


def accents(song: Song, rng: Generator) -> list[Event]:
    """Writes a cymbal at the begin of sections, and fills on snare and toms at their ends."""
    events, bar = [], 0
    for section in song.sections:
        first, bar = bar * song.beats * TICKS, bar + len(section.chords)
        if rng.random() < 0.6:
            cymbal = int(rng.choice((49, 57)))
            events += [Event(first, TICKS, DRUMS, pitch, 105) for pitch in (cymbal, 36)]
        if not section.fill and section.part != "end" and rng.random() < 0.6:
            step = int(rng.choice((TICKS // 4, TICKS // 4, TICKS // 2, TICKS // 3)))
            count = int(rng.choice((1, 2, 2, 3))) * TICKS // step
            drums = np.sort(rng.choice((38, 38, 41, 43, 45, 47, 48, 50), count))[::-1]
            start = bar * song.beats * TICKS - count * step
            for i, drum in enumerate(drums):
                if rng.random() < 0.85:
                    velocity = int(rng.uniform(70, 90) + 25 * i / count)
                    events.append(Event(start + i * step, step, DRUMS, int(drum), velocity))
    return events
