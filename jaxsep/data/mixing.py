"""What mixtures are made of while training: any voice over any backing, each varied.

A `Planner` draws a plan: a few numbers. A mixture is made of it by `jaxsep.data.mixer`, on the
host, or by `jaxsep.data.device_mixer`.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxsep.data.records import Dataset, DatasetError, StemRecord

VOCALS = "vocals"
BANDS = np.geomspace(80.0, 16_000.0, 8)  # of the equaliser, in Hz
CUT_OFF = (9_000.0, 20_000.0)  # Hz
REVERB_SECONDS = (0.2, 1.5)  # until the tail is 60 dB down
REVERB_DB = (-20.0, -6.0)  # level of the tail, over the dry sound's
SECOND_DB = (-12.0, 0.0)  # of what is added to a voice or a backing, over its own level on record
SPEED_STEPS = 1024  # in a speed of 1: speeds are multiples of a part of it
NOTHING = -1  # in place of a record
TOGETHER = 2  # voices, or backings, that sound together at most

Plan = dict[str, Any]  # arrays and scalars of NumPy


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How mixtures are made; `configs/default.py` explains the fields."""

    paired: float = 0.4
    min_vocals_db: float = -12.0
    max_vocals_db: float = 6.0
    instrumental: float = 0.1
    a_cappella: float = 0.05
    second_voice: float = 0.0
    second_backing: float = 0.0
    speed: float = 1.15
    pan_db: float = 3.0
    flip: bool = True
    equaliser_db: float = 3.0
    cut_off: float = 0.25
    reverb: float = 0.2
    mono: float = 0.0

    def __post_init__(self):
        shares = ("paired", "instrumental", "a_cappella", "second_voice", "second_backing")
        for name in (*shares, "cut_off", "reverb", "mono"):
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


