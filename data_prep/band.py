"""The built-in band: a deterministic little studio that needs no recordings.

Every seed is one song with its own key, tempo, chords, form, singer, instruments and mix. First
the song is composed (`compose`), then each player turns it into notes and the notes into sound
(`vocals`, `drums`, `bass`, `other`), and `render_song` mixes. Musical time is in beats, four to
the bar; pitch is in MIDI semitones; harmony is in scale degrees, where 0 is the tonic and 7 its
octave.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, istft, lfilter, oaconvolve, sosfilt, stft

STEMS = ("vocals", "drums", "bass", "other")

Audio = NDArray[np.float32]  # mono [samples] or stereo [samples, 2], as each function says
Rng = np.random.Generator

BEATS = 4  # in a bar
TIMING_SECONDS = 0.006  # standard deviation of a player's onsets
FRAME_SECONDS = 0.005  # control rate of the voice
ALIAS_DB = 50.0  # harmonics are at least this far down at the Nyquist frequency
FADE_SECONDS = 0.05  # at the end of a song, which is cut wherever `duration` falls
VOCALS_DB = (-8.0, -3.5)  # range of the energy of the vocals relative to the rest of the band
VOICELESS = ("intro", "break")
DYNAMICS = {"intro": 0.7, "verse": 0.8, "chorus": 1.0, "break": 0.75}
RESTS = {("drums", "intro"): 0.4, ("bass", "intro"): 0.4, ("pad", "intro"): 0.5,
         ("drums", "break"): 0.3, ("bass", "break"): 0.2, ("pad", "verse"): 0.5}  # fmt: skip

# fmt: off
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10),
          (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10))
PROGRESSIONS = np.array([(0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 5, 4), (1, 4, 0, 0),
                         (0, 3, 0, 4), (0, 5, 2, 6), (0, 6, 5, 6), (0, 3, 4, 3), (3, 4, 2, 5)])

# Rhythms: bars of sixteenths with accents X, normal strokes x and soft ones o.
STROKES = {"X": 1.0, "x": 0.7, "o": 0.3}
GROOVES = (("X.......X.x.....", "....X.......X..."), ("X...X...X...X...", "....X.......X..."),
           ("X.....x...x.....", "....X..o.o..X..."), ("X..x..x.X..x..x.", "....X.......X..o"),
           ("X.........x.....", "........X......."), ("X..x....x.X.....", "....X..o....X..."))
HATS = ("x.x.x.x.x.x.x.x.", "X.o.X.o.X.o.X.o.", "xoxoxoxoxoxoxoxo", "..X...X...X...X.")
FILLS = ("........x.x.xxXX", "............xxXX", "........X..x..X.", "....x.x.X.X.xxxx")
COMPS = ("X.o.x.o.X.o.x.o.", "X...x.x...x.x.x.", "X.....x.....x...", "X.x.X.xx.xX.x.xx")
BASS_LINES = ("X.x.x.x.X.x.x.x.", "X.......X.....x.", "X.....x...x.....", "X..x..X.x..x..x.")

# First three formants of the vowels of an adult male, Hz (after Peterson and Barney, 1952).
VOWELS = np.array([(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010),
                   (570, 840, 2410), (300, 870, 2240), (660, 1720, 2410),
                   (490, 1350, 1690), (640, 1190, 2390), (390, 1990, 2550)])
NASAL = np.array([260, 1200, 2300])
# fmt: on


class Note(NamedTuple):
    """Onset and length in beats, MIDI pitch, level from 0 to 1."""

    start: float
    length: float
    pitch: int
    level: float


class Consonant(NamedTuple):
    """The start of a syllable, sung just before the beat."""

    seconds: float
    voiced: float  # level of the voice meanwhile, relative to the vowel
    noise: float  # level of the noise at lips and teeth
    band: tuple[float, float] = (1000, 2000)  # of that noise, Hz
    burst: bool = False  # noise only when a closure is released
    breath: float = 0.0  # level of noise through the vocal tract


CONSONANTS = (
    Consonant(0.12, 0.0, 0.30, (5500, 13000)),  # s
    Consonant(0.11, 0.0, 0.30, (2200, 6500)),  # sh
    Consonant(0.09, 0.0, 0.10, (1500, 12000)),  # f
    Consonant(0.08, 0.3, 0.12, (5000, 12000)),  # z
    Consonant(0.06, 0.0, 0.50, (3000, 9000), burst=True),  # t
    Consonant(0.06, 0.0, 0.45, (1300, 3500), burst=True),  # k
    Consonant(0.06, 0.0, 0.35, (400, 1800), burst=True),  # p
    Consonant(0.05, 0.2, 0.30, (2500, 7000), burst=True),  # d
    Consonant(0.08, 0.4, 0.0),  # m, n
    Consonant(0.07, 0.5, 0.0),  # l, w
    Consonant(0.08, 0.1, 0.0, breath=0.15),  # h
    Consonant(0.0, 0.0, 0.0),  # none: the vowel alone
)


class Timbre(NamedTuple):
    """A plucked, struck or sustained instrument made of harmonics."""

    cutoff: float  # Hz over which the harmonics fall by a factor e
    damping: float  # 1/s at which that cutoff falls
    decay: float  # 1/s of the whole tone
    attack: float  # s
    release: float  # s
    hollow: float = 0.0  # from 0, all harmonics, to 1, odd ones only
    detune: float = 0.0  # semitones between the two strings of a note
    vibrato: float = 0.0  # semitones
    tine: float = 0.0  # index of a quickly dying frequency modulation


PLUCKED = (
    Timbre(1400, 2.5, 1.2, 0.003, 0.15, detune=0.02),  # piano
    Timbre(400, 1.0, 0.9, 0.003, 0.20, detune=0.03, tine=0.8),  # electric piano
    Timbre(1500, 5.0, 2.5, 0.002, 0.10),  # nylon strings
    Timbre(3000, 4.0, 1.6, 0.002, 0.12, detune=0.04),  # steel strings
    Timbre(2500, 9.0, 6.0, 0.002, 0.05, hollow=0.5),  # clavinet
    Timbre(2800, 3.0, 0.5, 0.010, 0.15, detune=0.12),  # synthesiser
    Timbre(400, 1.0, 2.0, 0.002, 0.50, tine=2.0),  # bells
)
SUSTAINED = (
    Timbre(900, 0.0, 0.0, 0.010, 0.06, hollow=0.4, vibrato=0.05),  # organ
    Timbre(800, 0.0, 0.0, 0.350, 0.50, detune=0.14),  # pad
    Timbre(1800, 0.0, 0.0, 0.120, 0.25, detune=0.10, vibrato=0.15),  # strings
    Timbre(1400, 0.5, 0.0, 0.030, 0.10, hollow=0.9, vibrato=0.20),  # reed
    Timbre(2600, 0.7, 0.1, 0.050, 0.12, detune=0.06, vibrato=0.10),  # brass
)
BASSES = (
    Timbre(600, 2.0, 0.6, 0.005, 0.06),  # finger
    Timbre(1800, 4.0, 0.8, 0.003, 0.05),  # pick
    Timbre(90, 0.0, 0.1, 0.010, 0.05),  # sub
    Timbre(1500, 6.0, 0.3, 0.005, 0.05, detune=0.08),  # synthesiser
    Timbre(700, 1.0, 0.2, 0.008, 0.05, hollow=0.9),  # square
)


@dataclass(frozen=True)
class Song:
    """What every player reads."""

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


def compose(duration: float, sample_rate: int, rng: Rng) -> Song:
    """Draw key, tempo, form and harmony of a song of `duration` seconds."""
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


def melody(song: Song, centre: float, sections: tuple[str, ...], rng: Rng) -> list[Note]:
    """A tune around MIDI pitch `centre` for the bars of the given sections.

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
                variation = rng.integers(-1, 2) * (rng.random() < 0.2)
                degree += contour[onset] + variation
                degree = int(np.clip(degree, register - 4, register + 5))
                if onset % 4 == 0 or onset == last:
                    while (degree - song.chords[now]) % 7 not in (0, 2, 4):
                        degree -= 1
                length = (until - onset) / 2 * (1 if onset == last else legato)
                level = DYNAMICS[section] * rng.uniform(0.8, 1.0)
                notes.append(Note(bar * BEATS + onset / 2, length, song.pitch(degree), level))
    return sorted(notes)


