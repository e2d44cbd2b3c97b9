"""How far a masked mixture is from the vocals, computed from magnitudes alone.

Because mixture = vocals + accompaniment holds for the complex spectrograms, their three
magnitudes determine the angle between mixture M and vocals V:

    Re(M V*) = (|M|^2 + |V|^2 - |A|^2) / 2,

and with it the exact error of a real mask m, phase included:

    |m M - V|^2 = m^2 |M|^2 - 2 m Re(M V*) + |V|^2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

SILENCE = 1.0  # energy of an example, far below any music's; keeps silence from dividing by zero


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
    return jnp.maximum(error, 0.0)  # rounded magnitudes can miss the triangle by a little


def magnitude_error(
    mask: jax.Array, mixture: jax.Array, vocals: jax.Array, accompaniment: jax.Array
) -> jax.Array:
    """Returns the squared difference of the masked mixture's and the vocals' magnitudes."""
    del accompaniment
    return jnp.square(mask * mixture - vocals)


ErrorFn = Callable[..., jax.Array]
LOSSES: dict[str, ErrorFn] = {"phase_sensitive": error_energy, "magnitude": magnitude_error}


def example_losses(
    error_fn: ErrorFn, mask: jax.Array, batch: dict[str, jax.Array], valid: jax.Array
) -> jax.Array:
    """Returns each example's relative error; the loss is their mean.

    Args:
      error_fn: of `LOSSES`.
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