class Planner:
    """Plans mixtures of a split's records.

    Args:
      dataset: of waveforms.
      split: where the stems are from.
      mixing: how they are mixed.

    Attributes:
      voices: numbers of the records with vocals.

    Raises:
      DatasetError: if the split lacks vocals or one of the other stems.
    """

    def __init__(self, dataset: Dataset, split: str, mixing: Mixing):
        self._stft, self._mixing = dataset.stft, mixing
        self._records = dataset.stem_records(split)
        self._numbers = {record: number for number, record in enumerate(self._records)}
        by_stem: dict[str, list[int]] = {stem: [] for stem in dataset.targets}
        for number, record in enumerate(self._records):
            by_stem[record.stem].append(number)
        if missing := [stem for stem, numbers in by_stem.items() if not numbers]:
            raise DatasetError(f"{dataset.path}: nothing in {split} has the stem {missing[0]!r}")
        self.voices = by_stem.pop(VOCALS)
        # Arrays: NumPy would copy a list at each choice, and a GPU takes many plans.
        self._singers = np.array(self.voices)
        self._backings = {stem: np.array(numbers) for stem, numbers in by_stem.items()}
        frequencies = np.linspace(0, self._stft.sample_rate / 2, self._stft.bins)
        self._frequencies, self._logs = frequencies, np.log(np.maximum(frequencies, BANDS[0]))
        self._accompanied = {record.track for record in self._records if record.stem != VOCALS}

    def origin(self, voice: int) -> StemRecord:
        """Returns what a record holds."""
        return self._records[voice]

    def plan(self, voice: int, rng: np.random.Generator) -> Plan:
        """Draws a mixture.

        Args:
          voice: one of `voices`.
          rng: decides all that is random.

        Returns:
          Of each part, voices first (`TOGETHER` of them), then the backings' stems: `parts`, int32
          `[parts]`, number of the record or `NOTHING`; `places`, float32 `[parts]`, where in the
          record it begins, from 0 to below 1 of what is possible; `speeds`, int32 `[parts]`, where
          `SPEED_STEPS` changes nothing; and `matrices`, float32 `[parts, channels, channels]`,
          from its channels to the mixture's. Of the mixture, scalars: `paired`, whether the
          backing begins where the voice does, at its own level; else `vocals_db`, the voice's
          level over the backing's; `heard`, bool `[2]`, whether there are vocals and a backing;
          `reverb_seconds`, `reverb_db` and `reverb_seed`, of the voices' room (-inf dB: none);
          `mono`, whether the channels are alike; `gains`, float32 `[2, bins]`, what both
          magnitudes are yet to be multiplied with.
        """
        mixing, track = self._mixing, self._records[voice].track
        kind, pairing = rng.random(size=2)
        is_instrumental = kind < mixing.instrumental
        is_a_cappella = not is_instrumental and kind < mixing.instrumental + mixing.a_cappella
        is_paired = track in self._accompanied and pairing < mixing.paired
        voices = [voice, self._second(voice, self._singers, mixing.second_voice, rng)]
        backings = self._backing(voice if is_paired else None, rng)
        parts = np.array([*voices, *backings], np.int32)
        sung, played = self._speeds(rng)
        speeds = np.where(np.arange(len(parts)) < TOGETHER, sung, sung if is_paired else played)
        matrices = self._matrices(len(parts), rng)
        added = np.arange(len(parts)) % TOGETHER == 1
        levels = np.where(added, _amplitude(rng.uniform(*SECOND_DB, size=len(parts))), 1.0)
        matrices *= levels[:, None, None] * (parts != NOTHING)[:, None, None]
        has_room = rng.random() < mixing.reverb
        return {
            "parts": parts,
            "places": rng.random(size=len(parts), dtype=np.float32),
            "speeds": speeds.astype(np.int32),
            "matrices": matrices.astype(np.float32),
            "paired": np.bool_(is_paired),
            "vocals_db": np.float32(rng.uniform(mixing.min_vocals_db, mixing.max_vocals_db)),
            "heard": np.array([not is_instrumental, not is_a_cappella]),
            "reverb_seconds": np.float32(rng.uniform(*REVERB_SECONDS)),
            "reverb_db": np.float32(rng.uniform(*REVERB_DB) if has_room else -np.inf),
            "reverb_seed": rng.integers(2**32, dtype=np.uint32),
            "mono": np.bool_(rng.random() < mixing.mono),
            "gains": self._equalise(rng),
        }

    def _backing(self, voice: int | None, rng: np.random.Generator) -> list[int]:
        """Draws each stem's records: those that belong to a voice or, without one, any."""
        found = []
        for stem, numbers in self._backings.items():
            if voice is None:
                first = int(numbers[rng.integers(len(numbers))])
            else:
                # Where a song's own backing is silent for a while, there is nothing to play.
                own = self._records[voice]._replace(stem=stem)
                first = self._numbers.get(own, NOTHING)
            share = 0.0 if voice is not None else self._mixing.second_backing
            found += [first, self._second(first, numbers, share, rng)]
        return found

    def _second(
        self, first: int, numbers: np.ndarray, share: float, rng: np.random.Generator
    ) -> int:
        """Draws another record, at times."""
        wanted, number = rng.random() < share, int(numbers[rng.integers(len(numbers))])
        return number if wanted and number != first else NOTHING

    def _speeds(self, rng: np.random.Generator) -> np.ndarray:
        # Steps of 1 %: a resampler's filters depend on the ratio.
        limit = round(100 * np.log(self._mixing.speed))
        speeds = np.exp(rng.integers(-limit, limit, size=2, endpoint=True) / 100)
        return np.round(SPEED_STEPS * speeds)

    def _matrices(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Pans stems, swaps their channels and turns their polarity, at random."""
        mixing, channels = self._mixing, self._stft.channels
        gains = _amplitude(rng.uniform(-mixing.pan_db, mixing.pan_db, size=(count, channels, 1)))
        matrices = gains * np.eye(channels)
        if mixing.flip:
            swapped, turned = rng.random(size=(2, count, 1, 1)) < 0.5
            matrices = np.where(swapped, matrices[:, :, ::-1], matrices)
            matrices = np.where(turned, -matrices, matrices)
        return matrices

    def _equalise(self, rng: np.random.Generator) -> np.ndarray:
        """Returns gains `[2, bins]`: smooth random ones and, for some, what a codec cuts off."""
        mixing, logs = self._mixing, self._logs
        decibels = rng.normal(0, mixing.equaliser_db, size=(2, len(BANDS)))
        gains = [_amplitude(np.interp(logs, np.log(BANDS), row)) for row in decibels]
        limit = rng.uniform(*CUT_OFF) if rng.random() < mixing.cut_off else np.inf
        return (np.stack(gains) * (self._frequencies < limit)).astype(np.float32)


def _amplitude(decibels: Any) -> Any:
    return 10 ** (decibels / 20)
