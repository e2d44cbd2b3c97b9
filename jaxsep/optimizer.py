"""The optimizer: global-norm clipping before Adam, warm-up and cosine decay."""

import optax


def make_schedule(learning_rate: float, warmup_steps: int, num_train_steps: int) -> optax.Schedule:
    """Rises linearly to `learning_rate`, then falls to 1 % of it along a cosine."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=learning_rate,
        warmup_steps=min(warmup_steps, num_train_steps // 2),
        decay_steps=num_train_steps,
        end_value=0.01 * learning_rate,
    )


def make_optimizer(
    schedule: optax.Schedule, *, grad_clip_norm: float
) -> optax.GradientTransformation:
    """Clips the global mean gradient's norm, then applies Adam.

    Args:
      schedule: learning rate by step.
      grad_clip_norm: largest norm; `float("inf")` doesn't clip.
    """
    return optax.chain(optax.clip_by_global_norm(grad_clip_norm), optax.adam(schedule))
