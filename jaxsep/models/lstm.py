"""The recurrent masker: LSTM layers between dense layers, scanned over time."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.models.common import Dense, MaskHead, Normalise, num_bands
from jaxsep.stft_config import StftConfig

# (h, c): output and cell state, [batch, hidden] each, float32.
LSTMCarry = tuple[jax.Array, jax.Array]

# A gate nearer than this to fully shut or fully open is saturated: little gradient passes it.
# Reference: Karpathy et al., Visualizing and understanding recurrent networks, 2015.
SATURATED = 0.1


def lstm_scan(
    x: jax.Array,
    carry: LSTMCarry,
    w_ih: jax.Array,
    w_hh: jax.Array,
    bias: jax.Array,
    *,
    reverse: bool = False,
    valid: jax.Array | None = None,
    unroll: int = 1,
    dtype: jnp.dtype = jnp.float32,
    watch: bool = False,
) -> tuple[jax.Array, LSTMCarry, dict[str, jax.Array] | None]:
    """Runs one direction of an LSTM layer over time.

    Args:
      x: inputs `[batch, frames, features]`.
      carry: state before the first frame (the last, if `reverse`).
      w_ih: input weights `[features, 4 * hidden]`, gates in the order i, f, g, o.
      w_hh: recurrent weights `[hidden, 4 * hidden]`.
      bias: `[4 * hidden]`.
      reverse: run from the last frame to the first.
      valid: bool `[batch, frames]`; the state passes unchanged over frames that are not.
      unroll: steps of the scan in one iteration of its loop.
      dtype: of the matrix products and of the outputs; gates and states are float32.
      watch: whether to compute the third result.

    Returns:
      Outputs `[batch, frames, hidden]` in the order of `x`; the state after the last step; and
      the scalars `saturated` (share of the gates i, f, o) and `cell_max` (largest cell state).

    Reference: Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.
    """
    # The input's part of the gates needs no recurrence: one large product instead of many small.
    w_ih, w_hh = w_ih.astype(dtype), w_hh.astype(dtype)
    gates_x = jnp.einsum("btf,fg->tbg", x.astype(dtype), w_ih).astype(jnp.float32) + bias

    def step(carry, inputs):
        h, c = carry
        gate_x, is_valid = inputs
        gates_h = (h.astype(dtype) @ w_hh).astype(jnp.float32)
        i, f, g, o = jnp.split(gate_x + gates_h, 4, axis=-1)
        i, f, o = nn.sigmoid(i), nn.sigmoid(f), nn.sigmoid(o)
        new_c = f * c + i * jnp.tanh(g)
        new_h = o * jnp.tanh(new_c)
        if is_valid is not None:
            new_h, new_c = jnp.where(is_valid, new_h, h), jnp.where(is_valid, new_c, c)
        return (new_h, new_c), (new_h.astype(dtype), _watch([i, f, o], new_c) if watch else None)

    is_valid = None if valid is None else valid.T[:, :, None]
    inputs = (gates_x, is_valid)
    carry, (outputs, seen) = jax.lax.scan(step, carry, inputs, reverse=reverse, unroll=unroll)
    if seen is not None:
        seen = {"saturated": jnp.mean(seen["saturated"]), "cell_max": jnp.max(seen["cell_max"])}
    return jnp.swapaxes(outputs, 0, 1), carry, seen


def _watch(gates: list[jax.Array], cell: jax.Array) -> dict[str, jax.Array]:
    is_open = jnp.stack(gates)
    saturated = (is_open < SATURATED) | (is_open > 1 - SATURATED)
    return {"saturated": jnp.mean(saturated), "cell_max": jnp.max(jnp.abs(cell))}


def _bias_init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Opens the forget gates at first, so that gradients reach far back."""
    del key
    return jnp.zeros(shape).reshape(4, -1).at[1].set(1.0).reshape(shape)


class LSTMLayer(nn.Module):
    """One LSTM layer.

    Attributes:
      hidden_size: units, of both directions together.
      bidirectional: half of the units run backwards in time.
      unroll: of `lstm_scan`, as `dtype`.

    Where the collection `health` is mutable, it stores there what `lstm_scan` watches.
    """

    hidden_size: int
    bidirectional: bool = False
    unroll: int = 1
    dtype: jnp.dtype = jnp.float32

    def _direction(self, name: str, x: jax.Array, carry: LSTMCarry, **kwargs):
        units = self.hidden_size // (2 if self.bidirectional else 1)
        w_ih = self.param(f"{name}_w_ih", nn.initializers.lecun_normal(), (x.shape[-1], 4 * units))
        w_hh = self.param(f"{name}_w_hh", nn.initializers.orthogonal(), (units, 4 * units))
        bias = self.param(f"{name}_bias", _bias_init, (4 * units,))
        watch = self.is_mutable_collection("health") and not self.is_initializing()
        kwargs |= {"unroll": self.unroll, "dtype": self.dtype, "watch": watch}
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
      fine_bins: merge the bins above, in input and mask, see `common.to_bands`; 0: none.
      unroll: of `lstm_scan`; changes speed alone.
      dtype: of the matrix products; parameters, states and masks are float32.
    """

    stft: StftConfig
    hidden_size: int = 512
    num_layers: int = 1
    bidirectional: bool = False
    level_seconds: float = 10.0
    normalise: bool = True
    fine_bins: int = 0
    unroll: int = 1
    dtype: jnp.dtype = jnp.float32

    lead_frames = 0
    mono_gain = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.num_layers < 1 or (self.bidirectional and self.hidden_size % 2):
            raise ValueError(
                f"num_layers={self.num_layers} must be at least 1, and hidden_size="
                f"{self.hidden_size} even for a bidirectional model"
            )
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
                self.hidden_size, self.bidirectional, self.unroll, self.dtype, name=name
            )
            x, state = layer(x, state, valid=valid)
            states.append(state)
        x = jnp.concatenate([skipped, x], axis=-1)
        x = dense(name="dense_2")(x)
        mask = MaskHead(self.stft, self.fine_bins, self.dtype, name="mask")(x)
        return mask, {"level": level, "lstm": states}
