"""Mixtures made of stems' waveforms while training: any voice over any backing, each varied."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import scipy.signal
import soxr

from jaxsep.records import INT16_SCALE, Dataset, DatasetError, StemRecord
from jaxsep.tfrecord import RecordSource

VOCALS = "vocals"
LEVEL_FRAME = 4096  # samples over which a level is taken
PAUSE = 1e-3  # energy of a pause, at most, over that of the loudest frame
QUIETEST = 0.01  # level, -40 dB of full scale: the noise of a long pause isn't raised to a voice
BANDS = np.geomspace(80.0, 16_000.0, 8)  # of the equaliser, in Hz
CUT_OFF = (9_000.0, 20_000.0)  # Hz
REVERB_SECONDS = (0.2, 1.5)  # until the tail is 60 dB down
REVERB_DB = (-20.0, -6.0)  # level of the tail, over the dry sound's


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How mixtures are made; `configs/default.py` explains the fields."""

    paired: float = 0.4
    min_vocals_db: float = -12.0
    max_vocals_db: float = 6.0
    instrumental: float = 0.1
    a_cappella: float = 0.05
    speed: float = 1.15
    pan_db: float = 3.0
    flip: bool = True
    equaliser_db: float = 3.0
    cut_off: float = 0.25
    reverb: float = 0.2
    mono: float = 0.0

    def __post_init__(self):
        for name in ("paired", "instrumental", "a_cappella", "cut_off", "reverb", "mono"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mixing.{name}={getattr(self, name)} must be from 0 to 1")
        for name in ("pan_db", "equaliser_db"):
            if getattr(self, name) < 0:
                raise ValueError(f"mixing.{name}={getattr(self, name)} must be 0 or more")
        if not 1 <= self.speed <= 2:
            raise ValueError(f"mixing.speed={self.speed} must be from 1 to 2")
        if self.min_vocals_db > self.max_vocals_db:
            raise ValueError(
                f"mixing.min_vocals_db={self.min_vocals_db} must not exceed"
                f" mixing.max_vocals_db={self.max_vocals_db}"
            )


# Songs as they are, and voices that have no backing over another's.
UNVARIED = Mixing(
    paired=1.0,
    instrumental=0.0,
    a_cappella=0.0,
    speed=1.0,
    pan_db=0.0,
    flip=False,
    equaliser_db=0.0,
    cut_off=0.0,
    reverb=0.0,
    mono=0.0,
)


class Part(NamedTuple):
    """A part of a record as it was played.

    Attributes:
      waveform: float32 `[samples, channels]`.
      record: its number.
      first_hop: where in the record it begins.
    """

    waveform: np.ndarray
    record: int
    first_hop: int


class Mixer:
    """Makes mixtures of a split's records.

    Args:
      dataset: of waveforms.
      split: where the stems are from.
      frames: of a mixture's magnitudes.
      mixing: how.

    Attributes:
      voices: numbers of the records with vocals.

    Raises:
      DatasetError: if the split lacks vocals or one of the other stems.
    """

    def __init__(self, dataset: Dataset, split: str, *, frames: int, mixing: Mixing):
        self._codec, self._stft, self._mixing = dataset.codec, dataset.stft, mixing
        self._frames = frames
        self._samples = (frames - 1) * self._stft.hop_length + self._stft.n_fft
        self._source = RecordSource(dataset.shards(split))
        self._records = dataset.stem_records(split)
        self._numbers = {record: number for number, record in enumerate(self._records)}
        by_stem: dict[str, list[int]] = {stem: [] for stem in dataset.targets}
        for number, record in enumerate(self._records):
            by_stem[record.stem].append(number)
        if missing := [stem for stem, numbers in by_stem.items() if not numbers]:
            raise DatasetError(f"{dataset.path}: nothing in {split} has the stem {missing[0]!r}")
        self.voices = by_stem.pop(VOCALS)
        self._backings = by_stem
        self._accompanied = {record.track for record in self._records if record.stem != VOCALS}

    def origin(self, voice: int) -> StemRecord:
        """Returns what a record holds."""
        return self._records[voice]

    def mix(self, voice: int, rng: np.random.Generator) -> dict[str, Any]:
        """Makes a mixture.

        Args:
          voice: one of `voices`.
          rng: decides all that is random.

        Returns:
          `stems`: float32 `[2, samples, channels]`, vocals and accompaniment; and what the
          magnitudes of both are yet to be multiplied with, `gains`: float32 `[2, bins]`. Further
          int32 `num_frames`, and of the voice or, where there is none, of the backing: `record`,
          `first_frame` and `swapped`, which is 0.
        """
        mixing, track = self._mixing, self._records[voice].track
        kind, pairing = rng.random(size=2)
        is_instrumental = kind < mixing.instrumental
        is_a_cappella = not is_instrumental and kind < mixing.instrumental + mixing.a_cappella
        is_paired = track in self._accompanied and pairing < mixing.paired
        speeds = self._speeds(rng)
        sung = self._play(voice, speeds[0], rng)
        played = self._accompany(sung if is_paired else None, speeds[0 if is_paired else 1], rng)
        vocals = self._place(self._reverberate(sung.waveform, rng), rng)
        # Where a song's own backing is silent for a while, there is nothing to play.
        silence = np.zeros_like(vocals)
        accompaniment = sum((self._place(part.waveform, rng) for part in played), start=silence)
        if not is_paired:
            decibels = rng.uniform(mixing.min_vocals_db, mixing.max_vocals_db)
            vocals = vocals * (_level(accompaniment) / _level(vocals) * _amplitude(decibels))
        if is_a_cappella:
            accompaniment = silence
        if is_instrumental:
            vocals = silence
        origin = played[0] if is_instrumental and played else sung
        numbers = {"record": origin.record, "first_frame": origin.first_hop, "swapped": 0}
        stems = np.stack([vocals, accompaniment]).astype(np.float32)
        gains = self._equalise(rng)
        if rng.random() < mixing.mono:
            stems = np.broadcast_to(stems.mean(axis=2, keepdims=True), stems.shape)
        return {
            "stems": stems,
            "gains": gains,
            "num_frames": np.int32(self._frames),
            **{name: np.int32(number) for name, number in numbers.items()},
        }

    def _accompany(self, sung: Part | None, speed: float, rng: np.random.Generator) -> list[Part]:
        """Plays a backing: that which belongs to a voice or, without one, any."""
        if sung is None:
            numbers = [int(rng.choice(numbers)) for numbers in self._backings.values()]
            return [self._play(number, speed, rng) for number in numbers]
        track, _, start = self._records[sung.record]
        own = [self._numbers.get(StemRecord(track, stem, start)) for stem in self._backings]
        return [self._play(n, speed, rng, sung.first_hop) for n in own if n is not None]

    def _play(
        self, record: int, speed: float, rng: np.random.Generator, first_hop: int | None = None
    ) -> Part:
        """Plays a part of a record, from a hop on or from anywhere; silence follows its end."""
        waveform = self._codec.decode(self._source[record])["waveform"]
        hop, length = self._stft.hop_length, round(self._samples * speed)
        if first_hop is None:
            latest = max(0, len(waveform) - length) // hop
            first_hop = int(rng.integers(0, latest, endpoint=True))
        part = waveform[first_hop * hop :][:length].astype(np.float32) / INT16_SCALE
        if speed != 1:
            part = soxr.resample(part, speed, 1.0, quality="MQ")
        part = np.pad(part[: self._samples], ((0, max(0, self._samples - len(part))), (0, 0)))
        return Part(part, record, first_hop)

    def _speeds(self, rng: np.random.Generator) -> np.ndarray:
        # Steps of 1 %: the resampler's filters depend on the ratio.
        limit = round(100 * np.log(self._mixing.speed))
        return np.exp(rng.integers(-limit, limit, size=2, endpoint=True) / 100)

    def _place(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Pans a stem, swaps its channels and turns its polarity, at random."""
        mixing, channels = self._mixing, waveform.shape[1]
        gains = _amplitude(rng.uniform(-mixing.pan_db, mixing.pan_db, size=channels))
        order, polarity = rng.choice([1, -1], size=2) if mixing.flip else (1, 1)
        return waveform[:, ::order] * (polarity * gains).astype(np.float32)

    def _reverberate(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Adds a tail to some: the waveform convolved with fading noise.

        Reference: Moorer, About this reverberation business, 1979 (a room's response is much like
        noise that fades exponentially).
        """
        if rng.random() >= self._mixing.reverb:
            return waveform
        seconds, decibels = rng.uniform(*REVERB_SECONDS), rng.uniform(*REVERB_DB)
        times = np.arange(round(seconds * self._stft.sample_rate)) / self._stft.sample_rate
        noise = rng.normal(size=(len(times), waveform.shape[1]))
        noise *= _amplitude(-60 * times / seconds)[:, None]
        noise *= _amplitude(decibels) / np.linalg.norm(noise, axis=0)
        tail = scipy.signal.oaconvolve(waveform, noise.astype(np.float32), axes=0)
        return waveform + tail[: len(waveform)]

    def _equalise(self, rng: np.random.Generator) -> np.ndarray:
        """Returns gains `[2, bins]`: smooth random ones and, for some, what a codec cuts off."""
        mixing, stft = self._mixing, self._stft
        frequencies = np.linspace(0, stft.sample_rate / 2, stft.bins)
        logs = np.log(np.maximum(frequencies, BANDS[0]))
        decibels = rng.normal(0, mixing.equaliser_db, size=(2, len(BANDS)))
        gains = [_amplitude(np.interp(logs, np.log(BANDS), row)) for row in decibels]
        limit = rng.uniform(*CUT_OFF) if rng.random() < mixing.cut_off else np.inf
        return (np.stack(gains) * (frequencies < limit)).astype(np.float32)


def _amplitude(decibels: Any) -> Any:
    return 10 ** (decibels / 20)


def _level(waveform: np.ndarray) -> float:
    """Returns the root mean square of what isn't a pause; at least `QUIETEST`."""
    whole = waveform[: len(waveform) // LEVEL_FRAME * LEVEL_FRAME]
    energies = np.square(whole).reshape(-1, LEVEL_FRAME * waveform.shape[1]).mean(axis=1)
    sounding = energies[energies > PAUSE * energies.max(initial=0.0)]
    return max(QUIETEST, float(np.sqrt(sounding.mean()))) if len(sounding) else QUIETEST
