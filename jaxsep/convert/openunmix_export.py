"""Models of Open-Unmix's kind, made into the files that its package reads."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from etils import epath
from flax import traverse_util

from jaxsep.convert.openunmix import array_places
from jaxsep.convert.openunmix_files import SETTING_NAMES, SETTINGS
from jaxsep.convert.torch_writer import write_torch_file
from jaxsep.files import new_folder, write_json
from jaxsep.models.load import load_model
from jaxsep.models.masker import Masker
from jaxsep.models.one_each import OneNetworkEach
from jaxsep.models.openunmix import OpenUnmixMasker


class ExportError(Exception):
    """A model can't be exported; the one-line message says which and why."""


def export_weights(source: epath.PathLike, output: Path, *, file_format: str = "pth") -> None:
    """Writes the folder of a model's targets as Open-Unmix's training leaves it, or nothing.

    Args:
      source: Path of the model, see `load_model`.
      output: Folder for the weights and their settings; not there yet.
      file_format: Format of the weights, one of `WRITERS`.

    Raises:
      ExportError: if the model is of another kind, or there is something at `output`.
      jaxsep.models.files.ModelError: if there is no sound model.
      OSError: if the files can't be written.
    """
    if output.exists():
        raise ExportError(f"{output} is already there; give the weights another folder")
    masker, variables, info = load_model(source)
    networks = _networks(masker, variables)
    if not networks:
        raise ExportError(
            f"{source}: a model of another kind than Open-Unmix's package runs; give one of"
            " `jaxsep import-openunmix` or of configs/openunmix.py"
        )
    stft = masker.stft
    settings = {key: getattr(stft, field) for field, key in SETTING_NAMES.items()}
    with new_folder(output) as part:
        folder = Path(part)
        for target, (network, leaves) in networks.items():
            shape = {
                "hidden_size": network.hidden_size,
                "unidirectional": not network.bidirectional,
            }
            WRITERS[file_format](folder / f"{target}.{file_format}", to_arrays(leaves, network))
            notes = {"args": {**settings, **shape}, "provenance": info.provenance}
            write_json(folder / f"{target}.json", notes)
        write_json(folder / SETTINGS, settings)


def _networks(
    masker: Masker, variables: Mapping[str, Any]
) -> dict[str, tuple[OpenUnmixMasker, Mapping[str, Any]]]:
    """Returns each target's network and its variables; nothing if they are of another kind."""
    if isinstance(masker, OpenUnmixMasker) and len(masker.targets) == 1:
        return {masker.targets[0]: (masker, variables)}
    networks = {}
    for target, network in (masker.maskers if isinstance(masker, OneNetworkEach) else {}).items():
        if not isinstance(network, OpenUnmixMasker):
            return {}
        networks[target] = network, {name: tree[target] for name, tree in variables.items()}
    return networks


def to_arrays(variables: Mapping[str, Any], masker: OpenUnmixMasker) -> dict[str, np.ndarray]:
    """Returns a masker's variables as the arrays of a state_dict, by their names in the package.

    Of the two biases of its LSTM the second is zero, and no batch has been counted.
    """
    leaves = traverse_util.flatten_dict(variables)
    arrays = {
        name: np.ascontiguousarray(np.asarray(leaves[place]).T)
        for name, place in array_places(masker)
    }
    second = {name: np.zeros_like(arrays[name]) for name in arrays if "bias_hh" in name}
    counts = {f"bn{number}.num_batches_tracked": np.array(0) for number in (1, 2, 3)}
    return {**arrays, **second, **counts}


WRITERS: dict[str, Callable[[Path, dict[str, np.ndarray]], object]] = {
    "pth": write_torch_file,
    "safetensors": lambda path, arrays: path.write_bytes(safetensors.numpy.save(arrays)),
}
