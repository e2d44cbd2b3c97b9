"""How far a masked mixture is from the vocals, computed from magnitudes alone.

Because mixture = vocals + accompaniment holds for the complex spectrograms, their three
magnitudes determine the angle between mixture M and vocals V:

    Re(M V*) = (|M|^2 + |V|^2 - |A|^2) / 2,

and with it the exact error of a real mask m, phase included:

    |m M - V|^2 = m^2 |M|^2 - 2 m Re(M V*) + |V|^2.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

SILENCE = 1.0  # energy of an example, far below any music's; keeps silence from dividing by zero
FAINT = 1e-3  # magnitude below which nothing is heard; keeps the slope of its power finite
LOG_FLOOR = 0.03  # relative error, -15 dB, from which on less of it hardly counts


def error_energy(
    mask: jax.Array, mixture: jax.Array, vocals: jax.Array, accompaniment: jax.Array
) -> jax.Array:
    """Returns the energy of the masked mixture's difference from the vocals, in each bin.

    Args:
      mask: any shape, as all others.
      mixture: magnitude, as `vocals` and `accompaniment`.

    Reference: Erdogan et al., Phase-sensitive and recognition-boosted speech separation using deep
    recurrent neural networks, 2015 (the loss); the angle from three magnitudes is the law of
    cosines.
    """
    projection = (jnp.square(mixture) + jnp.square(vocals) - jnp.square(accompaniment)) / 2
    error = jnp.square(mask * mixture) - 2 * mask * projection + jnp.square(vocals)
    # Rounded magnitudes can miss the triangle by a little. Not jnp.maximum: XLA may take 0 for the
    # larger of 0 and NaN, and a bad example would go unseen.
    return jnp.where(error < 0, 0.0, error)


def magnitude_error(
    mask: jax.Array, mixture: jax.Array, vocals: jax.Array, accompaniment: jax.Array
) -> jax.Array:
    """Returns the squared difference of the masked mixture's and the vocals' magnitudes."""
    del accompaniment
    return jnp.square(mask * mixture - vocals)


ErrorFn = Callable[..., jax.Array]


def relative_errors(
    error_fn: ErrorFn, mask: jax.Array, batch: dict[str, jax.Array], valid: jax.Array
) -> jax.Array:
    """Returns each example's relative error.

    Args:
      error_fn: the error of each bin, as `error_energy`.
      mask: `[batch, frames, channels, bins]`.
      batch: `mixture`, `vocals`, `accompaniment`: magnitudes of that shape.
      valid: bool `[batch, frames]`; other frames don't count.

    Returns:
      `[batch]`: error over mixture energy; 0 is perfect, a mask of zeros scores the vocals' share.
    """
    inside = valid[:, :, None, None]
    error = jnp.sum(error_fn(mask, **batch) * inside, axis=(1, 2, 3))
    energy = jnp.sum(jnp.square(batch["mixture"]) * inside, axis=(1, 2, 3))
    return error / (energy + SILENCE)


def log_relative_errors(
    error_fn: ErrorFn, mask: jax.Array, batch: dict[str, jax.Array], valid: jax.Array
) -> jax.Array:
    """Returns the logarithm of each example's relative error: decibels count, whatever is sung.

    Takes and returns what `relative_errors` does; 0 is perfect. A quiet voice, of which a mask of
    zeros misses little energy, weighs as much as a loud one, and an instrumental piece with little
    in its vocals goes on being improved.

    Reference: Wisdom et al., What's all the fuss about free universal sound separation data?, 2021
    (a thresholded ratio in decibels, that of the mixture's energy where a source is silent).
    """
    return jnp.log1p(relative_errors(error_fn, mask, batch, valid) / LOG_FLOOR)


def mean_errors(
    error_fn: ErrorFn, mask: jax.Array, batch: dict[str, jax.Array], valid: jax.Array
) -> jax.Array:
    """Returns the mean error of each example's bins: the louder it is, the more it weighs.

    Takes and returns what `relative_errors` does.
    """
    inside = jnp.broadcast_to(valid[:, :, None, None], mask.shape)
    return jnp.mean(error_fn(mask, **batch), axis=(1, 2, 3), where=inside)


def compressed_errors(
    power: float,
    exponent: float,
    mask: jax.Array,
    batch: dict[str, jax.Array],
    valid: jax.Array,
) -> jax.Array:
    """Returns each example's error of compressed magnitudes, over the mixture's.

    Args:
      power: of the magnitudes; below 1 quiet bins weigh more.
      exponent: of the difference; 1 is its size, 2 its square.
      mask, batch, valid: as `relative_errors` takes them.

    Returns:
      `[batch]`; 0 is perfect.

    Reference: Jansson et al., Singing voice separation with deep U-Net convolutional networks, 2017
    (power 1, exponent 1); Braun and Tashev, A consolidated view of loss functions for supervised
    deep learning-based speech enhancement, 2021 (power 0.3, exponent 2).
    """
    inside = valid[:, :, None, None]
    mixture, vocals, estimate = (
        (magnitude + FAINT) ** power
        for magnitude in (batch["mixture"], batch["vocals"], mask * batch["mixture"])
    )
    error = jnp.sum(jnp.abs(estimate - vocals) ** exponent * inside, axis=(1, 2, 3))
    return error / jnp.sum(mixture**exponent * inside, axis=(1, 2, 3))


# From mask, magnitudes and valid frames to a loss for each example, `[batch]`.
LossFn = Callable[[jax.Array, dict[str, jax.Array], jax.Array], jax.Array]
LOSSES: dict[str, LossFn] = {
    "phase_sensitive": functools.partial(relative_errors, error_energy),
    "log_phase_sensitive": functools.partial(log_relative_errors, error_energy),
    "magnitude": functools.partial(relative_errors, magnitude_error),
    "absolute": functools.partial(compressed_errors, 1.0, 1.0),
    "compressed": functools.partial(compressed_errors, 0.3, 2.0),
    "mean_square": functools.partial(mean_errors, magnitude_error),
}
