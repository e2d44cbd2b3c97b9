"""The optimizer: clipping and weight decay before Adam; learning rates by step and by score."""

from collections.abc import Sequence

import optax

SCHEDULES = ("cosine", "linear", "constant")
FINAL_SHARE = 0.01  # of the learning rate, that is left at the end


def make_schedule(
    kind: str, learning_rate: float, warmup_steps: int, num_train_steps: int
) -> optax.Schedule:
    """Rises linearly to `learning_rate`, then falls to `FINAL_SHARE` of it, or stays.

    Args:
      kind: one of `SCHEDULES`: falls along a cosine, along a line, or not at all.
      learning_rate: after warm-up.
      warmup_steps: of which the training spends half at most.
      num_train_steps: when the fall ends.

    Raises:
      ValueError: if the kind is unknown.
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


def make_optimizer(
    *, grad_clip_norm: float, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Clips the global mean gradient's norm, then scales it as Adam does.

    The training step applies the learning rate.

    Args:
      grad_clip_norm: largest norm; `float("inf")` doesn't clip.
      weight_decay: of all parameters; so much of each is added to its gradient, behind the
        clipping (L2, which Adam scales like the rest, unlike AdamW's decay).
    """
    clip, adam = optax.clip_by_global_norm(grad_clip_norm), optax.scale_by_adam()
    if not weight_decay:  # another chain would have another state than older checkpoints
        return optax.chain(clip, adam)
    return optax.chain(clip, optax.add_decayed_weights(weight_decay), adam)


def validations_since_best(scores: Sequence[float]) -> int:
    """Counts the scores behind the highest one; 0 without any."""
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def plateau_scale(scores: Sequence[float], *, patience: int, factor: float) -> float:
    """Returns what the learning rate is multiplied by, after these validation scores.

    Args:
      scores: the higher the better, oldest first.
      patience: scores in a row without a new best before `factor` is applied once more; 0: never.
      factor: between 0 and 1.
    """
    best, stale, scale = float("-inf"), 0, 1.0
    for score in scores:
        best, stale = (score, 0) if score > best else (best, stale + 1)
        if patience and stale == patience:
            scale, stale = scale * factor, 0
    return scale
