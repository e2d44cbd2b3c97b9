"""What the maskers share: how they see a mixture and how they answer."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.stft_config import StftConfig

# Of a running level: [batch, 2], the decayed sums of levels and of ones.
LevelCarry = jax.Array


def running_level(
    levels: jax.Array, carry: LevelCarry, *, decay: float, silence: float
) -> tuple[jax.Array, LevelCarry]:
    """Averages levels over the past, with exponentially fading weights.

    Silence doesn't count: what follows a pause is no louder for it.

    Args:
      levels: `[batch, frames]`.
      carry: zeros at the beginning.
      decay: the weight of a frame falls by this factor per frame.
      silence: levels up to this are left out.

    Returns:
      The averages, `[batch, frames]`, at least `silence`; and the next carry.
    """

    def step(sums, level):
        counted = decay * sums + jnp.stack([level, jnp.ones_like(level)], axis=-1)
        sums = jnp.where((level > silence)[:, None], counted, sums)
        return sums, jnp.maximum(sums[:, 0] / jnp.maximum(sums[:, 1], 1e-9), silence)

    carry, averages = jax.lax.scan(step, carry, levels.T)
    return averages.T, carry


class Normalise(nn.Module):
    """Makes magnitudes independent of the song's level, compresses and standardises them.

    The mixture is first brought to the data set's mean level, judged by a causal running average;
    so a quieter song looks the same. Then the logarithm of each bin is shifted and scaled by its
    mean and deviation in the data set (whose own levels vary: the result is only about standard).

    Attributes:
      stft: format of the magnitudes.
      level_seconds: time constant of the running average; 0 takes each frame by itself.
      enabled: if not, the features are the magnitudes as they are.
    """

    stft: StftConfig
    level_seconds: float
    enabled: bool = True

    @nn.compact
    def __call__(self, magnitude: jax.Array, carry: LevelCarry) -> tuple[jax.Array, LevelCarry]:
        """Maps `[batch, frames, channels, bins]` to features `[batch, frames, channels * bins]`."""
        shape = (self.stft.bins,)
        mean = self.variable("statistics", "mean", jnp.ones, shape).value
        log_mean = self.variable("statistics", "log_mean", jnp.zeros, shape).value
        log_std = self.variable("statistics", "log_std", jnp.ones, shape).value
        if not self.enabled:
            return magnitude.reshape(*magnitude.shape[:2], -1), carry
        silence = self.stft.magnitude_floor
        level = magnitude.mean(axis=(2, 3))
        if self.level_seconds:
            hop_seconds = self.stft.hop_length / self.stft.sample_rate
            decay = math.exp(-hop_seconds / self.level_seconds)
            level, carry = running_level(level, carry, decay=decay, silence=silence)
        gain = mean.mean() / jnp.maximum(level, silence)
        levelled = magnitude * gain[:, :, None, None]
        features = (jnp.log(levelled + self.stft.magnitude_floor) - log_mean) / log_std
        return features.reshape(*features.shape[:2], -1), carry


class Dense(nn.Dense):
    """A dense layer and its activation: one layer, also to `jaxsep.health`."""

    activation: Callable[[jax.Array], jax.Array] = nn.relu

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return self.activation(super().__call__(inputs))


class MaskHead(nn.Module):
    """Answers with a mask: a dense layer and a sigmoid.

    Attributes:
      stft: format of the mask.
      dtype: of the dense layer's product; the mask itself is float32.
    """

    stft: StftConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps `[batch, frames, features]` to masks `[batch, frames, channels, bins]` in 0 to 1."""
        units = self.stft.channels * self.stft.bins
        logits = nn.Dense(units, dtype=self.dtype, name="dense")(features)
        mask = nn.sigmoid(logits.astype(jnp.float32))
        return mask.reshape(*features.shape[:2], self.stft.channels, self.stft.bins)
