"""A singer: syllables of a speaker on the notes of a melody."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from recipes import melody as music
from recipes import voices
from recipes.effects import pan
from recipes.melody import FRAME, Manner, Melody
from recipes.sources import RATE, SourceError
from recipes.voices import Syllable, Voice

DECIBEL = np.log(10) / 10  # in log power
VOWEL_LEVEL = -35.0  # dB, to which the loudest vowels are brought
MATERIAL = 20.0  # seconds of speech that a take is made from
FEWEST = 8  # syllables
RINGING = 3000.0  # Hz: the singer's formant (J. Sundberg, J. Acoust. Soc. Am. 55, 1974)


class Style(NamedTuple):
    """What makes one singer of a speaker.

    Attributes:
      manner: of pitch and loudness.
      formants: factor; above 1 is a shorter vocal tract.
      breath: share of noise that is added to the voice, 0 to 1.
      ring: dB of the singer's formant.
      brightness: dB per octave from 1 to 4 kHz that singing is brighter than the speech.
      melisma: how often a syllable has two notes.
      clarity: power to which the aperiodicity is raised; singing is less noisy than speech.
    """

    manner: Manner
    formants: float
    breath: float
    ring: float
    brightness: float
    melisma: float
    clarity: float


def draw_style(rng: Generator, voice: Voice) -> Style:
    """Draws a style.

    Recordings of speech differ in their spectra more than singing on records does: brightness
    brings 2 to 4 kHz to 8 to 19 dB below what is under 1 kHz, as far as some dB per octave can.
    """
    f, power = voices.frequencies(voice), np.exp(voice.envelope[voice.f0 > 0]).mean(axis=0)
    low, high = power[(f > 100) & (f < 1000)].mean(), power[(f > 2000) & (f < 4000)].mean()
    missing = rng.uniform(-19, -8) - 10 * np.log10(high / low)
    return Style(
        manner=music.draw_manner(rng),
        formants=rng.uniform(0.86, 1.18),
        breath=rng.choice((0.0, 0.02, 0.1)) * rng.uniform(0.5, 1.5),
        ring=rng.choice((0, 1)) * rng.uniform(3, 9),
        brightness=np.clip(missing / 1.5, -4, 6),
        melisma=rng.uniform(0, 0.25),
        clarity=rng.uniform(1.5, 4.0),
    )


def perform(
    bank: list[Syllable], melody: Melody, style: Style, text: int, rng: Generator, *, shift: int = 0
) -> np.ndarray:
    """Sings a melody.

    Args:
      bank: the speaker's syllables, in the order in which they were said.
      melody: to sing.
      style: of the singer.
      text: seed of the words: whoever sings with the same one sings the same words together.
      rng: for what differs each time.
      shift: degrees of the scale by which this voice is above the melody.

    Returns:
      Float `[samples]`, as long for every `rng`.
    """
    words = np.random.default_rng(text)
    parts = []
    for notes, rest in melody.phrases:
        frames = [note.frames for note in notes]
        sung = _speak(bank, frames, style, words)
        pitches = [melody.pitch(note.degree + shift) for note in notes]
        pitch = music.pitch_curve(pitches, frames, style.manner, rng)
        loudness = music.loudness_curve(frames, style.manner, rng)
        parts += [_colour(sung, pitch, loudness, style), _rest(sung, rest, rng)]
    tracks = [np.concatenate(track) for track in zip(*parts, strict=True)]
    return voices.synthesise(voices.warp(Voice(*tracks), style.formants))


def _speak(bank: list[Syllable], frames: list[int], style: Style, words: Generator) -> Voice:
    """Puts syllables that follow each other in the bank on the notes of a phrase."""
    at, parts, i = int(words.integers(len(bank))), [], 0
    while i < len(frames):
        count = 2 if words.random() < style.melisma else 1
        syllable = bank[at % len(bank)]
        part = voices.take(syllable.voice, voices.stretch(syllable, sum(frames[i : i + count])))
        level = np.percentile(voices.levels(part), 80)
        # What was said softly is sung softly, but less so.
        gain = 0.8 * np.clip(VOWEL_LEVEL - level, -30, 30) * DECIBEL
        parts.append(part._replace(envelope=part.envelope + gain))
        at, i = at + 1, i + count
    return Voice(*(np.concatenate(track) for track in zip(*parts, strict=True)))


def _colour(sung: Voice, pitch: np.ndarray, loudness: np.ndarray, style: Style) -> Voice:
    """Gives a phrase its melody, its dynamics and the singer's timbre."""
    total, f = len(pitch), voices.frequencies(sung)
    octaves = np.clip(np.log2(np.maximum(f, 1) / 1000), 0, 3)
    timbre = style.ring * np.exp(-(((f - RINGING) / 500) ** 2)) + style.brightness * np.minimum(
        octaves, 2
    )
    # Louder is brighter: the spectrum tilts with the dynamics.
    shape = loudness[:, None] * (1 + 0.2 * octaves) + timbre
    fade = np.minimum(np.arange(total) / 8, (total - 1 - np.arange(total)) / 16)
    shape += 40 * (np.clip(fade, 0, 1) - 1)[:, None]
    breath = style.breath + 0.5 * np.exp(-np.arange(total) * FRAME / 0.04)
    noise = 1 - (1 - sung.aperiodicity**style.clarity) * (1 - np.minimum(breath, 0.6))[:, None]
    f0 = np.where(sung.f0 > 0, 440 * 2 ** ((pitch - 69) / 12), 0)
    return Voice(f0, (sung.envelope + shape * DECIBEL).astype(np.float32), noise.astype(np.float32))


