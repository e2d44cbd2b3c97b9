"""Splits spectra into bands of bins, and answers for each band.

A network for each band would be dozens of small products. Neighbouring bands are padded to one
width instead, and each such group is one batched product.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

# Padding may fill at most this share of a group of bands.
MOST_PADDING = 0.3
# Mean squares below this one, of signals of full scale 1 and more, count as silence.
EPSILON = 1e-8
# Of a dense layer for each band.
_init = nn.initializers.lecun_normal(batch_axis=0)


@dataclasses.dataclass(frozen=True)
class Bands:
    """Consecutive bands that fill all bins.

    Attributes:
      widths: Number of bins of each band.
    """

    widths: tuple[int, ...]

    @property
    def groups(self) -> list["BandGroup"]:
        """Groups of neighbouring bands, in order."""
        runs: list[list[int]] = []
        for width in self.widths:
            run = [*(runs[-1] if runs else []), width]
            if runs and sum(run) >= (1 - MOST_PADDING) * len(run) * max(run):
                runs[-1] = run
            else:
                runs.append([width])
        groups, low = [], 0
        for run in runs:
            lows = low + np.cumsum([0, *run[:-1]])
            groups.append(BandGroup(lows, np.array(run)))
            low += sum(run)
        return groups


@dataclasses.dataclass(frozen=True)
class BandGroup:
    """Neighbouring bands that are padded to the widest of them.

    Attributes:
      lows: Lowest bin of each band.
      widths: Number of bins of each band.
    """

    lows: np.ndarray
    widths: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """Bool `[bands, width]`; False for padding."""
        return np.arange(self.widths.max()) < self.widths[:, None]

    def take(self, x: Float[Array, "rows planes bins"]) -> Float[Array, "bands rows planes width"]:
        """Returns the bins of each band, and zeros for padding."""
        bins = self.lows[:, None] + np.arange(self.widths.max())
        taken = x[..., np.minimum(bins, x.shape[-1] - 1)] * self.inside[None, None]
        return jnp.moveaxis(taken, 2, 0)


def rms_norm(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """Scales the last axis to a mean square of 1, and each feature by a factor that is trained.

    Nothing from other frames or bands comes in, so it is causal.

    Reference: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """
    scale = module.param(name, nn.initializers.ones, x.shape[-1:])
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + EPSILON) * jnp.broadcast_to(scale, x.shape)


class BandSplit(nn.Module):
    """Maps each band's bins to features by a dense layer of its own.

    Attributes:
      bands: Bands of the bins.
      features: Number of features of a band.
      normalise: Whether each band is scaled to a mean square of 1 in each frame first, and its
        level enters as a number beside it.
      dtype: Data type of the matrix products.
    """

    bands: Bands
    features: int
    normalise: bool
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(
        self, x: Float[Array, "rows planes bins"], level: Float[Array, " rows"]
    ) -> Float[Array, "rows bands features"]:
        """Maps bins to features.

        Args:
          x: Numbers of each bin: for example its real and imaginary parts of each channel.
          level: Level that the levels of the bands are compared with; more than 0.
        """
        outputs = []
        for index, group in enumerate(self.bands.groups):
            taken = group.take(x)
            taken = taken.reshape(*taken.shape[:2], -1)
            shape = (len(group.widths), taken.shape[-1], self.features)
            kernel = self.param(f"kernel_{index}", _init, shape)
            bias = self.param(f"bias_{index}", nn.initializers.zeros, (shape[0], self.features))
            loudness = None
            if self.normalise:
                numbers = x.shape[1] * group.widths[:, None, None]
                mean_square = jnp.sum(jnp.square(taken), axis=-1, keepdims=True) / numbers
                taken = taken * jax.lax.rsqrt(mean_square + EPSILON)
                loudness = jnp.log(jnp.sqrt(mean_square + EPSILON) / level[None, :, None] + 1e-5)
            out = jnp.einsum("gri,gin->rgn", taken.astype(self.dtype), kernel.astype(self.dtype))
            out = out.astype(jnp.float32) + bias[None]
            if loudness is not None:
                weight = self.param(f"level_{index}", nn.initializers.normal(0.3), bias.shape)
                out = out + jnp.moveaxis(loudness, 0, 1) * weight[None]
            outputs.append(out)
        return jnp.concatenate(outputs, axis=1)


class BandMasks(nn.Module):
    """Answers with numbers for each bin, by a small network for each band.

    Attributes:
      bands: Bands of the bins.
      hidden_size: Units of each network's inner layer.
      planes: Numbers for each bin.
      dtype: Data type of the matrix products; the answers are float32.
    """

    bands: Bands
    hidden_size: int
    planes: int
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: Float[Array, "rows bands features"]) -> Float[Array, "rows planes bins"]:
        """Maps features to numbers."""
        x = rms_norm(self, "scale", x).astype(self.dtype)
        kernel = self.param("hidden", _init, (*x.shape[1:], self.hidden_size)).astype(self.dtype)
        hidden = jnp.tanh(jnp.einsum("rkn,knh->krh", x, kernel))
        outputs, places, first, start = [], [], 0, 0
        for index, group in enumerate(self.bands.groups):
            num, width = group.inside.shape
            shape = (num, self.hidden_size, self.planes * width)
            kernel = self.param(f"kernel_{index}", _init, shape).astype(self.dtype)
            bias = self.param(f"bias_{index}", nn.initializers.zeros, (num, shape[-1]))
            out = jnp.einsum("grh,ghi->rgi", hidden[first : first + num], kernel)
            out = out.astype(jnp.float32) + bias[None]
            out = jnp.moveaxis(out.reshape(len(x), num, self.planes, width), 2, 1)
            outputs.append(out.reshape(len(x), self.planes, num * width))
            places.append(start + np.flatnonzero(group.inside))
            first, start = first + num, start + num * width
        return jnp.concatenate(outputs, axis=-1)[..., np.concatenate(places)]
