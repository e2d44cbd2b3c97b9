"""Draws mixtures: which stems sound together, from where, and how each is varied. Needs no JAX.

A plan is a few numbers. Training draws it by `MixPlanner` and renders it by
`jaxsep.data.mix_render`; `--remixes` of the preparation uses the same draws (`draw_speeds`,
`draw_matrices`, `draw_partners`).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxsep.data.mixing import Mixing
from jaxsep.data.records import Dataset, DatasetError, StemRecord
from jaxsep.stems import RESIDUAL

BANDS = np.geomspace(80.0, 16_000.0, 8)  # Hz, of the equaliser
CUT_OFF = (9_000.0, 20_000.0)  # Hz
REVERB_SECONDS = (0.2, 1.5)  # until the tail is 60 dB down
REVERB_DB = (-20.0, -6.0)  # level of the tail relative to the dry sound
SECOND_DB = (-12.0, 0.0)  # gain of a second take
SPEED_STEPS = 1024  # a speed is a whole number of these steps; 1024 is the original speed
NOTHING = -1  # stands for no record

Plan = dict[str, Any]  # NumPy arrays and scalars


class MixPlanner:
    """Draws mixtures of the stems of a split.

    Args:
      dataset: Data set of waveforms.
      split: Split whose records are mixed.
      targets: Stems that come first, as they are a masker's targets.
      frames: Frames of a mixture's spectrum.
      mixing: How the stems are mixed.
      num_stems: Stems of a plan, where more than the data set's; those that it lacks are silent.
      first_record: Number of the split's first record, where those of other data sets come before.

    Attributes:
      leads: Numbers of the records that mixtures are drawn around; each pass of a training mixes
        each of them once. For each segment of a song with a target there is one, of the first
        target that it has.
      samples: Samples of a mixture.
      chunk: Samples of a record that a mixture needs at most: more if stems are played faster.

    Raises:
      DatasetError: If the training split has no record of one of the targets, or another split of
        none of them, or a split has those of one stem alone.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        *,
        targets: Sequence[str],
        frames: int,
        mixing: Mixing,
        num_stems: int = 0,
        first_record: int = 0,
    ):
        self._stft, self._mixing, self._frames = dataset.stft, mixing, frames
        self._targets = [mixing.of(target) for target in targets]
        self.samples = dataset.stft.num_samples(frames)
        fastest = round(SPEED_STEPS * np.exp(_speed_limit(mixing.speed) / 100))
        self.chunk = int(num_played(self.samples, fastest))
        self._records = dict(enumerate(dataset.stem_records(split), first_record))
        self._numbers = {record: number for number, record in self._records.items()}
        by_stem: dict[str, list[int]] = {stem: [] for stem in (*targets, *dataset.targets)}
        stems_of_track = defaultdict(set)
        for number, record in self._records.items():
            by_stem.setdefault(record.stem, []).append(number)
            stems_of_track[record.track].add(record.stem)
        missing = [stem for stem, numbers in by_stem.items() if not numbers]
        lacking = [stem for stem in missing if stem in targets]
        is_single = len(by_stem) - len(missing) < 2
        if is_single or (lacking and (split == "train" or len(lacking) == len(targets))):
            stem = (lacking or missing or [RESIDUAL])[0]
            raise DatasetError(f"{dataset.path}: nothing in {split} has the stem {stem!r}")
        segments: dict[tuple[str, float], int] = {}
        for target in targets:
            for number in by_stem[target]:
                record = self._records[number]
                segments.setdefault((record.track, record.start), number)
        self.leads = list(segments.values())
        self._num_stems = max(num_stems, len(by_stem))
        # Arrays: NumPy would copy a list at each choice.
        self._by_stem = {stem: np.array(numbers) for stem, numbers in by_stem.items()}
        self._takes = 2 if mixing.second_rest or any(t.second for t in self._targets) else 1
        self._frequencies = np.linspace(0, dataset.stft.sample_rate / 2, dataset.stft.bins)
        self._accompanied = {track for track, stems in stems_of_track.items() if len(stems) > 1}

    def origin(self, record: int) -> StemRecord:
        """Returns what a record holds."""
        return self._records[record]

    def draw(self, lead: int, rng: np.random.Generator) -> Plan:
        """Draws a mixture.

        Args:
          lead: One of `self.leads`.
          rng: Decides all that is random.

        Returns:
          A dict. The first axis of its arrays is the stems: the targets, the others in the data
          set's order, silence; the second one is the takes of a stem that sound together.
          * `records`: int32 `[stems, takes]`, numbers of the records or `NOTHING`.
          * `places`: float32 `[stems, takes]`, from 0 to below 1, where in the record to begin.
          * `matrices`: float32 `[stems, takes, channels, channels]`, from a record's channels to
            the mixture's.
          * `lead`: Place of the lead among the stems.
          * `paired`: bool, whether the other stems begin where the lead does, at their own levels.
          * `levels_db`: float32 `[targets]`, level of each target over the stems beside it unless
            paired, in dB.
          * `heard`: bool `[stems]`, which stems aren't silenced.
          * `gains`: float32 `[stems, bins]`, equaliser gains for the stems' spectra.
          * `speeds`: int32 `[stems]`, in steps of 1 / `SPEED_STEPS`.
          * `reverb_seconds`, `reverb_db` (-inf for none) and `reverb_seed`, `[targets]` each: rooms
            of the targets.
          * `mono`: bool, whether to make the channels equal.

          Of the last three lines it has what `mixing` varies at all.
        """
        mixing, targets, leading = self._mixing, self._targets, self._records[lead]
        *kinds, pairing = rng.random(size=len(targets) + 1).tolist()
        is_paired = leading.track in self._accompanied and pairing < mixing.paired
        records = self._draw_records(lead, is_paired, rng)
        stems, takes = records.shape
        matrices = draw_matrices(mixing, (stems, takes), self._stft.channels, rng)
        matrices[:, 1:] *= _amplitude(rng.uniform(*SECOND_DB, size=(stems, takes - 1, 1, 1)))
        matrices *= (records != NOTHING)[:, :, None, None]
        plan = {
            "records": records,
            "places": rng.random(size=(stems, takes), dtype=np.float32),
            "matrices": matrices.astype(np.float32),
            "lead": list(self._by_stem).index(leading.stem),
            "paired": np.bool_(is_paired),
            "levels_db": np.array([rng.uniform(t.min_db, t.max_db) for t in targets], np.float32),
            "heard": self._choose_heard(kinds, stems),
            "gains": self._draw_gains(stems, rng),
        }
        if mixing.speed != 1:
            speeds = draw_speeds(mixing.speed, len(targets) + 1, rng)
            of_stems = np.minimum(np.arange(stems), len(targets))  # the other stems share one
            plan["speeds"] = speeds[of_stems * (not is_paired)].astype(np.int32)
        if any(target.reverb for target in targets):
            rooms = [_draw_room(target.reverb, rng) for target in targets]
            plan |= {name: np.array([room[name] for room in rooms]) for name in rooms[0]}
        if mixing.mono:
            plan["mono"] = np.bool_(rng.random() < mixing.mono)
        return plan

    def place(self, plan: Plan, lengths: Int[np.ndarray, "stems takes"]) -> Plan:
        """Finds where a plan's records begin, once their lengths are known.

        Args:
          plan: Plan of `draw`.
          lengths: Lengths of the plan's records in samples.

        Returns:
          The plan with `starts` in place of `places` and `lead`: int32 `[stems, takes]`, in
          samples. Further int32 `num_frames` and, to name the example, `record`, `first_frame` and
          `swapped` (always 0) of its first stem that sounds.
        """
        plan, hop_length = dict(plan), self._stft.hop_length
        played = num_played(self.samples, plan.get("speeds", np.full(len(lengths), SPEED_STEPS)))
        latest = np.maximum(0, lengths - played[:, None]) // hop_length
        firsts = (plan.pop("places") * (latest + 1)).astype(np.int32)  # of 0 to `latest`
        lead = plan.pop("lead")
        if plan["paired"]:
            firsts[np.arange(len(firsts)) != lead] = firsts[lead, 0]
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

    def _draw_records(self, lead: int, is_paired: bool, rng: np.random.Generator) -> np.ndarray:
        """Draws the records of all stems: those of the lead's song or any; `draw` has more."""
        records = np.full((self._num_stems, self._takes), NOTHING, np.int32)
        shares = [target.second for target in self._targets]
        shares += [self._mixing.second_rest] * (len(self._by_stem) - len(shares))
        known = zip(shares, self._by_stem.items(), strict=True)
        for row, (share, (stem, numbers)) in zip(records, known, strict=False):
            if not len(numbers):
                continue
            if stem == self._records[lead].stem:
                row[0] = lead
            elif is_paired:
                # Silent segments have no record.
                own = self._records[lead]._replace(stem=stem)
                row[0], share = self._numbers.get(own, NOTHING), 0.0
            else:
                row[0] = numbers[rng.integers(len(numbers))]
            is_wanted, second = rng.random() < share, numbers[rng.integers(len(numbers))]
            if is_wanted and second != row[0]:
                row[1] = second
        return records

    def _choose_heard(self, kinds: Sequence[float], stems: int) -> np.ndarray:
        """Turns a random number from 0 to 1 for each target into which stems are heard."""
        pairs = list(zip(kinds, self._targets, strict=True))
        heard = [kind >= target.silent for kind, target in pairs]
        alone = [target.silent <= kind < target.silent + target.alone for kind, target in pairs]
        if any(alone):
            return np.arange(stems) == alone.index(True)
        return np.array([*heard, *[True] * (stems - len(heard))])

    def _draw_gains(self, stems: int, rng: np.random.Generator) -> np.ndarray:
        """Draws smooth gains `[stems, bins]` and, for some mixtures, what a codec cuts off."""
        mixing, frequencies = self._mixing, self._frequencies
        logs = np.log(np.maximum(frequencies, BANDS[0]))
        decibels = rng.normal(0, mixing.equaliser_db, size=(stems, len(BANDS)))
        gains = [_amplitude(np.interp(logs, np.log(BANDS), row)) for row in decibels]
        limit = rng.uniform(*CUT_OFF) if rng.random() < mixing.cut_off else np.inf
        return (np.stack(gains) * (frequencies < limit)).astype(np.float32)


