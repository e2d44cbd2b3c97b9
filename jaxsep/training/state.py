"""All that a training changes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


class TrainState(struct.PyTreeNode):
    """Parameters, statistics and the optimizer's state; the step is the position in the data.

    Attributes:
      step: Updates tried so far, int32.
      params: Parameters of the masker.
      statistics: The masker's collection `statistics`: of the data set, constant; or the running
        ones of its batch normalisation.
      opt_state: State of the optimizer.
      failed_in_row: Updates that failed one after another, int32.
      ema_params: Exponential moving average of `params`, or None.
    """

    step: jax.Array
    params: Any
    statistics: Any
    opt_state: Any
    failed_in_row: jax.Array
    ema_params: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """Variables to validate and to separate with: the average where there is one.

        Running statistics are averages already, over some ten steps.
        """
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "statistics": self.statistics}


def create_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, *, with_ema: bool = False
) -> TrainState:
    """Makes the state before the first step.

    Args:
      variables: Fresh `params` and `statistics` of a masker.
      optimizer: Optimizer of the parameters.
      with_ema: Whether to keep a moving average of the parameters.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        statistics=variables["statistics"],
        opt_state=optimizer.init(params),
        failed_in_row=jnp.zeros((), jnp.int32),
        # A copy, for a donated state can't give one array away twice.
        ema_params=jax.tree.map(jnp.copy, params) if with_ema else None,
    )