def hertz(pitch: NDArray | float) -> NDArray | float:
    """Frequency of a MIDI pitch."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def harmonics(phase: NDArray, ratio: NDArray) -> NDArray:
    """Sum over k >= 1 of ratio**k sin(2 pi k phase), scaled to the same RMS for every ratio.

    The closed form of the series costs one sine and one cosine however many harmonics sound.
    """
    half = (phase % 1.0).astype(np.float32) * np.float32(np.pi)
    sine = np.sin(half)
    return (
        2 * np.sqrt(1 - ratio**2) * sine * np.cos(half) / ((1 - ratio) ** 2 + 4 * ratio * sine**2)
    )


def alias_free(sample_rate: int) -> float:
    """The highest cutoff whose harmonics are not heard beyond the Nyquist frequency, Hz."""
    return sample_rate / 2 / np.log(10 ** (ALIAS_DB / 20))


def band_pass(audio: NDArray, low: float, high: float, sample_rate: int) -> NDArray:
    """Band-pass along the first axis, its edges (Hz) kept below the Nyquist frequency."""
    edges = min(low, 0.3 * sample_rate), min(high, 0.48 * sample_rate)
    return sosfilt(butter(2, edges, "bandpass", fs=sample_rate, output="sos"), audio, axis=0)


def pan(audio: NDArray, place: float) -> Audio:
    """Place mono [samples] between left (-1) and right (1): stereo [samples, 2], equal power."""
    angle = (place + 1) * np.pi / 4
    return np.outer(audio, (np.cos(angle), np.sin(angle))).astype(np.float32)


def play(song: Song, notes: list[Note], bank: tuple[Timbre, ...], rng: Rng) -> Audio:
    """Play notes on one instrument out of `bank`, each song's by another maker: mono [samples]."""
    timbre = Timbre(*(bank[rng.integers(len(bank))] * rng.lognormal(0, 0.2, len(Timbre._fields))))
    track = np.zeros(song.samples, np.float32)
    for note in notes:
        start = song.seconds(note.start)
        end = song.seconds(note.start + note.length) - start + timbre.release
        first = max(0, int((start + rng.normal(0, TIMING_SECONDS)) * song.sample_rate))
        count = max(0, min(int(end * song.sample_rate), song.samples - first))
        time = np.arange(count) / song.sample_rate
        envelope = np.minimum(time / timbre.attack, 1) * np.exp(-timbre.decay * time)
        envelope *= np.clip((end - time) / timbre.release, 0, 1) ** 2
        track[first : first + count] += note.level * envelope * tone(song, note, timbre, time)
    return track


