"""Models that go by a name.

Our own is in the package, with its origin in its checkpoint and in MODEL_CARD.md. Those that others
have published are imported at first use, and kept in the user's cache.
"""

import logging
from pathlib import Path

import filelock
import platformdirs
from etils import epath

OWN = "jaxsep-vocals"
SPLEETER = "spleeter-2stems"
NAMES = (OWN, SPLEETER)
WEIGHTS = Path(__file__).parent / "weights"  # in the package


class UnavailableError(Exception):
    """A published model can't be had; the one-line message says why and what to do."""


def resolve(path: epath.PathLike) -> epath.Path:
    """Returns the model directory that a name stands for; other paths as they are.

    A folder of that name, where the path leads, comes first.

    Raises:
      UnavailableError: if the model can't be imported.
    """
    path = epath.Path(path)
    if str(path) not in NAMES or path.exists():
        return path
    if str(path) == OWN:
        return epath.Path(WEIGHTS / OWN)
    model = platformdirs.user_cache_path("jaxsep") / "models" / str(path)
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{model}.lock"):  # two at once: the second one waits
            if not model.exists():
                _import_spleeter(model)
    except OSError as error:
        raise UnavailableError(f"{path}: {model} can't be written ({error})") from error
    return epath.Path(model)


def _import_spleeter(model: Path) -> None:
    # Late, for most models are not published ones.
    from jaxsep.importers import spleeter

    try:
        folder = spleeter.installed_weights()
        logging.warning("importing the weights in %s to %s, once", folder, model)
        spleeter.import_weights(folder, model)
    except spleeter.ImportWeightsError as error:
        raise UnavailableError(f"{SPLEETER}: {error}") from error
