"""One step of training and of evaluation: pure functions, jitted over a mesh."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxsep.data.input_pipeline import STEMS
from jaxsep.models.masker import Masker
from jaxsep.sharding import batch_sharding, replicated, split_batch
from jaxsep.spectrogram import analyse
from jaxsep.stft_config import StftConfig
from jaxsep.training.losses import LossFn, error_energy
from jaxsep.training.optimizer import learning_rate, skip_update
from jaxsep.training.state import TrainState

Batch = dict[str, jax.Array]
VOCALS = 0  # place of the only target that is trained, see `check_masker`


def check_masker(masker: Masker) -> None:
    """Checks that a masker is one that training can feed: real masks of magnitudes, of the vocals.

    Raises:
      ValueError: If it isn't.
    """
    if masker.targets != ("vocals",):
        raise ValueError(
            f"targets={','.join(masker.targets)} can't be trained; the only target can be vocals"
        )
    traits = masker.traits
    if (traits.sees, traits.answers) != ("magnitude", "real"):
        raise ValueError(
            f"a masker that sees the {traits.sees} and answers {traits.answers} masks can't be"
            " trained; use one with real masks of magnitudes"
        )


def make_train_step(
    masker: Masker,
    optimizer: optax.GradientTransformation,
    *,
    example_loss: LossFn,
    grad_clip_norm: float,
    mesh: Mesh,
    grad_accum_steps: int,
    ema_decay: float,
    seed: int,
) -> Callable[[TrainState, Batch, int], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the jitted training step. It donates the state it is given.

    An update fails if its loss or gradient isn't finite, or its gradient is exactly 0. A failed
    update is left out: only the counts of steps go on. The next step may be under way before anyone
    has read that; so it returns such a state untouched, until it is told that the failure was seen.

    Args:
      masker: Masker to train.
      optimizer: Optimizer of `optimizer.make_optimizer`; it clips the gradient.
      example_loss: One of `losses.LOSSES`.
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
    loss_fn = make_loss_fn(masker, example_loss)

    def train_step(state: TrainState, batch: Batch, failures_seen: int):
        drawn_loss_fn = functools.partial(loss_fn, key=step_key(seed, state.step))
        value, grads, beside = accumulate(
            drawn_loss_fn, state.params, state.statistics, batch, parts=grad_accum_steps, mesh=mesh
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


def step_key(seed: int, step: int | jax.Array) -> jax.Array:
    """Returns the key of all that is random in a training step, which begins after `step` others.

    What is drawn doesn't depend on the devices: JAX's keys are partitionable.
    """
    return jax.random.fold_in(jax.random.key(seed), step)


def make_loss_fn(
    masker: Masker,
    example_loss: LossFn,
    apply: Callable[..., tuple[jax.Array, Any, Any]] | None = None,
) -> Callable[..., tuple[jax.Array, dict[str, Any]]]:
    """Makes the function that training differentiates.

    Args:
      masker: of `jaxsep.models`.
      example_loss: one of `losses.LOSSES`.
      apply: how to run the masker, from `(variables, mixture, valid, key)` to the masks, the next
        statistics and anything; for those who want to look inside.

    Returns:
      A function from parameters, statistics, batch and `key` (of `step_key`) to the loss and a
      dict of the examples' `losses`, `[batch]`, the next `statistics`, and what `apply` returned
      beside them, `seen`.
    """
    apply = apply or functools.partial(_predict_in_training, masker)

    def loss_fn(params, statistics, batch: Batch, *, key: jax.Array):
        magnitudes, valid = to_magnitudes(batch, masker.stft)
        variables = {"params": params, "statistics": statistics}
        masks, statistics, seen = apply(variables, magnitudes["mixture"], valid, key)
        losses = example_loss(masks[:, VOCALS], magnitudes, valid)
        return jnp.mean(losses), {"losses": losses, "statistics": statistics, "seen": seen}

    return loss_fn


def accumulate(
    loss_fn: Callable[..., tuple[jax.Array, dict[str, Any]]],
    params: Any,
    statistics: Any,
    batch: Batch,
    *,
    parts: int,
    mesh: Mesh,
) -> tuple[jax.Array, Any, dict[str, Any]]:
    """Differentiates a loss over a batch, part after part.

    Returns:
      The loss, its gradient, and what `loss_fn` returns beside it, stacked: `[parts, ...]`.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def add(total, part: Batch):
        (value, beside), grads = grad_fn(params, statistics, part)
        return jax.tree.map(jnp.add, total, (value, grads)), beside

    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    if parts == 1:
        (value, grads), beside = add(zero, batch)
        return value, grads, jax.tree.map(lambda leaf: leaf[None], beside)
    total, beside = jax.lax.scan(add, zero, split_batch(batch, parts, mesh))
    value, grads = jax.tree.map(lambda leaf: leaf / parts, total)
    return value, grads, beside


