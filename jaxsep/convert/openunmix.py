"""Open-Unmix's weights: files that its training writes, or that its authors have published.

Reference: Stöter et al., Open-Unmix: a reference implementation for music source separation, 2019,
and the Python package `openunmix` 1.3.0, for the names and the order of the arrays.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsep.convert.arrays import ImportWeightsError, Target, arrange, write_model
from jaxsep.convert.openunmix_files import WeightFile, provenance, read_files
from jaxsep.fields import check_fields
from jaxsep.models.openunmix import OpenUnmixMasker

# Counts of batches, and what the files of 2019 hold of the transform.
UNUSED = (
    *(f"bn{number}.num_batches_tracked" for number in (1, 2, 3)),
    *("sample_rate", "stft.window", "transform.0.window"),
)


def import_weights(paths: Sequence[Path], output: Path) -> dict[str, Any]:
    """Writes a model directory of all targets, which holds all of its files or isn't there.

    Args:
      paths: Paths of the targets' weights, or of folders that they are in.
      output: Folder for the model; not there yet.

    Returns:
      The weights' provenance, see `openunmix_files.provenance`.

    Raises:
      ImportWeightsError: if there are no usable weights, or there is something at `output`.
      OSError: if the model can't be written.
    """
    if output.exists():
        raise ImportWeightsError(f"{output} is already there; give the model another folder")
    files = read_files(paths)
    fields = {file.target: _fields(file) for file in files}
    variables = {file.target: _variables(file, fields[file.target]) for file in files}
    if list(fields) == ["vocals"]:
        model, tree = {"name": "openunmix", **fields["vocals"]}, variables["vocals"]
    else:
        networks = {target: {"name": "openunmix", **own} for target, own in fields.items()}
        model = {"name": "one_each", "networks": networks}
        tree = {
            collection: {target: variables[target][collection] for target in variables}
            for collection in ("params", "statistics")
        }
    origin = provenance(files)
    write_model(output, files[0].stft, model, tree, origin)
    return origin


def _variables(file: WeightFile, fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        check_fields(OpenUnmixMasker, fields)
        masker = OpenUnmixMasker(file.stft, **fields)
    except ValueError as error:
        raise ImportWeightsError(f"{file.path}: {error}") from error
    return to_variables(file.arrays, masker, name=str(file.path))


def _fields(file: WeightFile) -> dict[str, Any]:
    """Reads the masker's fields off the shapes."""
    arrays = file.arrays
    try:
        hidden_size, _ = arrays["fc1.weight"].shape
        (low_bins,) = arrays["input_scale"].shape
    except (KeyError, ValueError) as error:
        raise ImportWeightsError(
            f"{file.path}: these aren't the weights of an Open-Unmix"
        ) from error
    layers = [name for name in arrays if re.fullmatch(r"lstm\.weight_ih_l\d+", name)]
    return {
        "hidden_size": hidden_size,
        "num_layers": len(layers),
        "bidirectional": "lstm.weight_ih_l0_reverse" in arrays,
        "low_bins": low_bins,
    }


def to_variables(
    arrays: Mapping[str, np.ndarray], masker: OpenUnmixMasker, *, name: str
) -> dict[str, Any]:
    """Arranges the arrays of a state_dict as the masker's variables.

    Args:
      arrays: Arrays by their names in the package.
      masker: Masker of the variables.
      name: Beginning of error messages.

    Raises:
      ImportWeightsError: if an array is missing, is one too many or has another shape.
    """
    targets = {array: Target(place, np.transpose) for array, place in array_places(masker)}
    return arrange(masker, {name: arrays}, {name: targets}, unused=UNUSED)


def array_places(masker: OpenUnmixMasker) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields each array's name in the package and its place in the masker's variables.

    Matrices are transposed there. The package's LSTM has two biases for the sum that is felt; both
    have the same place.
    """
    for layer in ("input", "output"):
        for leaf in ("mean", "scale"):
            yield f"{layer}_{leaf}", ("params", layer, leaf)
    for number in (1, 2, 3):
        yield f"fc{number}.weight", ("params", f"dense_{number}", "kernel")
        yield f"bn{number}.weight", ("params", f"norm_{number}", "scale")
        yield f"bn{number}.bias", ("params", f"norm_{number}", "bias")
        yield f"bn{number}.running_mean", ("statistics", f"norm_{number}", "mean")
        yield f"bn{number}.running_var", ("statistics", f"norm_{number}", "var")
    directions = (
        {"forward": "", "backward": "_reverse"} if masker.bidirectional else {"forward": ""}
    )
    leaves = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "bias", "bias_hh": "bias"}
    for layer in range(masker.num_layers):
        for direction, suffix in directions.items():
            for name, leaf in leaves.items():
                place = ("params", f"lstm_{layer + 1}", f"{direction}_{leaf}")
                yield f"lstm.{name}_l{layer}{suffix}", place
