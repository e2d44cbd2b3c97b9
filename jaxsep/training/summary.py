"""What a training came to, when it ends."""

import contextlib
from typing import Any

import jax
from etils import epath

from jaxsep import sharding
from jaxsep.files import write_json
from jaxsep.models.files import ModelError
from jaxsep.models.load import load_model
from jaxsep.models.orbax_reader import FOLDER
from jaxsep.training.log import Totals
from jaxsep.training.setup import Setup
from jaxsep.training.state import TrainState
from jaxsep.training.validation import draw_example, validate

FINISHED = "finished"
STOPPED_EARLY = "stopped early"
DIVERGED = "diverged"


def write_summary(
    folder: epath.Path, setup: Setup, state: TrainState, totals: Totals, *, ended: str
) -> dict[str, Any]:
    """Writes `summary.json`; if the training is over, scores and draws its best checkpoint.

    Args:
      folder: Workdir.
      setup: Training that has ended.
      state: State after its last step.
      totals: Sums of all runs.
      ended: `FINISHED`, `STOPPED_EARLY`, `DIVERGED` or the name of the signal that interrupted it.

    Returns:
      The content of the file.
    """
    plan, data, steps = setup.plan, setup.data, int(state.step)
    score = info = scores = None
    if ended in (FINISHED, STOPPED_EARLY):
        masker, variables, info = load_model(folder)
        scores = validate(
            setup.eval_step,
            sharding.replicate(variables, setup.mesh),
            data,
            targets=setup.targets,
            batch_size=plan.batch_size,
            mesh=setup.mesh,
        )
        score = scores.sdr
        if jax.process_index() == 0:
            draw_example(folder / "spectrograms.png", data, masker, variables)
    else:
        with contextlib.suppress(ModelError):  # there may be none yet
            info = load_model(folder).info
            score = info.scores.get("sdr")
    timed_seconds = max(totals.step_seconds, 1e-9)
    summary = {
        "ended": ended,
        "steps": steps,
        "num_train_steps": plan.num_train_steps,
        "targets": list(setup.targets),
        "sdr": score,
        "sdr_by_target": scores and scores.estimate,
        "sdr_mixture": scores and scores.sdr_mixture,
        "sdr_mixture_by_target": scores and scores.mixture,
        "checkpoint": None if info is None else str(folder / FOLDER / str(info.step)),
        "seconds": totals.seconds,
        "examples_per_second": totals.timed_steps * plan.batch_size / timed_seconds,
        "data_wait": totals.data_wait_seconds / timed_seconds,
        "clipped": totals.clipped / max(steps, 1),
        "skipped_steps": totals.skipped,
        "data_set": data.name,
        "validation_tracks": len(data.track_names("validation")),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    if jax.process_index() == 0:
        write_json(folder / "summary.json", summary)
    return summary
