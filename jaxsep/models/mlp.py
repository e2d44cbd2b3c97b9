"""The baseline: three dense layers that see one frame at a time."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.models.layers import Dense, LevelCarry, MaskHead, Normalise
from jaxsep.stft_config import StftConfig


class MLPMasker(nn.Module):
    """Two dense layers with ReLU, and the mask's.

    Attributes:
      stft: format of the magnitudes.
      hidden_size: units of the two inner layers.
      normalise: see `Normalise`; without, the network gets the magnitudes as they are.
      dtype: of the matrix products; parameters and masks are float32.
    """

    stft: StftConfig
    hidden_size: int = 512
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32

    is_causal = True
    mono_gain = 1.0

    def initial_carry(self, batch: int) -> LevelCarry:
        """Returns the state before the first frame (of no meaning to the masks)."""
        return jnp.zeros((batch, 2))

    @nn.compact
    def __call__(
        self, magnitude: jax.Array, carry: LevelCarry, *, valid: jax.Array | None = None
    ) -> tuple[jax.Array, LevelCarry]:
        """Predicts masks; see `jaxsep.models`."""
        del valid  # frames don't see each other
        normalise = Normalise(self.stft, 0.0, self.normalise, name="normalise")
        x, carry = normalise(magnitude, carry)
        x = Dense(self.hidden_size, dtype=self.dtype, name="dense_1")(x)
        x = Dense(self.hidden_size, dtype=self.dtype, name="dense_2")(x)
        return MaskHead(self.stft, dtype=self.dtype, name="mask")(x), carry
