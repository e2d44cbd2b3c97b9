"""Open-Unmix's masker: three LSTM layers between dense layers, all batch-normalised.

It runs the weights that others trained (`jaxsep.convert.openunmix` reads them) and is trained by
`configs/openunmix.py`. Where the collection `statistics` is mutable, the batch's own statistics
normalise it; where there are random numbers named `dropout`, it drops outputs of its LSTM layers.

Reference: Stöter et al., Open-Unmix: a reference implementation for music source separation, 2019.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.models.layers import BatchNorm
from jaxsep.models.lstm import LSTMLayer, LSTMMasker
from jaxsep.models.lstm_scan import LSTMCarry
from jaxsep.stft_config import StftConfig

# Frames of a window in which `jaxsep.separation.wiener` filters.
WIENER_FRAMES = 300


class InputScale(nn.Module):
    """Standardises magnitudes, by numbers that begin as the data set's and are trained on."""

    @nn.compact
    def __call__(self, magnitude: jax.Array) -> jax.Array:
        """Maps `[..., bins]` to the same shape."""
        shape = magnitude.shape[-1:]
        mean = self.param("mean", nn.initializers.zeros, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        return (magnitude + mean) * scale


class OutputScale(nn.Module):
    """Scales what the last layer says of each bin, and answers with a mask, which may exceed 1."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., bins]` to masks of the same shape."""
        shape = x.shape[-1:]
        mean = self.param("mean", nn.initializers.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        return nn.relu(x * scale + mean)


class OpenUnmixMasker(nn.Module):
    """A dense layer, LSTM layers, and two dense layers that see both; the mask has no upper limit.

    Attributes:
      stft: format of the magnitudes.
      hidden_size: units of each inner layer; even if `bidirectional`.
      num_layers: LSTM layers.
      bidirectional: look at later frames too; not causal then.
      low_bins: that the network sees; 1487 are those up to 16 kHz in frames of 4096 at 44.1 kHz.
      dropout: share of an LSTM layer's outputs that the next one doesn't get in training.
      unroll: of `lstm_scan`; changes speed alone.
      dtype: of the matrix products; parameters, states and masks are float32.
    """

    stft: StftConfig
    hidden_size: int = 512
    num_layers: int = 3
    bidirectional: bool = True
    low_bins: int = 1487
    dropout: float = 0.4
    unroll: int = 1
    dtype: jnp.dtype = jnp.float32

    lead_frames = 0
    # The network knows levels: Open-Unmix gives it a single channel twice, as it is.
    mono_gain = 1.0
    # Open-Unmix takes a song as a whole, in memory that grows with it. It filters it (see
    # `jaxsep.separation.wiener`) in windows; three of them are ready at a time.
    overlap_frames = LSTMMasker.overlap_frames
    window_frames = 3 * WIENER_FRAMES + overlap_frames

    def __post_init__(self):
        super().__post_init__()
        if self.num_layers < 1 or (self.bidirectional and self.hidden_size % 2):
            raise ValueError(
                f"num_layers={self.num_layers} must be at least 1, and hidden_size="
                f"{self.hidden_size} even for a bidirectional model"
            )
        if not 1 <= self.low_bins <= self.stft.bins:
            raise ValueError(
                f"low_bins={self.low_bins} must be 1 to {self.stft.bins}, those of the transform"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and less than 1")

    @property
    def is_causal(self) -> bool:
        return not self.bidirectional

    def initial_carry(self, batch: int) -> list[LSTMCarry]:
        """Returns the state before the first frame."""
        units = self.hidden_size // (2 if self.bidirectional else 1)
        state = (jnp.zeros((batch, units)), jnp.zeros((batch, units)))
        return [state] * self.num_layers

    @nn.compact
    def __call__(
        self, magnitude: jax.Array, carry: list[LSTMCarry], *, valid: jax.Array | None = None
    ) -> tuple[jax.Array, list[LSTMCarry]]:
        """Predicts masks; see `jaxsep.models`."""
        batch, frames, channels, bins = magnitude.shape
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
        x = InputScale(name="input")(magnitude[..., : self.low_bins]).reshape(batch, frames, -1)
        x = dense(self.hidden_size, name="dense_1")(x)
        x = jnp.tanh(BatchNorm(name="norm_1")(x, valid))
        skipped, states = x, []
        is_certain = not self.has_rng("dropout")
        for index, state in enumerate(carry):
            if index:
                x = nn.Dropout(self.dropout, deterministic=is_certain, name=f"dropout_{index}")(x)
            name = f"lstm_{index + 1}"
            layer = LSTMLayer(
                self.hidden_size, self.bidirectional, self.unroll, self.dtype, name=name
            )
            x, state = layer(x, state, valid=valid)
            states.append(state)
        x = dense(self.hidden_size, name="dense_2")(jnp.concatenate([skipped, x], axis=-1))
        x = nn.relu(BatchNorm(name="norm_2")(x, valid))
        x = BatchNorm(name="norm_3")(dense(channels * bins, name="dense_3")(x), valid)
        mask = OutputScale(name="output")(x.astype(jnp.float32).reshape(magnitude.shape))
        return mask, states
