"""The singers: syllables of a consonant and a vowel, sung through a vocal tract that moves."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import istft, lfilter, stft

from jaxsep.collections.band import sound
from jaxsep.collections.band.score import BEATS, Note, Song, melody

FRAME_SECONDS = 0.005  # control rate of the voice

# First three formants of the vowels of an adult male, Hz (after Peterson and Barney, 1952).
VOWELS = np.array([(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010),
                   (570, 840, 2410), (300, 870, 2240), (660, 1720, 2410),
                   (490, 1350, 1690), (640, 1190, 2390), (390, 1990, 2550)])  # fmt: skip
NASAL = np.array([260, 1200, 2300])


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


def vocals(song: Song, rng: Generator) -> NDArray:
    """A singer, in half of the songs joined by another in the chorus: stereo [samples, 2]."""
    centre = rng.uniform(47, 70)  # from bass to soprano
    notes = melody(song, centre, ("verse", "chorus"), rng)
    voice = sound.pan(_sing(song, notes, centre, rng), rng.uniform(-0.1, 0.1))
    if rng.random() < 0.5:
        interval = rng.choice([0, 2, -5])  # in scale degrees: unison, a third above, a sixth below
        chorus = [n for n in notes if song.sections[int(n.start // BEATS)] == "chorus"]
        second = [n._replace(pitch=song.transpose(n.pitch, interval)) for n in chorus]
        level, place = rng.uniform(0.25, 0.5), rng.uniform(-0.7, 0.7)
        voice += level * sound.pan(_sing(song, second, centre, rng), place)
    return voice


def _sing(song: Song, notes: list[Note], centre: float, rng: Generator) -> NDArray:
    """Sings one syllable per note with a voice whose range is around `centre`: mono [samples].

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
    frames = np.arange(song.samples // hop + 2)
    pitch = np.full(len(frames), centre)
    formants = np.tile(VOWELS.mean(axis=0), (len(frames), 1))
    voiced, breath, vibrato = np.zeros((3, len(frames)))
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
        sound.add(friction, note.level * _hiss(consonant, rate, rng), opening, rate)

    jitter = _smooth(rng.normal(0, 0.12, len(frames)), 0.01)
    jitter += _smooth(rng.normal(0, 1.0, len(frames)), 0.15)
    shake = np.sin(2 * np.pi * vibrato_rate * hop / rate * frames)
    f0 = sound.hertz(_smooth(pitch, glide) + _smooth(vibrato, 0.08) * shake + jitter)
    formants = _smooth(formants, 0.02) * tract
    formants[:, 0] = np.maximum(formants[:, 0], f0)  # singers open the mouth for high notes
    voiced, breath = _smooth(voiced, 0.012), _smooth(breath, 0.012)

    controls = np.stack([f0, voiced, breath + breathiness * voiced])
    f0, level, air = (np.interp(np.arange(song.samples) / hop, frames, c) for c in controls)
    # Half of that decay suffices here, as the tilt of the source lowers the aliases further.
    ratio = np.exp(-f0 / (rate / sound.ALIAS_DECAY)).astype(np.float32)
    source = level * sound.harmonics(np.cumsum(f0 / rate), ratio)
    source += air * rng.standard_normal(song.samples, np.float32)

    f, _, spectrum = stft(source.astype(np.float32), rate, nperseg=4 * hop, noverlap=3 * hop)
    now = np.minimum(np.arange(spectrum.shape[1]), frames[-1])
    effort = tilt * (0.4 + voiced[now])  # louder is brighter: the tilt opens with the voice
    spectrum *= _response(formants[now], upper, f) / (1 + 1j * np.complex64(f[:, None] / effort))
    voice = istft(spectrum, rate, nperseg=4 * hop, noverlap=3 * hop)[1][: song.samples]
    return voice * np.sqrt(np.mean(voiced**2) / max(np.mean(voice**2), 1e-12)) + friction


def _hiss(consonant: Consonant, sample_rate: int, rng: Generator) -> NDArray:
    """The noise of a consonant at the lips or teeth: mono [samples]."""
    time = np.arange(int((consonant.seconds + 0.03) * sample_rate)) / sample_rate
    envelope = np.sin(np.pi * time / time[-1])
    if consonant.burst:
        release = time - consonant.seconds + 0.02
        envelope *= np.clip(release / 0.001, 0, 1) * np.exp(-np.maximum(release, 0) / 0.015)
    noise = sound.band_pass(rng.standard_normal(len(time)), *consonant.band, sample_rate)
    return consonant.noise * envelope * noise / np.std(noise)


def _smooth(control: NDArray, seconds: float) -> NDArray:
    """Two one-pole low-passes in a row over the frames of a control: glides without corners."""
    pole = np.exp(-FRAME_SECONDS / seconds)
    for _ in range(2):
        control = control[0] + lfilter([1 - pole], [1, -pole], control - control[0], axis=0)
    return control


def _response(formants: NDArray, upper: NDArray, f: NDArray) -> NDArray:
    """Response at `f` Hz of formants that move, [frames, 3], and fixed ones: [bins, frames]."""
    f = f[:, None].astype(np.float32)
    response = np.ones_like(f, np.complex64)
    for formant in (*upper, *formants.T.astype(np.float32)):
        bandwidth = 50 + 0.03 * formant
        response = response / (1 - (f / formant) ** 2 + 1j * f * (bandwidth / formant**2))
    return response
