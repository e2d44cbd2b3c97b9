"""Models that others have published and that go by a name; imported at first use, then cached."""

import logging

import filelock
import platformdirs
from etils import epath

from jaxsep.convert import spleeter
from jaxsep.models.files import ModelError

SPLEETER = "spleeter-2stems"


def resolve(path: epath.PathLike) -> epath.PathLike:
    """Returns the model directory that a published model's name stands for.

    Other paths are returned as they are, and so is that of a folder of that name.

    Raises:
      ModelError: If the model can't be imported.
    """
    if str(path) != SPLEETER or epath.Path(path).exists():
        return path
    # The folder's name holds the format: those of before lie in a folder of the plain name.
    model = platformdirs.user_cache_path("jaxsep") / "models" / f"{SPLEETER}-safetensors"
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{model}.lock"):  # two at once: the second one waits
            if not model.exists():
                folder = spleeter.installed_weights()
                logging.warning("importing the weights in %s to %s, once", folder, model)
                spleeter.import_weights(folder, model)
    except spleeter.ImportWeightsError as error:
        raise ModelError(f"{SPLEETER}: {error}") from error
    except OSError as error:
        raise ModelError(f"{path}: {model} can't be written ({error})") from error
    return model
