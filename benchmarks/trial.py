"""One training of a benchmark: begun, continued or found finished."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optax
from etils import epath

from jaxsep import sharding
from jaxsep.models.masker import Masker, Variables
from jaxsep.training.loop import DivergenceError, train_and_evaluate
from jaxsep.training.losses import Loss
from jaxsep.training.state import TrainState, create_state
from jaxsep.training.step import make_train_step
from jaxsep.training.summary import FINISHED, STOPPED_EARLY


def begin(
    masker: Masker, variables: Variables, optimizer: optax.GradientTransformation, **options: Any
) -> tuple[Callable[..., Any], TrainState]:
    """Begins a training on batches in memory: plain, but for the options.

    Args:
      masker: The masker.
      variables: Its first parameters and statistics.
      optimizer: The optimizer.
      **options: Of `make_train_step`; by default nothing is clipped, averaged or accumulated.

    Returns:
      The training step, and its first state.
    """
    mesh = sharding.make_mesh()
    plain = {"loss": Loss("mean_square"), "grad_clip_norm": float("inf"), "seed": 0}
    options = {**plain, "grad_accum_steps": 1, "ema_decay": 0.0, **options}
    step = make_train_step(masker, optimizer, mesh=mesh, **options)
    return step, sharding.replicate(create_state(variables, optimizer), mesh)


def train(config: Any, workdir: Path) -> dict[str, Any]:
    """Trains as a config says, or goes on; a training that diverges is a result as well.

    Args:
      config: Config of the training.
      workdir: Folder of the training.

    Returns:
      The training's summary, and as `cause` why it diverged, or None.

    Raises:
      KeyboardInterrupt: It was interrupted; the same call goes on.
    """
    try:
        summary = train_and_evaluate(config, epath.Path(workdir))
    except DivergenceError as error:
        return {**error.summary, "cause": str(error)}
    if summary["ended"] not in (FINISHED, STOPPED_EARLY):
        raise KeyboardInterrupt
    return {**summary, "cause": None}
