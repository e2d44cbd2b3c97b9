"""Draws mixtures: which stems sound together, from where, and how each is varied. Needs no JAX.

A plan is a few numbers. Training draws it by `MixPlanner` and renders it by
`jaxsep.data.mix_render`; `--remixes` of the preparation uses the same draws (`draw_speeds`,
`draw_matrices`, `draw_partners`).
"""

import dataclasses
from typing import Any

import numpy as np

from jaxsep.data.records import Dataset, DatasetError, StemRecord

VOCALS = "vocals"
BANDS = np.geomspace(80.0, 16_000.0, 8)  # Hz, of the equaliser
CUT_OFF = (9_000.0, 20_000.0)  # Hz
REVERB_SECONDS = (0.2, 1.5)  # until the tail is 60 dB down
REVERB_DB = (-20.0, -6.0)  # level of the tail relative to the dry sound
SECOND_DB = (-12.0, 0.0)  # gain of a second take
SPEED_STEPS = 1024  # a speed is a whole number of these steps; 1024 is the original speed
NOTHING = -1  # stands for no record

Plan = dict[str, Any]  # NumPy arrays and scalars


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How training mixes a data set of waveforms; one of magnitudes was mixed when prepared.

    Attributes:
      paired: Share of the mixtures whose vocals keep their own accompaniment, at its own level,
        where they have one.
      min_vocals_db: Lowest level of vocals over another track's accompaniment in dB, pauses left
        out.
      max_vocals_db: Highest such level in dB.
      instrumental: Share of the mixtures without vocals.
      a_cappella: Share of the mixtures without accompaniment.
      second_voice: Share of the mixtures with a second vocals track, at up to 12 dB below its own
        level.
      second_backing: Share of the accompaniment stems of other tracks than the vocals' that a
        second one joins, at up to 12 dB below its own level.
      speed: Largest factor by which a stem is played slower or faster, which changes its pitch too.
      pan_db: Largest gain or loss of each channel of a stem in dB.
      flip: Whether to swap the channels of each stem, and to invert its polarity, at random.
      equaliser_db: Standard deviation of the gains of the bands of each stem's equaliser in dB.
      cut_off: Share of the mixtures that end at 9 to 20 kHz, as a codec or microphone may leave
        them.
      reverb: Share of the mixtures whose vocals are put in a room.
      mono: Share of the mixtures whose channels are equal, as in a mono recording.

    Raises:
      ValueError: if a field is out of its range.
    """

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


# Songs as they are; vocals without accompaniment get another track's.
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


class MixPlanner:
    """Draws mixtures of the stems of a split.

    Args:
      dataset: Data set of waveforms.
      split: Split whose records are mixed.
      frames: Frames of a mixture's magnitudes.
      mixing: How the stems are mixed.

    Attributes:
      vocals: Numbers of the records with vocals; each pass of a training mixes each of them once.
      samples: Samples of a mixture.
      chunk: Samples of a record that a mixture needs at most: more if stems are played faster.

    Raises:
      DatasetError: if the split has no record of one of the stems.
    """

    def __init__(self, dataset: Dataset, split: str, *, frames: int, mixing: Mixing):
        self._stft, self._mixing, self._frames = dataset.stft, mixing, frames
        self.samples = (frames - 1) * dataset.stft.hop_length + dataset.stft.n_fft
        fastest = round(SPEED_STEPS * np.exp(_speed_limit(mixing.speed) / 100))
        self.chunk = int(num_played(self.samples, fastest))
        self._records = dataset.stem_records(split)
        self._numbers = {record: number for number, record in enumerate(self._records)}
        by_stem: dict[str, list[int]] = {stem: [] for stem in (VOCALS, *dataset.targets)}
        for number, record in enumerate(self._records):
            by_stem[record.stem].append(number)
        if missing := [stem for stem, numbers in by_stem.items() if not numbers]:
            raise DatasetError(f"{dataset.path}: nothing in {split} has the stem {missing[0]!r}")
        self.vocals = by_stem[VOCALS]
        # Arrays: NumPy would copy a list at each choice.
        self._by_stem = {stem: np.array(numbers) for stem, numbers in by_stem.items()}
        self._takes = 2 if mixing.second_voice or mixing.second_backing else 1
        self._frequencies = np.linspace(0, dataset.stft.sample_rate / 2, dataset.stft.bins)
        self._accompanied = {record.track for record in self._records if record.stem != VOCALS}

    def origin(self, record: int) -> StemRecord:
        """Returns what a record holds."""
        return self._records[record]

    def draw(self, vocals: int, rng: np.random.Generator) -> Plan:
        """Draws a mixture.

        Args:
          vocals: One of `self.vocals`.
          rng: Decides all that is random.

        Returns:
          A dict. The first axis of its arrays is the stems, vocals first and then the
          accompaniment's in the data set's order; the second one is the takes of a stem that sound
          together.
          * `records`: int32 `[stems, takes]`, numbers of the records or `NOTHING`.
          * `places`: float32 `[stems, takes]`, from 0 to below 1, where in the record to begin.
          * `matrices`: float32 `[stems, takes, channels, channels]`, from a record's channels to
            the mixture's.
          * `paired`: bool, whether the accompaniment begins where the vocals do, at its own level.
          * `vocals_db`: float32, level of the vocals over the accompaniment unless paired, in dB.
          * `heard`: bool `[stems]`, which stems aren't silenced.
          * `gains`: float32 `[stems, bins]`, equaliser gains for the stems' spectra.
          * `speeds`: int32 `[stems]`, in steps of 1 / `SPEED_STEPS`.
          * `reverb_seconds`, `reverb_db` (-inf for none) and `reverb_seed`: room of the vocals.
          * `mono`: bool, whether to make the channels equal.

          Of the last three lines it has what `mixing` varies at all.
        """
        mixing, track = self._mixing, self._records[vocals].track
        kind, pairing = rng.random(size=2)
        is_instrumental = kind < mixing.instrumental
        is_a_cappella = not is_instrumental and kind < mixing.instrumental + mixing.a_cappella
        is_paired = track in self._accompanied and pairing < mixing.paired
        records = self._draw_records(vocals, is_paired, rng)
        stems, takes = records.shape
        matrices = draw_matrices(mixing, (stems, takes), self._stft.channels, rng)
        matrices[:, 1:] *= _amplitude(rng.uniform(*SECOND_DB, size=(stems, takes - 1, 1, 1)))
        matrices *= (records != NOTHING)[:, :, None, None]
        is_vocals = np.arange(stems) == 0
        plan = {
            "records": records,
            "places": rng.random(size=(stems, takes), dtype=np.float32),
            "matrices": matrices.astype(np.float32),
            "paired": np.bool_(is_paired),
            "vocals_db": np.float32(rng.uniform(mixing.min_vocals_db, mixing.max_vocals_db)),
            "heard": np.where(is_vocals, not is_instrumental, not is_a_cappella),
            "gains": self._draw_gains(stems, rng),
        }
        if mixing.speed != 1:
            sung, played = draw_speeds(mixing.speed, 2, rng)
            plan["speeds"] = np.where(is_vocals | is_paired, sung, played).astype(np.int32)
        if mixing.reverb:
            has_room = rng.random() < mixing.reverb
            plan["reverb_seconds"] = np.float32(rng.uniform(*REVERB_SECONDS))
            plan["reverb_db"] = np.float32(rng.uniform(*REVERB_DB) if has_room else -np.inf)
            plan["reverb_seed"] = rng.integers(2**32, dtype=np.uint32)
        if mixing.mono:
            plan["mono"] = np.bool_(rng.random() < mixing.mono)
        return plan

    def place(self, plan: Plan, lengths: np.ndarray) -> Plan:
        """Finds where a plan's records begin, once their lengths are known.

        Args:
          plan: Plan of `draw`.
          lengths: Lengths of the plan's records in samples, `[stems, takes]`.

        Returns:
          The plan with `starts` in place of `places`: int32 `[stems, takes]`, in samples. Further
          int32 `num_frames` and, to name the example, `record`, `first_frame` and `swapped`
          (always 0) of its vocals or, where they are silent, of an accompaniment.
        """
        plan, hop_length = dict(plan), self._stft.hop_length
        played = num_played(self.samples, plan.get("speeds", np.full(len(lengths), SPEED_STEPS)))
        latest = np.maximum(0, lengths - played[:, None]) // hop_length
        firsts = (plan.pop("places") * (latest + 1)).astype(np.int32)  # of 0 to `latest`
        if plan["paired"]:
            firsts[1:] = firsts[0, 0]
        sounding = plan["heard"] & (plan["records"][:, 0] != NOTHING)
        named = int(np.argmax(sounding))
        return {
            **plan,
            "starts": firsts * np.int32(hop_length),
            "num_frames": np.int32(self._frames),
            "record": plan["records"][named, 0],
            "first_frame": firsts[named, 0],
            "swapped": np.int32(0),
        }

    def _draw_records(self, vocals: int, is_paired: bool, rng: np.random.Generator) -> np.ndarray:
        """Draws the records of all stems: the vocals' own accompaniment or any; `draw` has more."""
        records = np.full((len(self._by_stem), self._takes), NOTHING, np.int32)
        for row, (stem, numbers) in zip(records, self._by_stem.items(), strict=True):
            share = self._mixing.second_backing
            if stem == VOCALS:
                row[0], share = vocals, self._mixing.second_voice
            elif is_paired:
                # Silent segments have no record.
                own = self._records[vocals]._replace(stem=stem)
                row[0], share = self._numbers.get(own, NOTHING), 0.0
            else:
                row[0] = numbers[rng.integers(len(numbers))]
            is_wanted, second = rng.random() < share, numbers[rng.integers(len(numbers))]
            if is_wanted and second != row[0]:
                row[1] = second
        return records

    def _draw_gains(self, stems: int, rng: np.random.Generator) -> np.ndarray:
        """Draws smooth gains `[stems, bins]` and, for some mixtures, what a codec cuts off."""
        mixing, frequencies = self._mixing, self._frequencies
        logs = np.log(np.maximum(frequencies, BANDS[0]))
        decibels = rng.normal(0, mixing.equaliser_db, size=(stems, len(BANDS)))
        gains = [_amplitude(np.interp(logs, np.log(BANDS), row)) for row in decibels]
        limit = rng.uniform(*CUT_OFF) if rng.random() < mixing.cut_off else np.inf
        return (np.stack(gains) * (frequencies < limit)).astype(np.float32)


