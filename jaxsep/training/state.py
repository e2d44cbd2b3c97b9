"""All that a training changes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


class TrainState(struct.PyTreeNode):
    """All that training changes, and the data set's statistics.

    Attributes:
      step: updates tried so far, int32.
      params: of the masker.
      statistics: of the data set, as the masker keeps them, constant; or the running ones of its
        batch normalisation.
      opt_state: of the optimizer.
      failed_in_row: updates that failed one after another, int32.
      ema_params: exponential moving average of `params`, or None.
    """

    step: jax.Array
    params: Any
    statistics: Any
    opt_state: Any
    failed_in_row: jax.Array
    ema_params: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """What is validated and separates: the average where there is one.

        Running statistics are averages already, over some ten steps.
        """
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "statistics": self.statistics}


def create_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, *, with_ema: bool = False
) -> TrainState:
    """Makes the state before the first step from a masker's fresh variables."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        statistics=variables["statistics"],
        opt_state=optimizer.init(params),
        failed_in_row=jnp.zeros((), jnp.int32),
        ema_params=params if with_ema else None,
    )
