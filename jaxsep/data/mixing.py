"""How training mixes stems: the fields of a recipe. Needs no JAX."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

MOST_DB = 60  # of gains and levels; more is a slip of the pen
# Fields that a target may have of its own.
PER_TARGET = ("min_db", "max_db", "silent", "alone", "second", "reverb")


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How training mixes a data set of waveforms; one of magnitudes was mixed when prepared.

    The targets are the stems that a masker learns to find; the rest are the other stems. The
    defaults are those of vocals.

    Attributes:
      paired: Share of the mixtures that are the stems of one song, at their own levels, where a
        song has more than one.
      min_db: Lowest level of a target over the stems beside it in dB, pauses left out, where they
        are of different songs.
      max_db: Highest such level in dB.
      silent: Share of the mixtures without a target.
      alone: Share of the mixtures of a target alone.
      second: Share of the mixtures in which a second take of a target sounds, at up to 12 dB below
        its own level.
      second_rest: Share of the other stems that a second one joins so, where they are of different
        songs.
      reverb: Share of the mixtures in which a target is put in a room.
      speed: Largest factor by which a stem is played slower or faster, which changes its pitch too.
      pan_db: Largest gain or loss of each channel of a stem in dB.
      flip: Whether to swap the channels of each stem, and to invert its polarity, at random.
      equaliser_db: Standard deviation of the gains of the bands of each stem's equaliser in dB.
      cut_off: Share of the mixtures that end at 9 to 20 kHz, as a codec or microphone may leave
        them.
      mono: Share of the mixtures whose channels are equal, as in a mono recording.
      by_target: Values of the fields in `PER_TARGET` that a target has of its own, by its name:
        `{"drums": {"silent": 0.02}}`.

    Raises:
      ValueError: If a field is out of its range.
    """

    paired: float = 0.4
    min_db: float = -12.0
    max_db: float = 6.0
    silent: float = 0.1
    alone: float = 0.05
    second: float = 0.0
    second_rest: float = 0.0
    reverb: float = 0.2
    speed: float = 1.15
    pan_db: float = 3.0
    flip: bool = True
    equaliser_db: float = 3.0
    cut_off: float = 0.25
    mono: float = 0.0
    by_target: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        shares = ("paired", "silent", "alone", "second", "second_rest", "reverb", "cut_off", "mono")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mixing.{name}={getattr(self, name)} must be from 0 to 1")
        for least, names in ((0, ("pan_db", "equaliser_db")), (-MOST_DB, ("min_db", "max_db"))):
            for name in names:
                if not least <= getattr(self, name) <= MOST_DB:  # nor may it be NaN
                    raise ValueError(
                        f"mixing.{name}={getattr(self, name)} must be from {least} to {MOST_DB}"
                    )
        if not 1 <= self.speed <= 2:
            raise ValueError(f"mixing.speed={self.speed} must be from 1 to 2")
        if self.min_db > self.max_db:
            raise ValueError(
                f"mixing.min_db={self.min_db} must not exceed mixing.max_db={self.max_db}"
            )
        for target in self.by_target:
            self.of(target)

    def check_targets(self, targets: Sequence[str]) -> None:
        """Raises ValueError if a target that isn't trained has values of its own."""
        if unknown := [name for name in self.by_target if name not in targets]:
            raise ValueError(
                f"mixing.by_target.{unknown[0]} is of no target; there are {', '.join(targets)}"
            )

    def of(self, target: str) -> "Mixing":
        """Returns how a target is mixed: with its own values in place of the common ones.

        Raises:
          ValueError: If it has values of its own for other fields than those in `PER_TARGET`.
        """
        own: Mapping[str, Any] = self.by_target.get(target, {})
        if unknown := [name for name in own if name not in PER_TARGET]:
            raise ValueError(
                f"mixing.by_target.{target}.{unknown[0]} isn't one of {', '.join(PER_TARGET)}"
            )
        return dataclasses.replace(self, by_target={}, **own)


# Songs as they are; a target without other stems gets those of another song.
UNVARIED = Mixing(
    paired=1.0,
    silent=0.0,
    alone=0.0,
    reverb=0.0,
    speed=1.0,
    pan_db=0.0,
    flip=False,
    equaliser_db=0.0,
    cut_off=0.0,
    mono=0.0,
)
