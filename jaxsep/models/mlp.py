"""The baseline: three dense layers that see one frame at a time."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.models.common import LevelCarry, MaskHead, Normalise
from jaxsep.stft_config import StftConfig


class MLPMasker(nn.Module):
    """Two dense layers with ReLU, and the mask's.

    Attributes:
      stft: format of the magnitudes.
      hidden_size: units of the two inner layers.
    """

    stft: StftConfig
    hidden_size: int = 512

    is_causal = True

    def initial_carry(self, batch: int) -> LevelCarry:
        """Returns the state before the first frame (of no meaning to the masks)."""
        return jnp.zeros((batch, 2))

    @nn.compact
    def __call__(
        self, magnitude: jax.Array, carry: LevelCarry, *, valid: jax.Array | None = None
    ) -> tuple[jax.Array, LevelCarry]:
        """Predicts masks; see `jaxsep.models`."""
        del valid  # frames don't see each other
        x, carry = Normalise(self.stft, level_seconds=0.0, name="normalise")(magnitude, carry)
        x = nn.relu(nn.Dense(self.hidden_size, name="dense_1")(x))
        x = nn.relu(nn.Dense(self.hidden_size, name="dense_2")(x))
        return MaskHead(self.stft, name="mask")(x), carry