def make_eval_step(
    masker: Masker, *, mesh: Mesh
) -> Callable[[dict[str, Any], Batch], dict[str, jax.Array]]:
    """Makes the jitted evaluation step.

    Returns:
      A function from a masker's variables and a batch to `track`, as in the batch, and energies,
      float32 `[batch]` each: `vocals`; `error` of the masked mixture and `mixture_error` of the
      mixture itself, both against the vocals, phase included (see `jaxsep.training.losses`).
    """

    def eval_step(variables, batch: Batch):
        magnitudes, valid = to_magnitudes(batch, masker.stft)
        mixture = magnitudes["mixture"]
        masks, _ = masker.apply(variables, mixture, masker.initial_carry(len(mixture)), valid=valid)
        error = error_energy(masks[:, VOCALS], **magnitudes)
        energies = {
            "vocals": jnp.square(magnitudes["vocals"]),
            "error": error,
            "mixture_error": jnp.square(magnitudes["accompaniment"]),
        }
        inside = valid[:, :, None, None]
        sums = {name: jnp.sum(value * inside, axis=(1, 2, 3)) for name, value in energies.items()}
        return {"track": batch["track"], **sums}

    everywhere, spread = replicated(mesh), batch_sharding(mesh)
    return jax.jit(eval_step, in_shardings=(everywhere, spread), out_shardings=everywhere)


def to_magnitudes(batch: Batch, stft: StftConfig) -> tuple[dict[str, jax.Array], jax.Array]:
    """Brings a batch, of magnitudes or of waveforms, to what the loss compares.

    Args:
      batch: A batch of `jaxsep.data.input_pipeline`.
      stft: of the data set.

    Returns:
      `mixture`, `vocals`, `accompaniment`: magnitudes, float32 `[batch, frames, channels, bins]`;
      and bool `[batch, frames]`: which frames are no padding.
    """
    if "stems" in batch:
        # Multiplying the spectrum is equalising with a filter much shorter than a frame.
        spectra = analyse(batch["stems"], stft) * batch["gains"][:, :, None, None, :]
        vocals, accompaniment = spectra[:, 0], spectra[:, 1:].sum(axis=1)
        parts = {
            "mixture": vocals + accompaniment,
            "vocals": vocals,
            "accompaniment": accompaniment,
        }
        magnitudes = {name: jnp.abs(part) for name, part in parts.items()}
    else:
        magnitudes = {name: batch[name].astype(jnp.float32) for name in STEMS}
    frames = magnitudes["mixture"].shape[1]
    return magnitudes, jnp.arange(frames) < batch["num_frames"][:, None]


def _predict_in_training(
    masker: Masker,
    variables: dict[str, Any],
    mixture: jax.Array,
    valid: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, Any, None]:
    (masks, _), changed = masker.apply(
        variables,
        mixture,
        masker.initial_carry(len(mixture)),
        valid=valid,
        mutable=["statistics"],
        rngs={"dropout": key},
    )
    return masks, changed.get("statistics", {}), None
