"""Melodies, and the curves of pitch and loudness with which a voice sings them.

Time is in frames of 5 ms, pitch in MIDI numbers (69 is 440 Hz, a semitone is 1).

Reference: T. Saitou, M. Unoki, M. Akagi, "Development of an F0 control model based on F0 dynamic
characteristics for singing-voice synthesis", Speech Communication 46, 2005: overshoot, vibrato,
preparation and fine fluctuation are what tells a sung pitch curve from a row of notes.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

FRAME = 0.005  # seconds
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9))
RHYTHMS = ((1, 1), (2,), (0.5, 0.5, 1), (1.5, 0.5), (1, 0.5, 0.5), (3, 1), (0.5,) * 4, (4,))
LIKELY = (0.22, 0.1, 0.2, 0.14, 0.14, 0.06, 0.12, 0.02)
STEPS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)  # in degrees of the scale
STEP_WEIGHTS = np.array((0.02, 0.04, 0.12, 0.26, 0.14, 0.24, 0.11, 0.04, 0.03))


class Note(NamedTuple):
    """A note, or as many of one syllable."""

    degree: int  # of the scale, counted from the melody's centre
    frames: int


class Melody(NamedTuple):
    """Phrases of notes in one scale.

    Attributes:
      scale: semitones of its degrees, within an octave.
      tonic: pitch of degree 0.
      phrases: each some notes and the frames of rest after them.
    """

    scale: tuple[int, ...]
    tonic: float
    phrases: tuple[tuple[tuple[Note, ...], int], ...]

    def pitch(self, degree: int) -> float:
        """Returns the pitch of a degree, which may lie below 0 or beyond an octave."""
        octave, step = divmod(degree, len(self.scale))
        return self.tonic + 12 * octave + self.scale[step]


def compose(rng: Generator, centre: float, seconds: float) -> Melody:
    """Writes a melody that sounds like somebody's: steps rather than leaps, phrases that return.

    Args:
      rng: decides everything.
      centre: pitch around which it moves, by up to an octave each way.
      seconds: about its length.
    """
    scale = SCALES[rng.choice(len(SCALES), p=(0.4, 0.3, 0.15, 0.15))]
    beat = 60 / rng.uniform(70, 150) / FRAME
    phrases: list[tuple[tuple[Note, ...], int]] = []
    left, degree = seconds / FRAME, 0
    while left > 0:
        if len(phrases) > 1 and rng.random() < 0.3:
            phrase = phrases[rng.integers(len(phrases))]
        else:
            notes, degree = _phrase(rng, beat, degree, len(scale))
            phrase = notes, int(beat * rng.choice((0.5, 1, 2, 4), p=(0.3, 0.4, 0.2, 0.1)))
        phrases.append(phrase)
        left -= phrase[1] + sum(note.frames for note in phrase[0])
    return Melody(scale, centre, tuple(phrases))


def _phrase(rng: Generator, beat: float, degree: int, size: int) -> tuple[tuple[Note, ...], int]:
    """Writes a phrase of two to six figures; returns it and the degree it ends on."""
    notes = []
    for _ in range(rng.integers(2, 7)):
        for beats in RHYTHMS[rng.choice(len(RHYTHMS), p=LIKELY)]:
            # The farther from the centre, the likelier is the way back.
            weights = STEP_WEIGHTS * np.exp(-0.09 * np.sign(degree) * abs(degree) * np.array(STEPS))
            degree += STEPS[rng.choice(len(STEPS), p=weights / weights.sum())]
            degree = int(np.clip(degree, -size + 1, size))
            notes.append(Note(degree, max(24, int(beats * beat))))
    final = min((-size, 0, size), key=lambda home: abs(home - degree))  # the nearest tonic
    degree = final if rng.random() < 0.6 else degree
    notes.append(Note(degree, int(beat * rng.choice((1, 2, 3, 4)))))
    return tuple(notes), degree


class Manner(NamedTuple):
    """How somebody sings.

    Attributes:
      vibrato_rate: Hz.
      vibrato_depth: semitones to each side, on long notes.
      vibrato_delay: seconds from a note's begin.
      glide: seconds that a change of pitch takes.
      overshoot: damping of these changes, 1 for none.
      jitter: semitones, of fine fluctuation.
      scoop: semitones by which phrases begin below.
      dynamics: dB between the loud and the soft.
    """

    vibrato_rate: float
    vibrato_depth: float
    vibrato_delay: float
    glide: float
    overshoot: float
    jitter: float
    scoop: float
    dynamics: float


def draw_manner(rng: Generator) -> Manner:
    """Draws a manner of singing: from plain to operatic."""
    return Manner(
        vibrato_rate=rng.uniform(4.8, 6.4),
        vibrato_depth=rng.choice((0.06, 0.2, 0.4, 0.6)) * rng.uniform(0.8, 1.2),
        vibrato_delay=rng.uniform(0.15, 0.5),
        glide=rng.uniform(0.06, 0.16),
        overshoot=rng.uniform(0.6, 0.9),
        jitter=rng.uniform(0.04, 0.12),
        scoop=rng.choice((0.0, 1.0, 2.0)) * rng.uniform(0.5, 1.2),
        dynamics=rng.uniform(3, 10),
    )


def pitch_curve(pitches: list[float], frames: list[int], manner: Manner, rng: Generator):
    """Sings the notes of a phrase.

    Args:
      pitches: of the notes.
      frames: their lengths.
      manner: of the singer.
      rng: for what differs each time.

    Returns:
      The pitch, float `[sum(frames)]`.
    """
    total = sum(frames)
    target = np.repeat(pitches, frames)
    vibrato = np.zeros(total)
    delay = int(manner.vibrato_delay / FRAME)
    for end, length in zip(np.cumsum(frames), frames, strict=True):
        if length > delay + 50:
            vibrato[end - length + delay : end] = manner.vibrato_depth * rng.uniform(0.7, 1.3)
    target[: min(frames[0], 12)] -= manner.scoop * rng.uniform(0.3, 1)
    target[-min(frames[-1], 16) :] -= rng.choice((0.0, 0.0, 1.5))
    rate = manner.vibrato_rate + 0.4 * _noise(rng, total, 0.4)
    phase = 2 * np.pi * (np.cumsum(rate) * FRAME + rng.random())
    curve = _approach(target, manner.glide, manner.overshoot)
    curve += gaussian_filter1d(vibrato, 25) * np.sin(phase)
    curve += manner.jitter * _noise(rng, total, 0.02) + 0.1 * _noise(rng, total, 0.3)
    return curve


def loudness_curve(frames: list[int], manner: Manner, rng: Generator):
    """Returns the loudness of a phrase's frames in dB: an arch, accents, and long notes that swell.

    Args:
      frames: lengths of the notes.
      manner: of the singer.
      rng: for what differs each time.
    """
    total = sum(frames)
    arch = np.sin(np.pi * np.linspace(0.15, 0.9, total))
    accents = np.repeat(rng.uniform(-0.4, 0.4, len(frames)), frames)
    swells = [
        np.sin(np.pi * np.linspace(0.1, 0.9, length)) * min(1, length / 300) for length in frames
    ]
    curve = gaussian_filter1d(arch + accents + 0.5 * np.concatenate(swells), 6)
    return manner.dynamics * (curve - curve.max()) + 0.7 * _noise(rng, total, 0.05)


def _approach(target: np.ndarray, seconds: float, damping: float) -> np.ndarray:
    """Follows a curve of steps like a damped spring, which takes some `seconds` for each."""
    omega = 4 * FRAME / seconds
    b, a = [omega**2], [1 + 2 * damping * omega + omega**2, -2 - 2 * damping * omega, 1]
    return target[0] + lfilter(b, a, target - target[0])


def _noise(rng: Generator, total: int, seconds: float) -> np.ndarray:
    """Returns noise that changes within about `seconds`; its standard deviation is about 1."""
    sigma = seconds / FRAME
    noise = gaussian_filter1d(rng.standard_normal(total + 6 * int(sigma) + 1), sigma)
    return noise[:total] * np.sqrt(2 * np.sqrt(np.pi) * sigma)
