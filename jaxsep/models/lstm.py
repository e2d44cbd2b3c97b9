"""The recurrent masker: LSTM layers between dense layers, scanned over time."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.models.layers import Dense, MaskHead, Normalise, num_bands
from jaxsep.models.lstm_scan import LSTMCarry, lstm_scan
from jaxsep.stft_config import StftConfig


def _bias_init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Opens the forget gates at first, so that gradients reach far back."""
    del key
    return jnp.zeros(shape).reshape(4, -1).at[1].set(1.0).reshape(shape)


class LSTMLayer(nn.Module):
    """One LSTM layer.

    Attributes:
      hidden_size: units, of both directions together.
      bidirectional: half of the units run backwards in time.
      unroll: of `lstm_scan`, as `dtype` and `cell_limit`.

    Where the collection `health` is mutable, it stores there what `lstm_scan` watches.
    """

    hidden_size: int
    bidirectional: bool = False
    unroll: int = 1
    dtype: jnp.dtype = jnp.float32
    cell_limit: float = math.inf

    def _direction(self, name: str, x: jax.Array, carry: LSTMCarry, **kwargs):
        units = self.hidden_size // (2 if self.bidirectional else 1)
        w_ih = self.param(f"{name}_w_ih", nn.initializers.lecun_normal(), (x.shape[-1], 4 * units))
        w_hh = self.param(f"{name}_w_hh", nn.initializers.orthogonal(), (units, 4 * units))
        bias = self.param(f"{name}_bias", _bias_init, (4 * units,))
        watch = self.is_mutable_collection("health") and not self.is_initializing()
        kwargs |= {"cell_limit": self.cell_limit, "unroll": self.unroll}
        kwargs |= {"dtype": self.dtype, "watch": watch}
        outputs, next_carry, seen = lstm_scan(x, carry, w_ih, w_hh, bias, **kwargs)
        if watch:
            self.sow("health", name, seen)
        return outputs, next_carry

    @nn.compact
    def __call__(
        self, x: jax.Array, carry: LSTMCarry, *, valid: jax.Array | None = None
    ) -> tuple[jax.Array, LSTMCarry]:
        """Maps `[batch, frames, features]` to `[batch, frames, hidden_size]`."""
        outputs, next_carry = self._direction("forward", x, carry)
        if self.bidirectional:
            # The future has no carry: the backward state starts from zero at the end of `x`.
            start = jax.tree.map(jnp.zeros_like, carry)
            backward, _ = self._direction("backward", x, start, reverse=True, valid=valid)
            outputs = jnp.concatenate([outputs, backward], axis=-1)
            # Nor has the past: a window begins at rest at both of its ends. Carrying the forward
            # state on brought a song in windows no nearer to the song as a whole.
            next_carry = carry
        return outputs, next_carry


class LSTMMasker(nn.Module):
    """A dense layer, LSTM layers, and two dense layers that see both.

    Attributes:
      stft: format of the magnitudes.
      hidden_size: units of each inner layer; even if `bidirectional`.
      num_layers: LSTM layers.
      bidirectional: look at later frames too; not causal then.
      level_seconds: time constant of the running level, see `Normalise`.
      normalise: see `Normalise`; without, the network gets the magnitudes as they are.
      cell_limit: of `lstm_scan`. No state reaches it in as many frames, so training on shorter
        crops is the same without; in an endless stream it keeps the states near those of then.
      dropout: share of an LSTM layer's inputs and outputs that are left out in training, where
        there are random numbers of that name.
      fine_bins: merge the bins above, in input and mask, see `common.to_bands`; 0: none.
      mask_limit: the largest mask, see `MaskHead`.
      unroll: of `lstm_scan`; changes speed alone.
      dtype: of the matrix products; parameters, states and masks are float32.
    """

    stft: StftConfig
    hidden_size: int = 512
    num_layers: int = 1
    bidirectional: bool = False
    level_seconds: float = 10.0
    normalise: bool = True
    dropout: float = 0.0
    fine_bins: int = 0
    mask_limit: float = 1.0
    unroll: int = 1
    dtype: jnp.dtype = jnp.float32
    cell_limit: float = 256.0

    lead_frames = 0
    mono_gain = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.num_layers < 1 or (self.bidirectional and self.hidden_size % 2):
            raise ValueError(
                f"num_layers={self.num_layers} must be at least 1, and hidden_size="
                f"{self.hidden_size} even for a bidirectional model"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and less than 1")
        if self.mask_limit <= 0:
            raise ValueError(f"mask_limit={self.mask_limit} must be above 0")
        if self.fine_bins:
            num_bands(self.stft.bins, self.fine_bins)  # raises if they don't fit

    # How a bidirectional model goes through a song. With three layers trained on MIR-1K the vocals
    # of six minutes differ by -41 dB from those of the whole at once (`benchmarks.windows`); an
    # overlap of 512 makes it 2 dB less, a window of 512 2 dB more.
    window_frames = 1024
    overlap_frames = 256

    @property
    def is_causal(self) -> bool:
        return not self.bidirectional

    def initial_carry(self, batch: int) -> dict[str, Any]:
        """Returns the state before the first frame."""
        units = self.hidden_size // (2 if self.bidirectional else 1)
        state = (jnp.zeros((batch, units)), jnp.zeros((batch, units)))
        return {"level": jnp.zeros((batch, 2)), "lstm": [state] * self.num_layers}

    @nn.compact
    def __call__(
        self, magnitude: jax.Array, carry: dict[str, Any], *, valid: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts masks; see `jaxsep.models`."""
        normalise = Normalise(
            self.stft, self.level_seconds, self.normalise, self.fine_bins, name="normalise"
        )
        x, level = normalise(magnitude, carry["level"])
        dense = functools.partial(Dense, self.hidden_size, dtype=self.dtype)
        x = dense(activation=jnp.tanh, name="dense_1")(x)
        # As in Open-Unmix, the later layers see what entered the recurrence beside its result.
        skipped, states = x, []
        for index, state in enumerate(carry["lstm"]):
            name = f"lstm_{index + 1}"
            layer = LSTMLayer(
                self.hidden_size,
                self.bidirectional,
                self.unroll,
                self.dtype,
                self.cell_limit,
                name=name,
            )
            x, state = layer(self._drop(x, index), state, valid=valid)
            states.append(state)
        x = jnp.concatenate([skipped, self._drop(x, self.num_layers)], axis=-1)
        x = dense(name="dense_2")(x)
        mask = MaskHead(self.stft, self.fine_bins, self.mask_limit, self.dtype, name="mask")(x)
        return mask, {"level": level, "lstm": states}

    def _drop(self, x: jax.Array, index: int) -> jax.Array:
        if not self.dropout:
            return x
        is_certain = not self.has_rng("dropout")
        return nn.Dropout(self.dropout, deterministic=is_certain, name=f"dropout_{index + 1}")(x)
