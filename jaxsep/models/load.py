"""Loads a model, in whichever form it is there."""

import logging
from pathlib import Path

from etils import epath

from jaxsep.files import locate
from jaxsep.models import orbax_reader
from jaxsep.models.files import Model, ModelError, read_model

OWN = "jaxsep-vocals"  # name of the model in the package
WEIGHTS = Path(__file__).parents[1] / "weights"
MODEL = "model"  # folder of a training's best model, in its workdir; of a failed step's, in its own


def load_model(path: epath.PathLike) -> Model:
    """Loads a model.

    Args:
      path: Path of a model's folder; of a training's workdir, whose best model is taken, or its
        latest before there is a score; of one checkpoint in it; or `jaxsep-vocals`, the model in
        the package. Of a workdir, what is damaged is named in the log, and the next best taken.

    Returns:
      The masker, its variables, on one device, and what is known of it.

    Raises:
      ModelError: If there is no sound model.
    """
    try:
        path = locate(WEIGHTS / OWN if str(path) == OWN and not Path(OWN).exists() else path)
    except OSError as error:
        raise ModelError(str(error)) from error
    if not path.is_dir():
        raise ModelError(
            f"{path}: no such folder; give a model's folder, the workdir of a training or {OWN}"
        )
    if orbax_reader.is_checkpoint(path):
        return orbax_reader.read_checkpoint(path)
    if (path / MODEL).is_dir() or (path / orbax_reader.FOLDER).is_dir():
        return _load_best(path)
    return read_model(path)


def _load_best(workdir: epath.Path) -> Model:
    """Loads the best sound model of a training.

    Its model folder is of the best validation, written before the checkpoint of that step. A kill
    between the two leaves a model that is better than all checkpoints, and a kill while the folder
    is written one that fails its checksum; then the best checkpoint is still that of before.
    """
    sources = [(workdir / MODEL, read_model)] if (workdir / MODEL).is_dir() else []
    found = orbax_reader.find_checkpoints(workdir)
    sources += [(checkpoint, orbax_reader.read_checkpoint) for checkpoint in found]
    problems = []
    for source, read in sources:
        try:
            model = read(source)
        except ModelError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            logging.warning("%s; using %s", problem, source)
        return model
    raise ModelError(
        "; ".join(problems) or f"{workdir}: no checkpoint in it yet; wait for the first"
    )
