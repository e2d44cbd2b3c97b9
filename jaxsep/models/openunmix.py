"""Open-Unmix's masker: three LSTM layers between dense layers, all batch-normalised.

It runs the weights that others trained (`jaxsep.convert.openunmix` reads them), and
`configs/openunmix.py` trains it.

Reference: Stöter et al., Open-Unmix: a reference implementation for music source separation, 2019.
"""

import functools
from collections.abc import Iterable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxsep.models.layers import BatchNorm
from jaxsep.models.lstm import WINDOWS as LSTM_WINDOWS
from jaxsep.models.lstm import LSTMLayer, check_sizes, initial_states
from jaxsep.models.lstm_scan import LSTMCarry
from jaxsep.models.masker import Masks, Statistics, Traits, Valid, Variables, Windows
from jaxsep.stft_config import StftConfig

# Frames in which `jaxsep.separation.wiener` filters.
WIENER_FRAMES = 300
# Open-Unmix takes a song as a whole, in memory that grows with it, and filters it (see
# `jaxsep.separation.wiener`) in parts. Here a window has three of these ready at a time.
WINDOWS = Windows(3 * WIENER_FRAMES + LSTM_WINDOWS.overlap, LSTM_WINDOWS.overlap)


class InputScale(nn.Module):
    """Standardises magnitudes by parameters that begin as the statistics of the data set."""

    @nn.compact
    def __call__(self, magnitude: Float[Array, "*batch bins"]) -> Float[Array, "*batch bins"]:
        """Shifts and scales each bin."""
        shape = magnitude.shape[-1:]
        mean = self.param("mean", nn.initializers.zeros, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        mean, scale = (jnp.broadcast_to(x, magnitude.shape) for x in (mean, scale))
        return (magnitude + mean) * scale


class OutputScale(nn.Module):
    """Scales the last layer's output in each bin and cuts it off below 0."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch bins"]) -> Float[Array, "*batch bins"]:
        """Turns outputs into masks, which may exceed 1."""
        shape = x.shape[-1:]
        mean = self.param("mean", nn.initializers.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        mean, scale = (jnp.broadcast_to(n, x.shape) for n in (mean, scale))
        return nn.relu(x * scale + mean)


class OpenUnmixMasker(nn.Module):
    """A dense layer, LSTM layers, and two dense layers that see the output of both.

    Its masks have no upper limit.

    Attributes:
      stft: Format of the magnitudes.
      targets: Names of the targets, which share all layers but the last.
      hidden_size: Units of each inner layer; even if `bidirectional`.
      num_layers: Number of LSTM layers.
      bidirectional: Whether the network sees later frames too; it isn't causal then.
      low_bins: Number of the lowest bins that the network sees; 1487 reach to 16 kHz in frames of
        4096 samples at 44.1 kHz.
      dropout: Share of the outputs of an LSTM layer that the next one doesn't get in training.
      unroll: Steps in one iteration of `lstm_scan`; changes speed alone.
      dtype: Data type of the matrix products; parameters, states and masks are float32.
    """

    stft: StftConfig
    targets: tuple[str, ...] = ("vocals",)
    hidden_size: int = 512
    num_layers: int = 3
    bidirectional: bool = True
    low_bins: int = 1487
    dropout: float = 0.4
    unroll: int = 1
    dtype: jnp.dtype = jnp.dtype("float32")

    def __post_init__(self):
        super().__post_init__()
        check_sizes(
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )
        if not 1 <= self.low_bins <= self.stft.bins:
            raise ValueError(
                f"low_bins={self.low_bins} must be 1 to {self.stft.bins}, those of the transform"
            )

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used.

        A mono signal keeps its level: Open-Unmix gives the network a single channel twice.
        """
        windows = WINDOWS if self.bidirectional else None
        return Traits(windows=windows, dropout=self.dropout, mixes_examples=True)

    def initial_carry(self, batch: int) -> list[LSTMCarry]:
        """Returns the state before the first frame."""
        return initial_states(
            batch, self.hidden_size, self.num_layers, bidirectional=self.bidirectional
        )

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames channels bins"],
        carry: list[LSTMCarry],
        *,
        valid: Valid | None = None,
    ) -> tuple[Masks, list[LSTMCarry]]:
        """Predicts masks; see `Masker`."""
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
        num_targets = len(self.targets)
        x = dense(num_targets * channels * bins, name="dense_3")(x)
        x = BatchNorm(name="norm_3")(x, valid).astype(jnp.float32)
        x = x.reshape(batch, frames, num_targets, channels, bins)
        return jnp.moveaxis(OutputScale(name="output")(x), 2, 1), states

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns variables whose input scale begins as the data set's; see `Masker`."""
        mean, std = (jnp.asarray(statistics[name][: self.low_bins]) for name in ("mean", "std"))
        params = {**variables["params"], "input": {"mean": -mean, "scale": 1 / std}}
        return {**variables, "params": params}

    def only(self, targets: Iterable[str]) -> "OpenUnmixMasker":
        """Returns the masker itself: the targets share its layers."""
        del targets
        return self