def tone(song: Song, note: Note, timbre: Timbre, time: NDArray) -> NDArray:
    """A note without its envelope at `time` seconds after its onset: mono."""
    f0 = hertz(note.pitch)
    phase = f0 * time
    if timbre.vibrato:
        depth, rate, delay = f0 * timbre.vibrato * np.log(2) / 12, 2 * np.pi * 5.5, 0.4
        phase += depth / rate * np.minimum(time / delay, 1) * np.sin(rate * time)
    if timbre.tine:
        phase += timbre.tine * np.exp(-6 * time) * np.sin(10 * np.pi * phase) / (2 * np.pi)
    # Loud notes are brighter. Strings lose high harmonics first; a quarter of the cutoff stays.
    cutoff = min(timbre.cutoff * (0.4 + 0.8 * note.level), alias_free(song.sample_rate))
    cutoff = cutoff * (0.25 + 0.75 * np.exp(-timbre.damping * time))
    ratio = np.exp(-f0 / cutoff).astype(np.float32)
    wave = harmonics(phase, ratio)
    if timbre.detune:
        wave += harmonics(phase * 2 ** (timbre.detune / 12) + 0.3, ratio)
    if timbre.hollow:
        wave -= timbre.hollow * harmonics(phase + 0.5, ratio)
    return wave


