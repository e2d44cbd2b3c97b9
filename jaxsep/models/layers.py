"""Layers that several maskers share: how they see a mixture and how they answer."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jaxsep.models.masker import Statistics, Variables
from jaxsep.stft_config import StftConfig

# State of a running level: decayed sums of the levels and of ones.
LevelCarry = Float[Array, "batch 2"]
# A mask this near to its limits passes hardly any gradient.
SATURATED_MASK = 1e-6


def is_watched(layer: nn.Module) -> bool:
    """Tells whether a layer should report numbers, by `sow("health", name, value)`.

    What is sown under a name that ends in `_max` is joined by its maximum, the rest by its mean;
    see `jaxsep.training.health`.
    """
    return layer.is_mutable_collection("health") and not layer.is_initializing()


def running_level(
    levels: Float[Array, "batch frames"], carry: LevelCarry, *, decay: float, silence: float
) -> tuple[Float[Array, "batch frames"], LevelCarry]:
    """Averages levels over the past, with exponentially fading weights.

    Silence doesn't count, so a pause leaves the average as it is.

    Args:
      levels: Level of each frame.
      carry: Sums after the frames before; zeros at the start.
      decay: Factor by which the weight of a frame falls from one frame to the next.
      silence: Levels up to this one are left out.

    Returns:
      The averages, at least `silence`, and the next carry.
    """

    def step(sums, level):
        counted = decay * sums + jnp.stack([level, jnp.ones_like(level)], axis=-1)
        sums = jnp.where((level > silence)[:, None], counted, sums)
        return sums, jnp.maximum(sums[:, 0] / jnp.maximum(sums[:, 1], 1e-9), silence)

    carry, averages = jax.lax.scan(step, carry, levels.T)
    return averages.T, carry


def song_level(
    magnitude: Float[Array, "batch frames channels bins"],
    carry: LevelCarry,
    stft: StftConfig,
    seconds: float,
) -> tuple[Float[Array, "batch frames"], LevelCarry]:
    """Judges how loud a song is so far.

    Args:
      magnitude: Magnitudes of the mixture.
      carry: State after the frames before; zeros at the start.
      stft: Format of the magnitudes.
      seconds: Time constant of the running average; 0 takes each frame by itself.

    Returns:
      The running mean magnitude, at least `stft.magnitude_floor`, and the next state.
    """
    levels, silence = magnitude.mean(axis=(2, 3)), stft.magnitude_floor
    if not seconds:
        return jnp.maximum(levels, silence), carry
    decay = math.exp(-stft.hop_length / stft.sample_rate / seconds)
    return running_level(levels, carry, decay=decay, silence=silence)


def to_bands(x: Float[Array, "*batch bins"], fine_bins: int) -> Float[Array, "*batch bands"]:
    """Averages bins to bands: the lowest bins stay, and each octave above has half as many bands.

    Neither hearing nor voices resolve high frequencies more finely, and the layers get smaller.

    Args:
      x: Values of the bins.
      fine_bins: Number of bins that are bands of their own; `bins - 1` is this times a power of
        two.

    Returns:
      Values of the bands: `fine_bins / 2` for each octave, and one for the last bin.
    """
    parts = [x[..., :fine_bins]]
    for low, width in _octaves(x.shape[-1], fine_bins):
        parts.append(x[..., low : 2 * low].reshape(*x.shape[:-1], -1, width).mean(axis=-1))
    return jnp.concatenate([*parts, x[..., -1:]], axis=-1)


def from_bands(
    x: Float[Array, "*batch bands"], fine_bins: int, bins: int
) -> Float[Array, "*batch bins"]:
    """Gives each bin the value of its band; see `to_bands`."""
    parts, first = [x[..., :fine_bins]], fine_bins
    for low, width in _octaves(bins, fine_bins):
        parts.append(jnp.repeat(x[..., first : first + low // width], width, axis=-1))
        first += low // width
    return jnp.concatenate([*parts, x[..., -1:]], axis=-1)


def num_bands(bins: int, fine_bins: int) -> int:
    """Counts the bands of `to_bands`.

    Raises:
      ValueError: If octaves above `fine_bins` don't fill `bins`.
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

    A causal running average judges the mixture's level and brings it to the data set's mean level,
    so a quieter song looks the same. The logarithm of each bin is then shifted and scaled by its
    mean and standard deviation in the data set; or each bin is divided by its mean there and raised
    to a power.

    Attributes:
      stft: Format of the magnitudes.
      level_seconds: Time constant of the running average, in seconds; 0 takes each frame by itself.
      enabled: If False, the features are the magnitudes as they are.
      fine_bins: Number of bins that aren't merged, see `to_bands`; 0 merges none.
      exponent: Power of the magnitudes; 0 takes their logarithm.
    """

    stft: StftConfig
    level_seconds: float
    enabled: bool = True
    fine_bins: int = 0
    exponent: float = 0.0

    @nn.compact
    def __call__(
        self, magnitude: Float[Array, "batch frames channels bins"], carry: LevelCarry
    ) -> tuple[Float[Array, "batch frames features"], LevelCarry]:
        """Turns magnitudes into `channels * bands` features."""
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
        level, carry = song_level(magnitude, carry, self.stft, self.level_seconds)
        gain = mean.mean() / level
        levelled = magnitude * gain[:, :, None, None]
        if self.exponent:
            mean = jnp.broadcast_to(jnp.maximum(mean, self.stft.magnitude_floor), levelled.shape)
            features = (levelled / mean) ** self.exponent
            return features.reshape(*features.shape[:2], -1), carry
        features = jnp.log(levelled + self.stft.magnitude_floor)
        log_mean, log_std = (jnp.broadcast_to(x, features.shape) for x in (log_mean, log_std))
        features = (features - log_mean) / log_std
        return features.reshape(*features.shape[:2], -1), carry


def with_normalise(variables: Variables, statistics: Statistics) -> Variables:
    """Gives the layer `normalise` of a masker the statistics of the data set."""
    wanted = variables["statistics"]["normalise"]
    known = {name: jnp.asarray(statistics[name]) for name in wanted}
    return {**variables, "statistics": {**variables["statistics"], "normalise": known}}


class Dense(nn.Dense):
    """A dense layer with its activation; to `jaxsep.training.health` they are one layer."""

    activation: Callable[[jax.Array], jax.Array] = nn.relu

    def __call__(
        self, inputs: Float[Array, "batch frames inputs"]
    ) -> Float[Array, "batch frames features"]:
        """Maps features to features."""
        outputs = self.activation(super().__call__(inputs))
        if self.activation is nn.relu and is_watched(self):
            self.sow("health", "dead", jnp.mean(jnp.all(outputs == 0, axis=(0, 1))))
        return outputs


class FixedNorm(nn.Module):
    """Batch normalisation by stored statistics, which are only read.

    Attributes:
      epsilon: Number that is added to the variance.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """Normalises each feature."""
        shape = x.shape[-1:]
        mean = self.variable("statistics", "mean", jnp.zeros, shape).value
        var = self.variable("statistics", "var", jnp.ones, shape).value
        return self._normalise(x, mean, var)

    def _normalise(self, x: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        factor, shift = (jnp.broadcast_to(n, x.shape) for n in (factor, bias - mean * factor))
        return (x * factor + shift).astype(x.dtype)


class BatchNorm(FixedNorm):
    """Batch normalisation that is trained.

    Where the collection `statistics` is mutable, the statistics of the batch, over all devices,
    normalise it, and the running ones move towards them. Elsewhere this is `FixedNorm`.

    It isn't `flax.linen.BatchNorm`, which lets the biased variance run, where PyTorch, whose
    numbers these are, lets the unbiased one run; and whose collection can't be named `statistics`.

    Attributes:
      momentum: Share by which the running statistics move towards the batch's in a step.

    Reference: Ioffe and Szegedy, Batch normalization, 2015.
    """

    momentum: float = 0.1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frames features"],
        valid: Bool[Array, "batch frames"] | None = None,
    ) -> Float[Array, "batch frames features"]:
        """Normalises each feature.

        Args:
          x: Features.
          valid: Frames that count in the statistics; None stands for all.
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
    """Answers with masks for all targets, by a dense layer and a sigmoid.

    Attributes:
      stft: Format of the masks.
      num_targets: Number of targets.
      fine_bins: Number of bins that aren't merged, see `to_bands`; 0 merges none.
      mask_limit: Largest mask. Above 1 a masked bin can be louder than the mixture's, as vocals are
        where the rest has the opposite phase.
      dtype: Data type of the dense layer's product; the masks are float32.
    """

    stft: StftConfig
    num_targets: int = 1
    fine_bins: int = 0
    mask_limit: float = 1.0
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch frames features"]
    ) -> Float[Array, "batch targets frames channels bins"]:
        """Predicts masks from features."""
        channels, bins, fine = self.stft.channels, self.stft.bins, self.fine_bins
        bands = num_bands(bins, fine) if fine else bins
        dense = nn.Dense(self.num_targets * channels * bands, dtype=self.dtype, name="dense")
        masks = self.mask_limit * nn.sigmoid(dense(features).astype(jnp.float32))
        if is_watched(self):
            from_edge = jnp.minimum(masks, self.mask_limit - masks)
            self.sow("health", "saturated", jnp.mean(from_edge < SATURATED_MASK))
        masks = masks.reshape(*features.shape[:2], self.num_targets, channels, bands)
        masks = jnp.moveaxis(masks, 2, 1)
        return from_bands(masks, fine, bins) if fine else masks