def _draw_room(share: float, rng: np.random.Generator) -> Plan:
    """Draws the room of a target, or -inf dB of one."""
    has_room = rng.random() < share
    return {
        "reverb_seconds": np.float32(rng.uniform(*REVERB_SECONDS)),
        "reverb_db": np.float32(rng.uniform(*REVERB_DB) if has_room else -np.inf),
        "reverb_seed": rng.integers(2**32, dtype=np.uint32),
    }


def draw_speeds(limit: float, count: int, rng: np.random.Generator) -> Int[np.ndarray, " {count}"]:
    """Draws how fast stems are played.

    Args:
      limit: Largest factor by which a stem is played slower or faster.
      count: Number of speeds.
      rng: Decides all that is random.

    Returns:
      Speeds in steps of 1 / `SPEED_STEPS`: 1 % apart, for filters depend on them.
    """
    percent = _speed_limit(limit)
    speeds = np.exp(rng.integers(-percent, percent, size=count, endpoint=True) / 100)
    return np.rint(SPEED_STEPS * speeds).astype(int)


def draw_matrices(
    mixing: Mixing, shape: tuple[int, ...], channels: int, rng: np.random.Generator
) -> Float[np.ndarray, "*shape {channels} {channels}"]:
    """Draws how stems are panned, and whether they are swapped and inverted.

    Args:
      mixing: Limits of the panning, and whether there is anything else.
      shape: Axes in front of the matrices; each matrix is drawn by itself.
      channels: Channels of the stems and of the mixture.
      rng: Decides all that is random.

    Returns:
      Matrices from a stem's channels to the mixture's.
    """
    decibels = rng.uniform(-mixing.pan_db, mixing.pan_db, size=(*shape, channels, 1))
    matrices = _amplitude(decibels) * np.eye(channels)
    if mixing.flip:
        is_swapped, is_inverted = rng.random(size=(2, *shape, 1, 1)) < 0.5
        matrices = np.where(is_swapped, matrices[..., ::-1], matrices)
        matrices = np.where(is_inverted, -matrices, matrices)
    return matrices


def draw_partners(tracks: int, rng: np.random.Generator) -> Int[np.ndarray, " {tracks}"]:
    """Draws another track for each of at least two tracks; each is drawn once."""
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