def draw_speeds(limit: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws how fast stems are played.

    Args:
      limit: Largest factor by which a stem is played slower or faster.
      count: Number of speeds.
      rng: Decides all that is random.

    Returns:
      Speeds in steps of 1 / `SPEED_STEPS`, int `[count]`: 1 % apart, for filters depend on them.
    """
    percent = _speed_limit(limit)
    speeds = np.exp(rng.integers(-percent, percent, size=count, endpoint=True) / 100)
    return np.rint(SPEED_STEPS * speeds).astype(int)


def draw_matrices(
    mixing: Mixing, shape: tuple[int, ...], channels: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws how stems are panned, and whether they are swapped and inverted.

    Args:
      mixing: Limits of the panning, and whether there is anything else.
      shape: Axes in front of the matrices; each matrix is drawn by itself.
      channels: Channels of the stems and of the mixture.
      rng: Decides all that is random.

    Returns:
      Matrices from a stem's channels to the mixture's, `[*shape, channels, channels]`.
    """
    decibels = rng.uniform(-mixing.pan_db, mixing.pan_db, size=(*shape, channels, 1))
    matrices = _amplitude(decibels) * np.eye(channels)
    if mixing.flip:
        is_swapped, is_inverted = rng.random(size=(2, *shape, 1, 1)) < 0.5
        matrices = np.where(is_swapped, matrices[..., ::-1], matrices)
        matrices = np.where(is_inverted, -matrices, matrices)
    return matrices


def draw_partners(tracks: int, rng: np.random.Generator) -> np.ndarray:
    """Draws another track for each of at least two tracks, int `[tracks]`; each is drawn once."""
    order = rng.permutation(tracks)
    partners = np.empty_like(order)
    partners[order] = np.roll(order, 1)
    return partners


def num_played(samples: int, speed: Any) -> Any:
    """Counts the samples of a record that become `samples` at a speed of `draw_speeds`."""
    return (samples * speed + SPEED_STEPS // 2) // SPEED_STEPS


def _speed_limit(speed: float) -> int:
    """Returns the limit of the speeds' logarithms in percent."""
    return round(100 * np.log(speed))


def _amplitude(decibels: Any) -> Any:
    return 10 ** (decibels / 20)
