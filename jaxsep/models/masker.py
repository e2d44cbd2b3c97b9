"""What a masker is: the contract that separation and training rely on."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact

from jaxsep.stft_config import StftConfig

# Collections of a Flax module: `params`, which are trained, and `statistics`, which have no
# gradient.
Variables: TypeAlias = dict[str, Any]
# State after the frames seen so far: any pytree of arrays.
Carry: TypeAlias = Any
# What a masker sees: magnitudes or complex spectra.
Mixture: TypeAlias = Inexact[Array, "batch frames channels bins"]
# Real or complex masks.
Masks: TypeAlias = Inexact[Array, "batch targets frames channels bins"]
# False for padding behind a short example.
Valid: TypeAlias = Bool[Array, "batch frames"]
# Statistics of a data set by name.
Statistics: TypeAlias = Mapping[str, Float[np.ndarray, " bins"]]


@dataclasses.dataclass(frozen=True)
class Windows:
    """How a song is cut into windows.

    Attributes:
      frames: Length of a window, in frames.
      overlap: Frames that a window shares with the next; at most half a window.
      lead: Frames of silence before the song.
    """

    frames: int
    overlap: int = 0
    lead: int = 0

    @property
    def step(self) -> int:
        """Frames from the start of a window to the start of the next."""
        return self.frames - self.overlap


@dataclasses.dataclass(frozen=True)
class Traits:
    """How a masker wants to be used. The defaults are those of a causal masker of magnitudes.

    Attributes:
      windows: Windows in which the masker goes through a song. None for a causal masker: a frame's
        mask depends on this and earlier frames alone, and the carry joins blocks of any length.
      sees: What the masker gets, the magnitude of the mixture's spectrum or the complex spectrum.
      answers: Whether its masks are real or complex.
      mono_gain: Factor by which a mono signal is scaled before it is fed to a stereo masker as
        both channels; the masked signal is divided by it.
      dropout: Largest share of units that it drops at random in training, where there are random
        numbers named `dropout`.
      mixes_examples: Whether an example's masks depend on the rest of the batch in training, where
        the collection `statistics` is mutable, as they do with batch normalisation.
      depth: Names that lead to one of its layers, for `jaxsep.training.health`: 1, or 2 where
        networks of their own hold them.
    """

    windows: Windows | None = None
    sees: Literal["magnitude", "spectrum"] = "magnitude"
    answers: Literal["real", "complex"] = "real"
    mono_gain: float = 1.0
    dropout: float = 0.0
    mixes_examples: bool = False
    depth: int = 1

    @property
    def mask_dtype(self) -> Any:
        """Data type of the masks."""
        return jnp.complex64 if self.answers == "complex" else jnp.float32


class Masker(Protocol):
    """A Flax module that answers a mixture with one mask for each target.

    The mask times the mixture's spectrum is the target's spectrum. Maskers can be hashed.
    """

    @property
    def stft(self) -> StftConfig:
        """Format of the spectra."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of the masks."""
        ...

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used."""
        ...

    def initial_carry(self, batch: int) -> Carry:
        """Returns the state before the first frame.

        Args:
          batch: Number of examples.
        """
        ...

    def __call__(
        self, mixture: Mixture, carry: Carry, /, *, valid: Valid | None = None
    ) -> tuple[Masks, Carry]:
        """Predicts the masks of some frames. Call it by `apply`.

        Args:
          mixture: Magnitude or complex spectrum, as `traits.sees` says.
          carry: State after the frames before, or `initial_carry`.
          valid: Frames that aren't padding; None if all are.

        Returns:
          The masks, and the state after these frames.
        """
        ...

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Gives fresh variables the statistics of the data set that they will be trained on.

        Args:
          variables: Variables as `jaxsep.models.init` makes them.
          statistics: Statistics of each bin, see `jaxsep.data.records.Dataset.statistics`.
        """
        ...

    def only(self, targets: Iterable[str]) -> "Masker":
        """Returns a masker for the same variables that skips what these targets don't need.

        Its `targets` are these at least: a network that all targets share answers for all of them.
        """
        ...

    def clone(self, /, **kwargs: Any) -> Any:
        """Returns a copy with other fields; of `flax.linen.Module`."""
        ...

    def init(self, rngs: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Initialises the variables; of `flax.linen.Module`."""
        ...

    def apply(self, variables: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls the masker with its variables; of `flax.linen.Module`."""
        ...


def observe(
    masker: Masker, spectrum: Complex[Array, "*batch frames channels bins"]
) -> Inexact[Array, "*batch frames channels bins"]:
    """Returns what a masker sees of a mixture's spectrum: its magnitude, or the spectrum itself."""
    return spectrum if masker.traits.sees == "spectrum" else jnp.abs(spectrum)
