"""Bass, guitars and keys: what they play, and how their tones are made of harmonics."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jaxsep.collections.band import sound
from jaxsep.collections.band.score import BEATS, DYNAMICS, Note, Song, melody, strokes

BASS_LINES = ("X.x.x.x.X.x.x.x.", "X.......X.....x.", "X.....x...x.....", "X..x..X.x..x..x.")
COMPS = ("X.o.x.o.X.o.x.o.", "X...x.x...x.x.x.", "X.....x.....x...", "X.x.X.xx.xX.x.xx")
ARPEGGIOS = ("X.x.X.x.X.x.X.x.", "XoxoXoxoXoxoXoxo")


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


def bass(song: Song, rng: Generator) -> NDArray:
    """Roots, and between them thirds, fifths and octaves: stereo [samples, 2]."""
    verse, chorus = rng.choice(BASS_LINES, 2)
    wander, gate = rng.choice([0.0, 0.2, 0.5]), rng.uniform(0.6, 1.0)
    notes = []
    for bar, section in song.bars("bass"):
        for start, length, level in strokes(chorus if section == "chorus" else verse, bar):
            degree = song.chords[bar]
            if start % BEATS and rng.random() < wander:
                degree += rng.choice([2, 4, 7])
            pitch = 28 + (song.pitch(degree) - 28) % 12
            notes.append(Note(start, length * gate, pitch, DYNAMICS[section] * (0.5 + level / 2)))
    return sound.pan(_play(song, notes, BASSES, rng), 0.0)


def other(song: Song, rng: Generator) -> NDArray:
    """Guitar or keys, in most songs a pad, and a lead where nobody sings: stereo [samples, 2]."""
    style, place = rng.choice(["struck", "strummed", "arpeggio"]), rng.uniform(-0.7, 0.7)
    comp = _play(song, _chords(song, "comp", style, rng), PLUCKED, rng)
    if rng.random() < 0.25:
        comp = np.tanh(rng.uniform(1, 4) * comp)  # overdrive
    group = sound.pan(_colour(comp, song.sample_rate, rng), place)
    if rng.random() < 0.65:
        pad = _play(song, _chords(song, "pad", "held", rng), SUSTAINED, rng)
        group += rng.uniform(0.2, 0.6) * sound.pan(_colour(pad, song.sample_rate, rng), -place)
    if rng.random() < 0.6:
        tune = melody(song, rng.uniform(60, 80), ("intro", "break"), rng)
        lead = _play(song, tune, PLUCKED + SUSTAINED, rng)
        group += rng.uniform(0.5, 1.5) * sound.pan(lead, rng.uniform(-0.3, 0.3))
    return group


def _chords(song: Song, player: str, style: str, rng: Generator) -> list[Note]:
    """The chords of the song, as `style`: "held", "struck", "strummed" or "arpeggio"."""
    lowest = int(rng.integers(48, 62))
    tones = (0, 2, 4, 6) if rng.random() < 0.3 else (0, 2, 4)
    lines = {"arpeggio": rng.choice(ARPEGGIOS), "held": "X" + "." * 15}
    line = lines.get(style, rng.choice(COMPS))
    order = rng.permutation(8)
    delay = 0.03 if style == "strummed" else 0.0  # beats from string to string
    notes = []
    for bar, section in song.bars(player):
        chord = [song.pitch(song.chords[bar] + tone) for tone in tones]
        voicing = sorted(lowest + (pitch - lowest) % 12 for pitch in chord)
        voicing.append(voicing[0] + 12)
        for i, (start, length, level) in enumerate(strokes(line, bar)):
            level *= DYNAMICS[section]
            if style == "arpeggio":
                pitch = voicing[order[i % 8] % len(voicing)]
                notes.append(Note(start, 2 * length, pitch, level))
            else:
                for j, pitch in enumerate(voicing[:: rng.choice([-1, 1])]):
                    notes.append(Note(start + j * delay, 0.95 * length, pitch, level))
    return notes


def _play(song: Song, notes: list[Note], bank: tuple[Timbre, ...], rng: Generator) -> NDArray:
    """Plays notes on one instrument out of `bank`, each song's by another maker: mono [samples]."""
    timbre = Timbre(*(rng.choice(bank) * rng.lognormal(0, 0.2, len(Timbre._fields))))
    track = np.zeros(song.samples, np.float32)
    for note in notes:
        start = song.seconds(note.start)
        end = song.seconds(note.start + note.length) - start + timbre.release
        time = np.arange(int(end * song.sample_rate)) / song.sample_rate
        envelope = np.minimum(time / timbre.attack, 1) * np.exp(-timbre.decay * time)
        envelope *= np.clip((end - time) / timbre.release, 0, 1) ** 2
        audio = note.level * envelope * _tone(song, note, timbre, time)
        sound.add(track, audio, start + rng.normal(0, sound.TIMING_SECONDS), song.sample_rate)
    return track


def _tone(song: Song, note: Note, timbre: Timbre, time: NDArray) -> NDArray:
    """A note without its envelope at `time` seconds after its onset: mono."""
    f0 = sound.hertz(note.pitch)
    phase = f0 * time
    if timbre.vibrato:
        depth, rate, delay = f0 * timbre.vibrato * np.log(2) / 12, 2 * np.pi * 5.5, 0.4
        phase += depth / rate * np.minimum(time / delay, 1) * np.sin(rate * time)
    if timbre.tine:
        phase += timbre.tine * np.exp(-6 * time) * np.sin(10 * np.pi * phase) / (2 * np.pi)
    # Loud notes are brighter. Strings lose high harmonics first; a quarter of the cutoff stays.
    cutoff = min(timbre.cutoff * (0.4 + 0.8 * note.level), song.sample_rate / 2 / sound.ALIAS_DECAY)
    cutoff = cutoff * (0.25 + 0.75 * np.exp(-timbre.damping * time))
    ratio = np.exp(-f0 / cutoff).astype(np.float32)
    wave = sound.harmonics(phase, ratio)
    if timbre.detune:
        wave += sound.harmonics(phase * 2 ** (timbre.detune / 12) + 0.3, ratio)
    if timbre.hollow:
        wave -= timbre.hollow * sound.harmonics(phase + 0.5, ratio)
    return wave


def _colour(audio: NDArray, sample_rate: int, rng: Generator) -> NDArray:
    """Boosts or cuts two bands, as the body of an instrument or a hand at the desk would."""
    for centre, amount in zip(rng.uniform(200, 5000, 2), rng.uniform(-0.4, 1.0, 2), strict=True):
        audio = audio + amount * sound.band_pass(audio, 0.7 * centre, 1.4 * centre, sample_rate)
    return audio