def vocals(song: Song, rng: Rng) -> Audio:
    """A singer, in half of the songs joined by another in the chorus: stereo [samples, 2]."""
    centre = rng.uniform(47, 70)  # from bass to soprano
    notes = melody(song, centre, ("verse", "chorus"), rng)
    voice = pan(sing(song, notes, centre, rng), rng.uniform(-0.1, 0.1))
    if rng.random() < 0.5:
        interval = rng.choice([0, 2, -5])  # in scale degrees: unison, a third above, a sixth below
        chorus = [n for n in notes if song.sections[int(n.start // BEATS)] == "chorus"]
        second = [n._replace(pitch=song.transpose(n.pitch, interval)) for n in chorus]
        level, place = rng.uniform(0.25, 0.5), rng.uniform(-0.7, 0.7)
        voice += level * pan(sing(song, second, centre, rng), place)
    return voice


def sing(song: Song, notes: list[Note], centre: float, rng: Rng) -> Audio:
    """Sing one syllable per note with a voice whose range is around `centre`: mono [samples].

    A glottal pulse train and breath noise pass through a vocal tract that moves every frame; the
    noise of consonants made at the lips and teeth is added to it.
    """
    tract = 0.9 + 0.012 * (centre - 47) + rng.normal(0, 0.03)  # formants relative to the table's
    upper = tract * (3400 + 1000 * np.arange(10) + rng.normal(0, 120, 10))  # fixed formants, Hz
    tilt = rng.uniform(900, 4500)  # Hz above which the source falls by 6 dB per octave
    breathiness = rng.choice([0.02, 0.05, 0.15]) * rng.uniform(0.7, 1.4)
    glide = rng.uniform(0.015, 0.04)  # s
    vibrato_depth = rng.choice([0.1, 0.3, 0.5]) * rng.uniform(0.7, 1.3)  # semitones
    vibrato_rate, vibrato_delay = rng.uniform(4.6, 6.6), rng.uniform(0.12, 0.4)  # Hz, s

    rate, hop = song.sample_rate, round(FRAME_SECONDS * song.sample_rate)
    frames = song.samples // hop + 2
    pitch = np.full(frames, centre)
    formants = np.tile(VOWELS.mean(axis=0), (frames, 1))
    voiced, breath, vibrato = np.zeros((3, frames))
    friction = np.zeros(song.samples, np.float32)
    end = -1.0
    for note in notes:
        start, previous, end = song.seconds(note.start), end, song.seconds(note.start + note.length)
        vowel, glided = rng.choice(VOWELS, 2, replace=False)
        consonant = CONSONANTS[rng.integers(len(CONSONANTS))]
        opening = max(0.0, start - consonant.seconds)
        i, a, b = (int(seconds * rate / hop) for seconds in (opening, start, end))
        # A syllable sets its values until the end of the song and the next one overwrites them.
        pitch[i:] = note.pitch
        if start - previous > 0.25:  # a phrase begins: inhale, then scoop up to the note
            breath[max(0, i - 70) : max(0, i - 15)] = rng.uniform(0, 0.06)
            pitch[i : a + 10] -= rng.uniform(0, 2)
        vibrato[i:] = 0.0
        vibrato[a + int(vibrato_delay * rate / hop) : b] = vibrato_depth
        formants[i:] = vowel
        if consonant.voiced >= 0.4:
            formants[i:a] = NASAL
        if end - start > 0.35 and rng.random() < 0.4:
            formants[(a + b) // 2 :] = glided  # a diphthong
        breath[i:a] = consonant.breath
        voiced[i:a] = consonant.voiced * note.level
        voiced[a:b] = note.level
        first = int(opening * rate)
        hiss = articulate(consonant, rate, rng)[: max(0, song.samples - first)]
        friction[first : first + len(hiss)] += note.level * hiss

    jitter = smooth(rng.normal(0, 0.12, frames), 0.01) + smooth(rng.normal(0, 1.0, frames), 0.15)
    shake = np.sin(2 * np.pi * vibrato_rate * hop / rate * np.arange(frames))
    f0 = hertz(smooth(pitch, glide) + smooth(vibrato, 0.08) * shake + jitter)
    formants = smooth(formants, 0.02) * tract
    formants[:, 0] = np.maximum(formants[:, 0], f0)  # singers open the mouth for high notes
    voiced, breath = smooth(voiced, 0.012), smooth(breath, 0.012)

    position = np.arange(song.samples) / hop
    f0, level, air = (np.interp(position, np.arange(frames), control)
                      for control in (f0, voiced, breath + breathiness * voiced))  # fmt: skip
    # Twice the cutoff is safe here, as the tilt of the source lowers the aliases further.
    ratio = np.exp(-f0 / (2 * alias_free(rate))).astype(np.float32)
    source = level * harmonics(np.cumsum(f0 / rate), ratio)
    source += air * rng.standard_normal(song.samples, np.float32)
    window = {"nperseg": 4 * hop, "noverlap": 3 * hop}
    f, _, spectrum = stft(source.astype(np.float32), rate, **window)
    now = np.minimum(np.arange(spectrum.shape[1]), frames - 1)
    # Louder is brighter: the tilt opens with the voice.
    effort = np.complex64(f[:, None] / (tilt * (0.4 + voiced[now])))
    spectrum *= vocal_tract(formants[now], upper, f) / (1 + 1j * effort)
    voice = istft(spectrum, rate, **window)[1][: song.samples]
    return voice * np.sqrt(np.mean(voiced**2) / max(np.mean(voice**2), 1e-12)) + friction


def smooth(control: NDArray, seconds: float) -> NDArray:
    """Two one-pole low-passes in a row over the frames of a control: glides without corners."""
    pole = np.exp(-FRAME_SECONDS / seconds)
    for _ in range(2):
        control = control[0] + lfilter([1 - pole], [1, -pole], control - control[0], axis=0)
    return control


def vocal_tract(formants: NDArray, upper: NDArray, f: NDArray) -> NDArray:
    """Response at `f` Hz of resonances in cascade, as in a tube: complex [bins, frames].

    The `formants` [frames, 3] move, the `upper` ones stand still.
    """
    f = f[:, None].astype(np.float32)
    response = np.ones_like(f, np.complex64)
    for formant in (*upper, *formants.T.astype(np.float32)):
        bandwidth = 50 + 0.03 * formant
        response = response / (1 - (f / formant) ** 2 + 1j * f * (bandwidth / formant**2))
    return response


def articulate(consonant: Consonant, sample_rate: int, rng: Rng) -> Audio:
    """The noise of a consonant at the lips or teeth: mono [samples]."""
    time = np.arange(int((consonant.seconds + 0.03) * sample_rate)) / sample_rate
    envelope = np.sin(np.pi * time / time[-1])
    if consonant.burst:
        release = time - consonant.seconds + 0.02
        envelope *= np.clip(release / 0.001, 0, 1) * np.exp(-np.maximum(release, 0) / 0.015)
    hiss = band_pass(rng.standard_normal(len(time)), *consonant.band, sample_rate)
    return consonant.noise * envelope * hiss / np.std(hiss)


def drum_kit(sample_rate: int, rng: Rng) -> dict[str, list[Audio]]:
    """Build a kit: a few takes of each drum, as no two hits are the same, stereo [samples, 2]."""
    partials = rng.uniform(3000, 9000, 8)  # of the cymbals, Hz
    places = rng.uniform(-0.5, 0.5, 3)

    def strike(
        place: float, head: tuple[float, ...], noise: tuple[float, ...], metal: float = 0.0
    ) -> list[Audio]:
        """Strike a head (level, Hz, drop in Hz, decay) with noise (level, low, high, decay)."""
        (thump, pitch, drop, decay), (level, low, high, noise_decay) = head, noise
        seconds = 5 * max(decay, noise_decay)  # by then it is 43 dB down
        time = np.arange(int(seconds * sample_rate)) / sample_rate
        settle = 0.03  # s in which the pitch of a struck head falls
        phase = pitch * time - settle * drop * np.exp(-time / settle)
        body = thump * np.sin(2 * np.pi * phase) * np.exp(-time / decay)
        ring = metal * np.sign(np.sin(2 * np.pi * np.outer(time, partials))).mean(axis=1)
        edges = np.minimum(time / 0.0005, 1) * np.minimum((seconds - time) / 0.02, 1)
        takes = []
        for _ in range(3):
            rattle = band_pass(ring + rng.standard_normal(len(time)), low, high, sample_rate)
            takes.append(pan(edges * (body + level * rattle * np.exp(-time / noise_decay)), place))
        return takes

    def between(low: float, high: float) -> float:
        return rng.uniform(low, high)

    snare, no_head = (1.0, between(160, 240), 60, between(0.05, 0.12)), (0.0, 1.0, 0.0, 0.01)
    hats = between(0.15, 0.45)
    return {
        "kick": strike(0.0, (1.0, between(42, 62), between(80, 260), between(0.08, 0.2)),
                       (between(0.05, 0.4), 1500, 9000, 0.004)),
        "snare": strike(0.05, snare, (between(0.3, 1.2), 1200, 15000, between(0.05, 0.15))),
        "tom": strike(places[0], (0.8, between(80, 140), 60, 0.2), (0.2, 200, 8000, 0.01)),
        "hat": strike(places[1], no_head, (hats, 6000, 18000, between(0.02, 0.05)), metal=1.0),
        "open": strike(places[1], no_head, (hats, 6000, 18000, between(0.1, 0.25)), metal=1.0),
        "crash": strike(places[2], no_head, (between(0.1, 0.4), 3000, 18000, 0.5), metal=0.5),
    }  # fmt: skip


def drums(song: Song, rng: Rng) -> Audio:
    """A groove with ghost notes, and a fill at the end of each section: stereo [samples, 2]."""
    kit = drum_kit(song.sample_rate, rng)
    (kick, snare), hat = GROOVES[rng.integers(len(GROOVES))], HATS[rng.integers(len(HATS))]
    open_chance, ghost_chance = rng.uniform(0, (0.6, 0.1))
    hits = []  # beat, drum, level
    for bar, section in song.bars("drums"):
        level = DYNAMICS[section]
        lines = {"kick": kick, "snare": snare, "hat": hat}
        if song.sections[bar + 1 : bar + 2] != [section]:
            fill = FILLS[rng.integers(len(FILLS))]
            rest = fill.index(next(filter(str.isalpha, fill)))
            lines = {drum: line[:rest].ljust(16, ".") for drum, line in lines.items()}
            drum = rng.choice(["snare", "tom"])
            lines[drum] = lines.get(drum, "." * 16)[:rest] + fill[rest:]
        if bar == 0 or song.sections[bar - 1] != section:
            hits.append((bar * BEATS, "crash", level))
        for drum, line in lines.items():
            for beat, _, stroke in strokes(line, bar):
                opens = drum == "hat" and beat % 2 == 1.5 and rng.random() < open_chance
                hits.append((beat, "open" if opens else drum, level * stroke))
        for step in np.flatnonzero(rng.random(16) < ghost_chance):
            hits.append((bar * BEATS + step / 4, "snare", 0.2 * level))
    track = np.zeros((song.samples, 2), np.float32)
    for beat, drum, level in hits:
        start = song.seconds(beat) + rng.normal(0, TIMING_SECONDS / 2)
        first = max(0, int(start * song.sample_rate))
        take = kit[drum][rng.integers(3)][: max(0, song.samples - first)]
        track[first : first + len(take)] += level * rng.uniform(0.8, 1.0) * take
    return np.tanh(track)  # the bus compresses the loudest hits


def strokes(line: str, bar: int) -> list[tuple[float, float, float]]:
    """Onset and length in beats, and level, of each stroke of a one-bar pattern."""
    steps = [i for i, stroke in enumerate(line) if stroke != "."] + [len(line)]
    return [(bar * BEATS + a / 4, (b - a) / 4, STROKES[line[a]]) for a, b in pairwise(steps)]


def wrap(pitch: int, lowest: int) -> int:
    """The pitch of the same name in the octave that starts at `lowest`."""
    return lowest + (pitch - lowest) % 12


def bass(song: Song, rng: Rng) -> Audio:
    """Roots, and between them thirds, fifths and octaves: stereo [samples, 2]."""
    verse, chorus = rng.choice(BASS_LINES, 2)
    wander, gate = rng.choice([0.0, 0.2, 0.5]), rng.uniform(0.6, 1.0)
    notes = []
    for bar, section in song.bars("bass"):
        for start, length, level in strokes(chorus if section == "chorus" else verse, bar):
            degree = song.chords[bar]
            if start % BEATS and rng.random() < wander:
                degree += rng.choice([2, 4, 7])
            level = DYNAMICS[section] * (0.5 + level / 2)
            notes.append(Note(start, length * gate, wrap(song.pitch(degree), 28), level))
    return pan(play(song, notes, BASSES, rng), 0.0)


def chords(song: Song, player: str, style: str, rng: Rng) -> list[Note]:
    """The chords of the song, as `style`: "held", "struck", "strummed" or "arpeggio"."""
    lowest = int(rng.integers(48, 62))
    tones = (0, 2, 4, 6) if rng.random() < 0.3 else (0, 2, 4)
    line = {
        "held": "X" + "." * 15,
        "arpeggio": rng.choice(["X.x.X.x.X.x.X.x.", "XoxoXoxoXoxoXoxo"]),
    }
    line = line.get(style, COMPS[rng.integers(len(COMPS))])
    order = rng.permutation(8)
    notes = []
    for bar, section in song.bars(player):
        voicing = sorted(wrap(song.pitch(song.chords[bar] + tone), lowest) for tone in tones)
        voicing.append(voicing[0] + 12)
        for i, (start, length, level) in enumerate(strokes(line, bar)):
            level *= DYNAMICS[section]
            if style == "arpeggio":
                pitch = voicing[order[i % 8] % len(voicing)]
                notes.append(Note(start, 2 * length, pitch, level))
            else:
                delay = 0.03 if style == "strummed" else 0.0  # beats from string to string
                strings = voicing[:: rng.choice([-1, 1])]
                notes += [
                    Note(start + j * delay, 0.95 * length, p, level) for j, p in enumerate(strings)
                ]
    return notes


def other(song: Song, rng: Rng) -> Audio:
    """Guitar or keys, in most songs a pad, and a lead where nobody sings: stereo [samples, 2]."""
    style, place = rng.choice(["struck", "strummed", "arpeggio"]), rng.uniform(-0.7, 0.7)
    comp = play(song, chords(song, "comp", style, rng), PLUCKED, rng)
    if rng.random() < 0.25:
        comp = np.tanh(rng.uniform(1, 4) * comp)  # overdrive
    group = pan(colour(comp, song.sample_rate, rng), place)
    if rng.random() < 0.65:
        pad = play(song, chords(song, "pad", "held", rng), SUSTAINED, rng)
        group += rng.uniform(0.2, 0.6) * pan(colour(pad, song.sample_rate, rng), -place)
    if rng.random() < 0.6:
        tune = melody(song, rng.uniform(60, 80), VOICELESS, rng)
        lead = play(song, tune, PLUCKED + SUSTAINED, rng)
        group += rng.uniform(0.5, 1.5) * pan(lead, rng.uniform(-0.3, 0.3))
    return group


def colour(audio: Audio, sample_rate: int, rng: Rng) -> Audio:
    """Boost or cut two bands, as the body of an instrument or a hand at the desk would."""
    for centre, amount in zip(rng.uniform(200, 5000, 2), rng.uniform(-0.4, 1.0, 2), strict=True):
        audio = audio + amount * band_pass(audio, 0.7 * centre, 1.4 * centre, sample_rate)
    return audio


def reverberate(stem: Audio, wet: float, sample_rate: int, rng: Rng) -> Audio:
    """Add a diffuse room with 0.3 to 1.4 s of reverberation: stereo [samples, 2]."""
    seconds = rng.uniform(0.3, 1.4)
    time = np.arange(int(seconds * sample_rate))[:, None] / sample_rate
    predelayed = np.clip(time / 0.02 - 0.5, 0, 1)
    room = rng.standard_normal((len(time), 2)) * predelayed * 10 ** (-3 * time / seconds)
    room = band_pass(room, 200, rng.uniform(3000, 8000), sample_rate).astype(np.float32)
    room *= wet / np.linalg.norm(room, axis=0)
    return stem + oaconvolve(stem.mean(axis=1, keepdims=True), room, axes=0)[: len(stem)]


def energy(stem: Audio) -> float:
    """Sum of squares, and a little more than zero for silence."""
    return float(np.sum(np.square(stem, dtype=np.float64))) + 1e-9


def render_song(
    seed: int, *, duration: float = 30.0, sample_rate: int = 44100
) -> dict[str, NDArray[np.float32]]:
    """Write, play and mix one song.

    Args:
        seed: The song, a nonnegative integer. The same seed gives the same bytes on one machine.
        duration: Length in seconds. Part of the composition: a longer song has longer sections.
        sample_rate: In Hz.

    Returns:
        The stems by name (`STEMS`), float32 of shape [samples, 2] in full scale 1. Their sum is the
        mix; its peak is at most 0.9, and the vocals are 3.5 to 8 dB below the other stems together.
    """
    score, desk, *players = np.random.default_rng(seed).spawn(2 + len(STEMS))
    song = compose(duration, sample_rate, score)
    left = song.samples - np.arange(song.samples)[:, None]
    fade = np.minimum(left / (FADE_SECONDS * sample_rate), 1)
    decibels = dict(zip(STEMS, desk.uniform((0, 0, -4, -3), (0, 0, 1, 3)), strict=True))
    wetness = dict(zip(STEMS, desk.uniform((0.05, 0, 0, 0.05), (0.35, 0.2, 0, 0.4)), strict=True))
    stems = {}
    for player, rng in zip((vocals, drums, bass, other), players, strict=True):
        name = player.__name__
        stem = fade * reverberate(player(song, rng), wetness[name], sample_rate, rng)
        stems[name] = stem * 10 ** (decibels[name] / 20) / np.sqrt(energy(stem))
    band = stems["drums"] + stems["bass"] + stems["other"]
    level = 10 ** (desk.uniform(*VOCALS_DB) / 10)  # the vocals' energy is 1 so far, or 0
    stems["vocals"] *= np.sqrt(level * energy(band))
    gain = desk.uniform(0.5, 0.9) / np.max(np.abs(band + stems["vocals"]))
    return {name: (gain * stem).astype(np.float32) for name, stem in stems.items()}
