"""The baseline: three dense layers that see one frame at a time."""

from collections.abc import Iterable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxsep.models.layers import Dense, LevelCarry, MaskHead, Normalise, with_normalise
from jaxsep.models.masker import Masks, Statistics, Traits, Valid, Variables
from jaxsep.stft_config import StftConfig


class MLPMasker(nn.Module):
    """Two dense layers with ReLU, and one for the masks of all targets.

    Attributes:
      stft: Format of the magnitudes.
      targets: Names of the targets.
      hidden_size: Units of each inner layer.
      normalise: Whether the network sees normalised magnitudes, see `Normalise`.
      exponent: Power of the normalised magnitudes; 0 takes their logarithm, see `Normalise`.
      dtype: Data type of the matrix products; parameters and masks are float32.
    """

    stft: StftConfig
    targets: tuple[str, ...] = ("vocals",)
    hidden_size: int = 512
    normalise: bool = True
    exponent: float = 0.0
    dtype: jnp.dtype = jnp.dtype("float32")

    traits = Traits()

    def __post_init__(self):
        super().__post_init__()
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size={self.hidden_size} must be 1 or more")

    def initial_carry(self, batch: int) -> LevelCarry:
        """Returns the state before the first frame, which has no meaning here."""
        return jnp.zeros((batch, 2))

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames channels bins"],
        carry: LevelCarry,
        *,
        valid: Valid | None = None,
    ) -> tuple[Masks, LevelCarry]:
        """Predicts masks; see `Masker`."""
        del valid  # frames don't see each other
        normalise = Normalise(
            self.stft, 0.0, self.normalise, exponent=self.exponent, name="normalise"
        )
        x, carry = normalise(magnitude, carry)
        x = Dense(self.hidden_size, dtype=self.dtype, name="dense_1")(x)
        x = Dense(self.hidden_size, dtype=self.dtype, name="dense_2")(x)
        return MaskHead(self.stft, len(self.targets), dtype=self.dtype, name="mask")(x), carry

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns variables with the data set's statistics; see `Masker`."""
        return with_normalise(variables, statistics)

    def only(self, targets: Iterable[str]) -> "MLPMasker":
        """Returns the masker itself: the targets share its layers."""
        del targets
        return self
