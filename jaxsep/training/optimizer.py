"""The optimizer: clipping, Adam, weight decay and the learning rate as one optax chain."""

from collections.abc import Sequence
from typing import Any

import jax
import optax

SCHEDULES = ("cosine", "linear", "constant")
FINAL_SHARE = 0.01  # part of the peak learning rate that a schedule falls to


def make_schedule(
    kind: str, learning_rate: float, warmup_steps: int, num_train_steps: int
) -> optax.Schedule:
    """Makes a learning rate that rises linearly, then falls to `FINAL_SHARE` of it or stays.

    Args:
      kind: One of `SCHEDULES`: falls along a cosine, along a line, or not at all.
      learning_rate: Peak rate, reached after the warm-up.
      warmup_steps: Steps of the rise; half of the training at most.
      num_train_steps: Step at which the fall ends.

    Raises:
      ValueError: The kind is unknown.
    """
    warmup = min(warmup_steps, num_train_steps // 2)
    rest, final = num_train_steps - warmup, FINAL_SHARE * learning_rate
    if kind == "cosine":
        after = optax.cosine_decay_schedule(learning_rate, rest, FINAL_SHARE)
    elif kind == "linear":
        after = optax.linear_schedule(learning_rate, final, rest)
    elif kind == "constant":
        after = optax.constant_schedule(learning_rate)
    else:
        raise ValueError(f"schedule={kind!r} is unknown; use one of {', '.join(SCHEDULES)}")
    rise = optax.linear_schedule(0.0, learning_rate, warmup)
    return optax.join_schedules([rise, after], [warmup])


def _adam(weight_decay: float, b1: float, b2: float) -> list[optax.GradientTransformation]:
    """Adam on the gradient and a share of the parameters (L2), which it scales alike."""
    decay = optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity()
    return [decay, optax.scale_by_adam(b1, b2)]


def _adamw(weight_decay: float, b1: float, b2: float) -> list[optax.GradientTransformation]:
    """Adam, and a share of the matrices by itself; biases and scales of norms don't decay.

    Reference: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
    """
    decay = optax.add_decayed_weights(
        weight_decay, mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    )
    return [optax.scale_by_adam(b1, b2), decay]


# What comes between clipping and learning rate.
OPTIMIZERS = {"adam": _adam, "adamw": _adamw}


def make_optimizer(
    schedule: optax.Schedule,
    *,
    grad_clip_norm: float,
    name: str = "adam",
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """Makes an optimizer behind clipping by global norm.

    Its state is that of `optax.inject_hyperparams`: `hyperparams` holds the current
    `learning_rate`, of the schedule, and `plateau_scale`, which multiplies it; `inner_state` holds
    the moments.

    Args:
      schedule: Learning rate by step.
      grad_clip_norm: Largest norm of the whole gradient; `float("inf")` doesn't clip.
      name: Key in `OPTIMIZERS`.
      weight_decay: Share of each parameter that is taken off it: by way of the gradient for
        `adam`, directly for `adamw`.
      b1: Decay of the gradients' moving average.
      b2: Decay of the squared gradients' moving average.

    Raises:
      ValueError: There is no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer={name!r} is unknown; use one of {', '.join(OPTIMIZERS)}")

    def chain(learning_rate: jax.Array, plateau_scale: jax.Array) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(grad_clip_norm),
            *OPTIMIZERS[name](weight_decay, b1, b2),
            optax.scale_by_learning_rate(learning_rate * plateau_scale),
        )

    return optax.inject_hyperparams(chain)(learning_rate=schedule, plateau_scale=1.0)


def learning_rate(opt_state: Any) -> jax.Array:
    """Returns the learning rate of the update that led to a state."""
    return opt_state.hyperparams["learning_rate"] * opt_state.hyperparams["plateau_scale"]


def with_plateau_scale(opt_state: Any, scale: jax.Array) -> Any:
    """Returns an optimizer's state whose further learning rates are multiplied by `scale`."""
    return opt_state._replace(hyperparams={**opt_state.hyperparams, "plateau_scale": scale})


def skip_update(before: Any, after: Any) -> Any:
    """Returns the state after an update that was tried and left out.

    The schedule goes on, for it counts the steps tried; Adam's moments stay as they were.

    Args:
      before: State of the optimizer before the update.
      after: State after it.
    """
    return after._replace(inner_state=before.inner_state)


def validations_since_best(scores: Sequence[float]) -> int:
    """Counts the scores behind the highest one; 0 without any."""
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def plateau_scale(scores: Sequence[float], *, patience: int, factor: float) -> float:
    """Returns the factor of the learning rate after these validation scores.

    Args:
      scores: Validation scores, oldest first; higher is better.
      patience: Scores in a row without a new best before `factor` is applied once more; 0: never.
      factor: Reduction at each plateau, from 0 to 1.
    """
    best, stale, scale = float("-inf"), 0, 1.0
    for score in scores:
        best, stale = (score, 0) if score > best else (best, stale + 1)
        if patience and stale == patience:
            scale, stale = scale * factor, 0
    return scale
