"""One step of training and of evaluation: pure functions, jitted over a mesh."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxsep.models.masker import Masker, Masks, Mixture, Valid, observe
from jaxsep.sharding import batch_sharding, replicated, split_batch
from jaxsep.spectrogram import analyse
from jaxsep.training.losses import Loss, Parts, error_energy
from jaxsep.training.optimizer import learning_rate, skip_update
from jaxsep.training.state import TrainState

Batch = dict[str, jax.Array]


def make_train_step(
    masker: Masker,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss,
    grad_clip_norm: float,
    mesh: Mesh,
    grad_accum_steps: int,
    ema_decay: float,
    seed: int,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the jitted training step. It donates the state it is given.

    An update fails if its loss or gradient isn't finite, or its gradient is exactly 0. A failed
    update is left out: only the counts of steps go on. The next step may be under way before anyone
    has read that; so it returns such a state untouched, until it is told that the failure was seen.

    Args:
      masker: Masker to train.
      optimizer: Optimizer of `optimizer.make_optimizer`; it clips the gradient.
      loss: Loss of each example and target.
      grad_clip_norm: Norm at which the optimizer clips, to report whether it did.
      mesh: Devices that share the batch.
      grad_accum_steps: Parts that the batch is worked through in, to save memory; 1 for a masker
        that normalises by its batch.
      ema_decay: Decay of the parameters' moving average, if the state has one; smaller in the first
        steps, `(1 + step) / (10 + step)`, so that the initial parameters are soon forgotten.
      seed: Seed of what the masker draws at random, together with the step.

    Returns:
      A function from the state, a batch (`jaxsep.data.input_pipeline`) and the `failed_in_row` that
      was seen last to the next state and the scalars `loss`, `grad_norm` (before clipping),
      `learning_rate`, `clipped`, `skipped` (left out) and `failed_in_row`.
    """
    loss_fn = make_loss_fn(masker, loss)

    def train_step(state: TrainState, batch: Batch, failures_seen: int):
        value, grads, beside = accumulate(
            loss_fn,
            state.params,
            state.statistics,
            batch,
            key=step_key(seed, state.step),
            parts=grad_accum_steps,
            mesh=mesh,
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None:
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            ema_params = optax.incremental_update(params, ema_params, 1 - decay)
        updated = state.replace(
            step=state.step + 1,
            params=params,
            statistics=jax.tree.map(lambda parts: parts[-1], beside["statistics"]),
            opt_state=opt_state,
            ema_params=ema_params,
            failed_in_row=jnp.zeros((), jnp.int32),
        )
        left_out = state.replace(
            step=state.step + 1,
            opt_state=skip_update(state.opt_state, opt_state),
            failed_in_row=state.failed_in_row + 1,
        )
        grad_norm = optax.tree.norm(grads)
        # Clipping turns an infinite gradient into NaN, which would poison all that follows.
        is_finite = jnp.isfinite(grad_norm) & jnp.isfinite(value)
        is_sound = is_finite & (grad_norm > 0)
        is_unseen = state.failed_in_row > failures_seen
        new_state = _choose(is_unseen, state, _choose(is_sound, updated, left_out))
        metrics = {
            "loss": value,
            "grad_norm": grad_norm,
            "learning_rate": learning_rate(opt_state),
            "clipped": (is_finite & (grad_norm > grad_clip_norm)).astype(jnp.float32),
            "skipped": 1.0 - is_sound.astype(jnp.float32),
            "failed_in_row": new_state.failed_in_row,
        }
        return new_state, metrics

    everywhere, spread = replicated(mesh), batch_sharding(mesh)
    return jax.jit(
        train_step,
        in_shardings=(everywhere, spread, everywhere),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )


def _choose(condition: jax.Array, a: TrainState, b: TrainState) -> TrainState:
    return jax.tree.map(functools.partial(jnp.where, condition), a, b)


def step_key(seed: int, step: int | Int[Array, ""]) -> Key[Array, ""]:
    """Returns the key of all that is random in a training step, which begins after `step` others.

    What is drawn doesn't depend on the devices: JAX's keys are partitionable.
    """
    return jax.random.fold_in(jax.random.key(seed), step)


def make_loss_fn(
    masker: Masker,
    loss: Loss,
    apply: Callable[..., tuple[jax.Array, Any, Any]] | None = None,
) -> Callable[..., tuple[jax.Array, dict[str, Any]]]:
    """Makes the function that training differentiates.

    Args:
      masker: Masker to train.
      loss: Loss of each example and target.
      apply: How to run the masker, from `(variables, mixture, valid, key)` to the masks, the next
        statistics and anything; for those who want to look inside.

    Returns:
      A function from parameters, statistics, batch and `key` (of `step_key`) to the loss and a
      dict of the examples' `losses`, `[batch]`, the next `statistics`, and what `apply` returned
      beside them, `seen`.
    """
    apply = apply or functools.partial(_predict_in_training, masker)

    def loss_fn(params, statistics, batch: Batch, *, key: jax.Array):
        parts = to_parts(batch, masker)
        variables = {"params": params, "statistics": statistics}
        masks, statistics, seen = apply(variables, _observe(masker, parts), parts.valid, key)
        losses = jnp.mean(loss(masks, _simplify(masker, loss, parts)), axis=1)
        return jnp.mean(losses), {"losses": losses, "statistics": statistics, "seen": seen}

    return loss_fn


def accumulate(
    loss_fn: Callable[..., tuple[jax.Array, dict[str, Any]]],
    params: Any,
    statistics: Any,
    batch: Batch,
    *,
    key: jax.Array,
    parts: int,
    mesh: Mesh,
) -> tuple[jax.Array, Any, dict[str, Any]]:
    """Differentiates a loss over a batch, part after part; each has a key of its own.

    Returns:
      The loss, its gradient, and what `loss_fn` returns beside it, stacked: `[parts, ...]`.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def add(total, drawn: tuple[Batch, jax.Array]):
        part, part_key = drawn
        (value, beside), grads = grad_fn(params, statistics, part, key=part_key)
        return jax.tree.map(jnp.add, total, (value, grads)), beside

    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    if parts == 1:
        (value, grads), beside = add(zero, (batch, key))
        return value, grads, jax.tree.map(lambda leaf: leaf[None], beside)
    total, beside = jax.lax.scan(
        add, zero, (split_batch(batch, parts, mesh), jax.random.split(key, parts))
    )
    value, grads = jax.tree.map(lambda leaf: leaf / parts, total)
    return value, grads, beside


def make_eval_step(
    masker: Masker, *, mesh: Mesh
) -> Callable[[dict[str, Any], Batch], dict[str, jax.Array]]:
    """Makes the jitted evaluation step.

    Returns:
      A function from a masker's variables and a batch to `track`, as in the batch, and energies,
      float32 `[batch, targets]` each: `target`; `error` of the masked mixture and `mixture_error`
      of the mixture itself, both against the target, phase included (see
      `jaxsep.training.losses`).
    """

    def eval_step(variables, batch: Batch):
        parts = to_parts(batch, masker)
        mixture = _observe(masker, parts)
        carry = masker.initial_carry(len(mixture))
        masks, _ = masker.apply(variables, mixture, carry, valid=parts.valid)
        magnitudes = parts.magnitudes
        energies = {
            "target": jnp.square(magnitudes.targets),
            "error": error_energy(masks, parts if is_complex(masker) else magnitudes),
            "mixture_error": jnp.square(magnitudes.rests),
        }
        inside = parts.valid[:, None, :, None, None]
        sums = {name: jnp.sum(value * inside, axis=(2, 3, 4)) for name, value in energies.items()}
        return {"track": batch["track"], **sums}

    everywhere, spread = replicated(mesh), batch_sharding(mesh)
    return jax.jit(eval_step, in_shardings=(everywhere, spread), out_shardings=everywhere)


def is_complex(masker: Masker) -> bool:
    """Tells whether a masker answers complex masks."""
    return masker.traits.answers == "complex"


def to_parts(batch: Batch, masker: Masker) -> Parts:
    """Brings a batch to what the loss compares.

    Args:
      batch: A batch of `jaxsep.data.input_pipeline`.
      masker: Masker, whose targets are the first of the batch's stems.

    Returns:
      Complex spectra of waveforms, or magnitudes as they are.
    """
    if "stems" in batch:
        # Multiplying the spectrum is equalising with a filter much shorter than a frame.
        spectra = analyse(batch["stems"], masker.stft) * batch["gains"][:, :, None, None, :]
        places = range(len(masker.targets))
        targets = spectra[:, : len(places)]
        rests = [jnp.delete(spectra, place, axis=1).sum(axis=1) for place in places]
        rests = jnp.stack(rests, axis=1)
        mixture = targets[:, :1] + rests[:, :1]
    else:
        mixture = batch["mixture"].astype(jnp.float32)[:, None]
        targets, rests = (batch[name].astype(jnp.float32) for name in ("targets", "rests"))
    valid = jnp.arange(mixture.shape[2])[None] < batch["num_frames"][:, None]
    return Parts(mixture, targets, rests, valid, masker.stft)


def _observe(masker: Masker, parts: Parts) -> jax.Array:
    """Returns what a masker sees of the mixture."""
    return observe(masker, parts.mixture[:, 0])


def _simplify(masker: Masker, loss: Loss, parts: Parts) -> Parts:
    """Drops the phases where magnitudes are enough: they take half the memory."""
    return parts if loss.needs_phase or is_complex(masker) else parts.magnitudes


def _predict_in_training(
    masker: Masker,
    variables: dict[str, Any],
    mixture: Mixture,
    valid: Valid,
    key: Key[Array, ""],
) -> tuple[Masks, Any, None]:
    (masks, _), changed = masker.apply(
        variables,
        mixture,
        masker.initial_carry(len(mixture)),
        valid=valid,
        mutable=["statistics"],
        rngs={"dropout": key},
    )
    return masks, changed.get("statistics", {}), None
