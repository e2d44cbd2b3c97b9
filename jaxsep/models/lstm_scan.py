"""One direction of an LSTM layer over time, with two ways back: for few examples, and for many.

With few, what JAX derives from the scan adds to the recurrent weights' gradient in every step. That
reads and writes an array as large as the weights for a product with few rows. `_recur` has a
backward pass of its own instead: the steps only return the gates' gradients, and one large product
afterwards makes the weights' of them. With many examples it is the gates that are large: `_rerun`
computes them once more on the way back instead of storing them.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

# (h, c): output and cell state, float32.
LSTMCarry = tuple[Float[Array, "batch hidden"], Float[Array, "batch hidden"]]

# A gate nearer than this to fully shut or fully open is saturated: little gradient passes it.
# Reference: Karpathy et al., Visualizing and understanding recurrent networks, 2015.
SATURATED = 0.1


def lstm_scan(
    x: Float[Array, "batch frames features"],
    carry: LSTMCarry,
    w_ih: Float[Array, "features 4*hidden"],
    w_hh: Float[Array, "hidden 4*hidden"],
    bias: Float[Array, " 4*hidden"],
    *,
    reverse: bool = False,
    valid: Bool[Array, "batch frames"] | None = None,
    cell_limit: float = math.inf,
    unroll: int = 1,
    dtype: DTypeLike = jnp.float32,
    recompute: bool = False,
    watch: bool = False,
) -> tuple[Float[Array, "batch frames hidden"], LSTMCarry, dict[str, Float[Array, ""]] | None]:
    """Runs one direction of an LSTM layer over time.

    Args:
      x: Inputs.
      carry: State before the first frame (the last, if `reverse`).
      w_ih: Input weights, gates in the order i, f, g, o.
      w_hh: Recurrent weights.
      bias: Biases of the gates.
      reverse: Whether to run from the last frame to the first.
      valid: False for frames over which the state passes unchanged.
      cell_limit: Largest size of a cell state. A cell whose gates stand open counts the frames, in
        a long stream to many thousands, and counts as long to come back. A state grows by at most 1
        a frame: on crops of no more frames than the limit, training is the same without it.
      unroll: Steps of the scan in one iteration of its loop.
      dtype: Data type of the matrix products and the outputs; gates and states are float32.
      recompute: Whether the backward pass computes the gates once more instead of storing them.
        That takes little memory, and with hundreds of examples less time on CPUs, as a step's
        arrays stay in the cache.
      watch: Whether to compute the third result.

    Returns:
      Outputs in the order of `x`; the state after the last step; and the scalars `saturated` (share
      of the gates i, f, o) and `cell_max` (largest cell state).

    Reference: Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000, and the
    limit of Sak et al., Long short-term memory recurrent neural network architectures, 2014.
    """
    rows = jnp.swapaxes(x, 0, 1)
    is_valid = jnp.ones((*rows.shape[:2], 1), bool) if valid is None else valid.T[:, :, None]
    w_ih, w_hh = w_ih.astype(dtype), w_hh.astype(dtype)
    fixed = (reverse, cell_limit, unroll, watch)
    if recompute:
        outputs, carry, seen = _rerun(*fixed, rows.astype(dtype), w_ih, w_hh, bias, carry, is_valid)
    else:
        # The input's part of the gates needs no recurrence: one large product, not many small.
        gates_x = jnp.einsum("btf,fg->tbg", x.astype(dtype), w_ih)
        gates_x = gates_x.astype(jnp.float32) + bias[None, None]
        run = functools.partial(_recur, reverse, cell_limit, unroll, watch)
        outputs, carry, seen = run(gates_x, w_hh, carry, is_valid)
    return jnp.swapaxes(outputs, 0, 1).astype(dtype), carry, seen


def _rerun(reverse, cell_limit, unroll, watch, rows, w_ih, w_hh, bias, carry, is_valid):
    """Runs the recurrence on `[frames, batch, ...]`, and each step once more on the way back."""

    def step(carry, inputs):
        row, is_valid = inputs
        gate_x = (row @ w_ih).astype(jnp.float32) + bias[None]
        carry, gates = _step(carry, gate_x, is_valid, w_hh, cell_limit)
        return carry, (carry[0], _watch(gates, carry[1]) if watch else None)

    step = jax.checkpoint(step, prevent_cse=False)
    inputs = (rows, is_valid)
    carry, (outputs, seen) = jax.lax.scan(step, carry, inputs, reverse=reverse, unroll=unroll)
    return outputs, carry, _summarise(seen)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _recur(reverse, cell_limit, unroll, watch, gates_x, w_hh, carry, is_valid):
    """Runs the recurrence on `[frames, batch, ...]`; see `lstm_scan`."""

    def step(carry, inputs):
        gate_x, is_valid = inputs
        carry, gates = _step(carry, gate_x, is_valid, w_hh, cell_limit)
        return carry, (carry[0], _watch(gates, carry[1]) if watch else None)

    inputs = (gates_x, is_valid)
    carry, (outputs, seen) = jax.lax.scan(step, carry, inputs, reverse=reverse, unroll=unroll)
    return outputs, carry, _summarise(seen)


def _step(carry, gate_x, is_valid, w_hh, cell_limit):
    """Returns the next state, and the gates i, f, g, o side by side, `[batch, 4 * hidden]`."""
    h, c = carry
    gates = gate_x + (h.astype(w_hh.dtype) @ w_hh).astype(jnp.float32)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    new_c = jnp.clip(f * c + i * g, -cell_limit, cell_limit)
    new_h = o * jnp.tanh(new_c)
    carry = (jnp.where(is_valid, new_h, h), jnp.where(is_valid, new_c, c))
    return carry, jnp.concatenate([i, f, g, o], axis=-1)


def _watch(gates: jax.Array, cell: jax.Array) -> dict[str, jax.Array]:
    i, f, _, o = jnp.split(gates, 4, axis=-1)
    is_open = jnp.stack([i, f, o])
    saturated = (is_open < SATURATED) | (is_open > 1 - SATURATED)
    return {"saturated": jnp.mean(saturated), "cell_max": jnp.max(jnp.abs(cell))}


def _summarise(seen: dict[str, jax.Array] | None) -> dict[str, jax.Array] | None:
    """Sums up what was watched in each step."""
    if seen is None:
        return None
    return {"saturated": jnp.mean(seen["saturated"]), "cell_max": jnp.max(seen["cell_max"])}


def _recur_forward(reverse, cell_limit, unroll, watch, gates_x, w_hh, carry, is_valid):
    """Runs the recurrence, and keeps what the way back needs."""

    def step(carry, inputs):
        before, (gate_x, is_valid) = carry, inputs
        carry, gates = _step(carry, gate_x, is_valid, w_hh, cell_limit)
        return carry, (carry[0], before, gates, _watch(gates, carry[1]) if watch else None)

    inputs = (gates_x, is_valid)
    carry, (outputs, before, gates, seen) = jax.lax.scan(
        step, carry, inputs, reverse=reverse, unroll=unroll
    )
    return (outputs, carry, _summarise(seen)), (before, gates, w_hh, is_valid)


def _recur_backward(reverse, cell_limit, unroll, watch, kept, cotangents):
    """Propagates gradients through time, and multiplies out the weights' at the end."""
    del watch
    before, gates, w_hh, is_valid = kept
    d_outputs, d_carry, _ = cotangents

    def step(d_carry, inputs):
        d_output, (_, c), gates, is_valid = inputs
        d_h, d_c = d_carry[0] + d_output, d_carry[1]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        new_c = f * c + i * g
        tanh_c = jnp.tanh(jnp.clip(new_c, -cell_limit, cell_limit))
        d_new_c = d_c + d_h * o * (1 - tanh_c**2)
        d_new_c = jnp.where(jnp.abs(new_c) > cell_limit, 0, d_new_c)
        d_gates = jnp.concatenate(
            [
                d_new_c * g * i * (1 - i),
                d_new_c * c * f * (1 - f),
                d_new_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ],
            axis=-1,
        )
        d_gates = jnp.where(is_valid, d_gates, 0)
        through = (d_gates.astype(w_hh.dtype) @ w_hh.T).astype(jnp.float32)
        d_before = (
            through + jnp.where(is_valid, 0, d_h),
            jnp.where(is_valid, d_new_c * f, d_c),
        )
        return d_before, d_gates

    inputs = (d_outputs, before, gates, is_valid)
    d_carry, d_gates = jax.lax.scan(step, d_carry, inputs, reverse=not reverse, unroll=unroll)
    h_before, wide = before[0].astype(w_hh.dtype), d_gates.astype(w_hh.dtype)
    return d_gates, jnp.einsum("tbh,tbg->hg", h_before, wide), d_carry, None


_recur.defvjp(_recur_forward, _recur_backward)
