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


def to_bands(x: jax.Array, fine_bins: int) -> jax.Array:
    """Averages bins to bands: the lowest ones are kept, each octave above has half as many.

    Hearing and voices resolve high frequencies no finer, and the layers become smaller.

    Args:
      x: `[..., bins]`.
      fine_bins: bins that are bands of their own; bins - 1 is this times a power of two.

    Returns:
      `[..., bands]`; an octave has `fine_bins / 2` bands, and the last bin is a band of its own.
    """
    parts = [x[..., :fine_bins]]
    for low, width in _octaves(x.shape[-1], fine_bins):
        parts.append(x[..., low : 2 * low].reshape(*x.shape[:-1], -1, width).mean(axis=-1))
    return jnp.concatenate([*parts, x[..., -1:]], axis=-1)


def from_bands(x: jax.Array, fine_bins: int, bins: int) -> jax.Array:
    """Gives each bin its band's value: `[..., bands]` to `[..., bins]`; see `to_bands`."""
    parts, first = [x[..., :fine_bins]], fine_bins
    for low, width in _octaves(bins, fine_bins):
        parts.append(jnp.repeat(x[..., first : first + low // width], width, axis=-1))
        first += low // width
    return jnp.concatenate([*parts, x[..., -1:]], axis=-1)


def num_bands(bins: int, fine_bins: int) -> int:
    """Counts the bands of `to_bands`.

    Raises:
      ValueError: if octaves above `fine_bins` don't fill `bins`.
    """
    octaves = _octaves(bins, fine_bins)
    if fine_bins < 2 or fine_bins % 2 or fine_bins * 2 ** len(octaves) != bins - 1:
        raise ValueError(
            f"fine_bins={fine_bins} must be even and, times a power of two, be {bins - 1}"
        )
    return fine_bins + len(octaves) * fine_bins // 2 + 1


def _octaves(bins: int, fine_bins: int) -> list[tuple[int, int]]:
    """Lists the octaves above `fine_bins`: lowest bin, and bins in a band."""
    octaves = []
    while fine_bins * 2 ** len(octaves) < bins - 1:
        octaves.append((fine_bins * 2 ** len(octaves), 2 ** (len(octaves) + 1)))
    return octaves


class Normalise(nn.Module):
    """Makes magnitudes independent of the song's level, compresses and standardises them.

    The mixture is first brought to the data set's mean level, judged by a causal running average;
    so a quieter song looks the same. Then the logarithm of each bin is shifted and scaled by its
    mean and deviation in the data set (whose own levels vary: the result is only about standard).

    Attributes:
      stft: format of the magnitudes.
      level_seconds: time constant of the running average; 0 takes each frame by itself.
      enabled: if not, the features are the magnitudes as they are.
      fine_bins: see `to_bands`; 0 leaves all bins as they are.
    """

    stft: StftConfig
    level_seconds: float
    enabled: bool = True
    fine_bins: int = 0

    @nn.compact
    def __call__(self, magnitude: jax.Array, carry: LevelCarry) -> tuple[jax.Array, LevelCarry]:
        """Maps `[batch, frames, channels, bins]` to `[batch, frames, channels * bands]`."""
        shape = (self.stft.bins,)
        mean = self.variable("statistics", "mean", jnp.ones, shape).value
        log_mean = self.variable("statistics", "log_mean", jnp.zeros, shape).value
        log_std = self.variable("statistics", "log_std", jnp.ones, shape).value
        if self.fine_bins:
            magnitude, mean, log_mean, log_std = (
                to_bands(x, self.fine_bins) for x in (magnitude, mean, log_mean, log_std)
            )
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
    """A dense layer and its activation: one layer, also to `jaxsep.training.health`."""

    activation: Callable[[jax.Array], jax.Array] = nn.relu

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return self.activation(super().__call__(inputs))


class FixedNorm(nn.Module):
    """Batch normalisation by the statistics of the training, which are only read.

    Attributes:
      epsilon: is added to the variance.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., filters]` to the same shape."""
        shape = x.shape[-1:]
        mean = self.variable("statistics", "mean", jnp.zeros, shape).value
        var = self.variable("statistics", "var", jnp.ones, shape).value
        return self._normalise(x, mean, var)

    def _normalise(self, x: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(x.dtype)


class BatchNorm(FixedNorm):
    """Batch normalisation that is trained.

    Where the collection `statistics` is mutable, the batch's own statistics normalise it and the
    running ones move towards them; elsewhere it is `FixedNorm`. The batch is that of all devices.

    Flax's has the biased variance run, and PyTorch's, whose numbers these are, the unbiased one.

    Attributes:
      momentum: how far the running statistics move in a step.

    Reference: Ioffe and Szegedy, Batch normalization, 2015.
    """

    momentum: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """Maps `[batch, frames, filters]` to the same shape.

        Args:
          x: to normalise.
          valid: bool `[batch, frames]`; other frames don't count in the statistics.
        """
        shape = x.shape[-1:]
        mean = self.variable("statistics", "mean", jnp.zeros, shape)
        var = self.variable("statistics", "var", jnp.ones, shape)
        if not self.is_mutable_collection("statistics") or self.is_initializing():
            return self._normalise(x, mean.value, var.value)
        counted = jnp.ones(x.shape[:2], bool) if valid is None else valid
        where = counted[..., None]
        seen = x.astype(jnp.float32)
        batch_mean = jnp.mean(seen, axis=(0, 1), where=where)
        batch_var = jnp.var(seen, axis=(0, 1), where=where)
        count = jnp.sum(counted)
        unbiased = batch_var * count / jnp.maximum(count - 1, 1)
        mean.value += self.momentum * (batch_mean - mean.value)
        var.value += self.momentum * (unbiased - var.value)
        return self._normalise(x, batch_mean, batch_var)


class MaskHead(nn.Module):
    """Answers with a mask: a dense layer and a sigmoid.

    Attributes:
      stft: format of the mask.
      fine_bins: see `to_bands`; 0 answers for each bin.
      mask_limit: what the sigmoid is multiplied with. Above 1 a masked bin can be louder than the
        mixture's, as vocals are where the rest has the opposite phase.
      dtype: of the dense layer's product; the mask itself is float32.
    """

    stft: StftConfig
    fine_bins: int = 0
    mask_limit: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps `[batch, frames, features]` to masks `[batch, frames, channels, bins]`."""
        channels, bins, fine = self.stft.channels, self.stft.bins, self.fine_bins
        bands = num_bands(bins, fine) if fine else bins
        logits = nn.Dense(channels * bands, dtype=self.dtype, name="dense")(features)
        mask = self.mask_limit * nn.sigmoid(logits.astype(jnp.float32))
        mask = mask.reshape(*features.shape[:2], channels, bands)
        return from_bands(mask, fine, bins) if fine else mask
