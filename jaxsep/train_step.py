"""One step of training and of evaluation: pure functions, jitted over a mesh."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from jaxsep.losses import LOSSES, error_energy, separation_loss
from jaxsep.partitioning import batch_sharding, replicated
from jaxsep.records import REQUIRED_TARGETS

STEMS = ("mixture", *REQUIRED_TARGETS)

Batch = dict[str, jax.Array]


class TrainState(struct.PyTreeNode):
    """All that training changes, and the statistics.

    Attributes:
      step: updates tried so far, int32.
      params: of the masker.
      statistics: of the data set, as the masker keeps them; constant.
      opt_state: of the optimizer.
      skipped_in_row: updates left out one after another because they weren't finite, int32.
    """

    step: jax.Array
    params: Any
    statistics: Any
    opt_state: Any
    skipped_in_row: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "statistics": self.statistics}


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """Makes the state before the first step from a masker's fresh variables."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        statistics=variables["statistics"],
        opt_state=optimizer.init(params),
        skipped_in_row=jnp.zeros((), jnp.int32),
    )


def make_train_step(
    masker: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    loss: str,
    grad_clip_norm: float,
    mesh: Mesh,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the jitted training step.

    The state is donated. An update whose gradient isn't finite is left out and counted.

    Args:
      masker: of `jaxsep.models`.
      optimizer: which clips the gradient.
      loss: one of `losses.LOSSES`.
      grad_clip_norm: where it does, to report whether a step was clipped.
      mesh: the batch is spread over it.

    Returns:
      A function from state and batch (`jaxsep.input_pipeline`) to the next state and the scalars
      `loss`, `grad_norm` (before clipping), `clipped`, `skipped`, `skipped_in_row`.

    Raises:
      ValueError: if the loss is unknown.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown; use one of {', '.join(LOSSES)}")

    def loss_fn(params, statistics, batch):
        magnitudes, valid = _prepare(batch)
        variables = {"params": params, "statistics": statistics}
        mask = _predict(masker, variables, magnitudes["mixture"], valid)
        return separation_loss(LOSSES[loss], mask, magnitudes, valid)

    def train_step(state: TrainState, batch: Batch):
        value, grads = jax.value_and_grad(loss_fn)(state.params, state.statistics, batch)
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Clipping turns an infinite gradient into NaN, which would poison all that follows.
        is_finite = jnp.isfinite(grad_norm) & jnp.isfinite(value)
        keep = functools.partial(jnp.where, is_finite)
        new_state = state.replace(
            step=state.step + 1,
            params=jax.tree.map(keep, params, state.params),
            opt_state=jax.tree.map(keep, opt_state, state.opt_state),
            skipped_in_row=jnp.where(is_finite, 0, state.skipped_in_row + 1),
        )
        metrics = {
            "loss": value,
            "grad_norm": grad_norm,
            "clipped": (grad_norm > grad_clip_norm).astype(jnp.float32),
            "skipped": 1.0 - is_finite.astype(jnp.float32),
            "skipped_in_row": new_state.skipped_in_row,
        }
        return new_state, metrics

    everywhere, spread = replicated(mesh), batch_sharding(mesh)
    return jax.jit(
        train_step,
        in_shardings=(everywhere, spread),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )


def make_eval_step(
    masker: nn.Module, *, mesh: Mesh
) -> Callable[[dict[str, Any], Batch], dict[str, jax.Array]]:
    """Makes the jitted evaluation step.

    Returns:
      A function from a masker's variables and a batch to energies, float32 `[batch]` each:
      `vocals`; `error` of the masked mixture and `mixture_error` of the mixture itself, both
      against the vocals, phase included (see `jaxsep.losses`).
    """

    def eval_step(variables, batch):
        magnitudes, valid = _prepare(batch)
        mask = _predict(masker, variables, magnitudes["mixture"], valid)
        error = error_energy(mask, **magnitudes)
        energies = {
            "vocals": jnp.square(magnitudes["vocals"]),
            "error": error,
            "mixture_error": jnp.square(magnitudes["accompaniment"]),
        }
        inside = valid[:, :, None, None]
        return {name: jnp.sum(value * inside, axis=(1, 2, 3)) for name, value in energies.items()}

    everywhere, spread = replicated(mesh), batch_sharding(mesh)
    return jax.jit(eval_step, in_shardings=(everywhere, spread), out_shardings=everywhere)


def _prepare(batch: Batch) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns float32 magnitudes, and bool `[batch, frames]`: not padding."""
    magnitudes = {name: batch[name].astype(jnp.float32) for name in STEMS}
    frames = batch["mixture"].shape[1]
    return magnitudes, jnp.arange(frames) < batch["num_frames"][:, None]


def _predict(masker: nn.Module, variables, mixture: jax.Array, valid: jax.Array) -> jax.Array:
    carry = masker.initial_carry(mixture.shape[0])
    mask, _ = masker.apply(variables, mixture, carry, valid=valid)
    return mask