def _rest(sung: Voice, frames: int, rng: Generator) -> Voice:
    """Is silent after a phrase, or takes breath before the next: noise through the same mouth."""
    level = np.full(frames, -120.0)
    length = min(frames, int(rng.uniform(0.2, 0.5) / FRAME))
    if rng.random() < 0.5:
        swell = np.sin(np.pi * np.arange(length) / length)
        level[frames - length :] = rng.uniform(-34, -24) + 30 * (swell - 1)
    mouth = sung.envelope.mean(axis=0) - sung.envelope.mean()
    envelope = 0.5 * mouth + (VOWEL_LEVEL - 10 + level)[:, None] * DECIBEL
    return Voice(np.zeros(frames), envelope.astype(np.float32), np.ones_like(envelope, np.float32))


def sing(speech: np.ndarray, seconds: float, rng: Generator, name: str = "voice") -> np.ndarray:
    """Makes a singer of a speaker, and lets him or her sing, alone or with others.

    Args:
      speech: float `[samples]` at 44.1 kHz.
      seconds: about the length.
      rng: decides everything.
      name: for the error.

    Returns:
      Float `[samples, 2]` at 44.1 kHz, without effects.

    Raises:
      SourceError: if too few syllables are found.
    """
    size = int(MATERIAL * RATE)
    start = rng.integers(max(1, len(speech) - size))
    voice = voices.widen(voices.analyse(speech[start : start + size]))
    bank = voices.cut(voice)
    if len(bank) < FEWEST:
        raise SourceError(f"{name}: {len(bank)} syllables found, needs {FEWEST}")
    spoken = 69 + 12 * np.log2(np.median(voice.f0[voice.f0 > 0]) / 440)
    # Singing lies above speech.
    centre = np.clip(spoken + rng.uniform(2, 10), 46, 69)
    song = music.compose(rng, centre, seconds)
    style, text = draw_style(rng, voice), int(rng.integers(2**31))
    lead = pan(perform(bank, song, style, text, rng), rng.uniform(-0.15, 0.15))
    for shift, place, level in _companions(rng):
        other = style._replace(
            manner=music.draw_manner(rng), formants=style.formants * rng.uniform(0.96, 1.04)
        )
        # What comes round to the begin is the end of the last rest.
        late = int(rng.uniform(0.005, 0.035) * RATE)
        sung = np.roll(perform(bank, song, other, text, rng, shift=shift), late)
        lead = lead + level * pan(sung, place)
    return lead


def _companions(rng: Generator) -> list[tuple[int, float, float]]:
    """Draws who else sings: degrees above the melody, place, level; mostly nobody."""
    kind, place = rng.random(), rng.uniform(0.3, 0.9)
    if kind < 0.15:  # doubled
        return [(0, -place, 0.5), (0, place, 0.5)]
    if kind < 0.35:  # a third above or a sixth below
        return [(int(rng.choice((2, -5))), rng.choice((-1, 1)) * place, rng.uniform(0.4, 0.7))]
    return []
