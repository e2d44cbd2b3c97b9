"""What the importers share: arrays by other names become a masker's variables, and a model."""

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from jaxsep import models
from jaxsep.files import new_folder
from jaxsep.models.files import ModelInfo, save_model
from jaxsep.models.masker import Masker
from jaxsep.stft_config import StftConfig


class ImportWeightsError(Exception):
    """There are no usable weights; the one-line message says where and why."""


class Target(NamedTuple):
    """Where an array goes, and how it is turned round on the way."""

    path: tuple[str, ...]
    convert: Callable[[np.ndarray], np.ndarray]


def arrange(
    masker: Masker,
    sources: Mapping[str, Mapping[str, np.ndarray]],
    targets: Mapping[str, Mapping[str, Target]],
    *,
    unused: Collection[str] = (),
) -> dict[str, Any]:
    """Arranges arrays as a masker's variables; those that go to one place are added up.

    Args:
      masker: Masker of the variables.
      sources: Arrays by name, for each source by a word that error messages begin with.
      targets: Place of each array, by the same sources and names.
      unused: Names of arrays that may be there and go nowhere.

    Raises:
      ImportWeightsError: if an array is missing, is one too many or has another shape or type.
    """
    wanted: dict[Any, Any] = traverse_util.flatten_dict(
        jax.eval_shape(functools.partial(models.init, masker), jax.random.key(0))
    )
    variables: dict[Any, np.ndarray] = {}
    for source, arrays in sources.items():
        if missing := targets[source].keys() - arrays.keys():
            raise ImportWeightsError(f"{source}: there is no array {min(missing)}")
        if unknown := arrays.keys() - targets[source].keys() - set(unused):
            raise ImportWeightsError(f"{source}: {min(unknown)} is no array of this network")
        for name, (path, convert) in targets[source].items():
            try:
                array = convert(arrays[name])
            except ValueError:  # too few axes
                array = arrays[name]
            if (array.shape, array.dtype) != (wanted[path].shape, wanted[path].dtype):
                raise ImportWeightsError(
                    f"{source}: {name} of the shape {arrays[name].shape} and the type {array.dtype}"
                    f" doesn't make {'/'.join(path)}, {wanted[path].shape} of {wanted[path].dtype}"
                )
            whole = variables[path] + array if path in variables else array
            variables[path] = np.ascontiguousarray(whole)
    return traverse_util.unflatten_dict(variables)


def write_model(
    output: Path,
    stft: StftConfig,
    fields: Mapping[str, Any],
    variables: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Writes the model of imported weights, whole or not at all.

    Args:
      output: Path of the model; not there yet.
      stft: Format of the masker's magnitudes.
      fields: Name and fields of the masker, for `models.create`.
      variables: Parameters and statistics of the masker.
      provenance: Origin of the weights, and their `licence` if it is known; JSON can hold it.

    Raises:
      OSError: If it can't be written.
    """
    licence = provenance.get("licence") or ""
    info = ModelInfo(dict(fields), stft, licence=licence, provenance=dict(provenance))
    with new_folder(output) as folder:
        save_model(folder, info, variables)
