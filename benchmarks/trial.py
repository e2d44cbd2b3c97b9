"""One training of a benchmark: begun, gone on with or found finished."""

from pathlib import Path
from typing import Any

from etils import epath

from jaxsep.training.loop import DivergenceError, train_and_evaluate
from jaxsep.training.summary import FINISHED, STOPPED_EARLY


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
