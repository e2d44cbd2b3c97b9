"""Open-Unmix's weights: files that its training writes, or that its authors have published.

Reference: Stöter et al., Open-Unmix: a reference implementation for music source separation, 2019,
and the Python package `openunmix` 1.3.0, for the names and the order of the arrays.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsep.files import read_json
from jaxsep.importers.model_folder import ImportWeightsError, Target, arrange, write_model
from jaxsep.importers.safe_pickle import UnsafePickleError
from jaxsep.importers.weight_files import read_arrays
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.stft_config import StftConfig

SETTINGS = "separator.json"  # beside a training's weights
# The fields of StftConfig, as that file names them.
SETTING_NAMES = {
    "sample_rate": "sample_rate",
    "channels": "nb_channels",
    "n_fft": "nfft",
    "hop_length": "nhop",
}
PUBLISHED_STFT = StftConfig(sample_rate=44100, channels=2, n_fft=4096, hop_length=1024)
# Counts of batches, and what the files of 2019 hold of the transform.
UNUSED = (
    *(f"bn{number}.num_batches_tracked" for number in (1, 2, 3)),
    *("sample_rate", "stft.window", "transform.0.window"),
)


class Published(NamedTuple):
    """Weights that Open-Unmix's authors have published.

    Attributes:
      licence: of the weights.
      training: what they were trained on, and where they are.
      digits: of each target, the first 8 of its file's SHA-256 (they are in its name as well).
    """

    licence: str
    training: str
    digits: dict[str, str]


# Source: the package `openunmix` 1.3.0, its description and the addresses that it downloads from.
PUBLISHED = {
    "umx": Published(
        "MIT",
        "trained on MUSDB18 (doi:10.5281/zenodo.3370486)",
        {"vocals": "c8df74a5", "drums": "5a48008b", "bass": "646024d3", "other": "f8e132cc"},
    ),
    "umxhq": Published(
        "MIT",
        "trained on MUSDB18-HQ (doi:10.5281/zenodo.3370489)",
        {"vocals": "b62c91ce", "drums": "9619578f", "bass": "8d85a5bd", "other": "b52fbbf7"},
    ),
    "umxl": Published(
        "CC BY-NC-SA 4.0, for non-commercial use alone",
        "trained on private songs (doi:10.5281/zenodo.5069601)",
        {"vocals": "bccbd9aa", "drums": "69e0ebd4", "bass": "2ca1ce51", "other": "c8c5b3e6"},
    ),
}


def import_weights(path: Path, output: Path) -> dict[str, Any]:
    """Writes a model directory, which holds all of its files or isn't there.

    Args:
      path: of the vocals' weights, or of the folder that they are in.
      output: for the model; not there yet.

    Returns:
      The weights' provenance, `licence` among it; None stands for what isn't known.

    Raises:
      ImportWeightsError: if there are no usable weights, or there is something at `output`.
      OSError: if the model can't be written.
    """
    if output.exists():
        raise ImportWeightsError(f"{output} is already there; give the model another folder")
    path = _find_vocals(path)
    provenance = _provenance(path)
    try:
        arrays = read_arrays(path)
    except UnsafePickleError as error:
        raise ImportWeightsError(str(error)) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    stft, fields = _read_settings(path, arrays), _fields(path, arrays)
    try:
        masker = OpenUnmixMasker(stft, **fields)
    except ValueError as error:
        raise ImportWeightsError(f"{path}: {error}") from error
    variables = to_variables(arrays, masker, name=str(path))
    write_model(output, stft, {"name": "openunmix", **fields}, variables, provenance)
    return provenance


def _unreadable(path: Path, error: OSError) -> ImportWeightsError:
    return ImportWeightsError(
        f"{path}: can't be read ({error.strerror or error}); give the vocals' .pth file, or the"
        " folder that it is in"
    )


def _find_vocals(path: Path) -> Path:
    """Finds the vocals' weights in a folder; a file is taken for them."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("vocals*.pth"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ImportWeightsError(f"{path}: of vocals*.pth it has {names}; give one file")
    return found[0]


def _provenance(path: Path) -> dict[str, Any]:
    """Tells what a file is: its checksum, and whose it is if it is a published one's."""
    try:
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    known = {"model": None, "licence": None, "training": None}
    for name, (licence, training, digits) in PUBLISHED.items():
        targets = [target for target, start in digits.items() if checksum.startswith(start)]
        if targets and targets != ["vocals"]:
            raise ImportWeightsError(
                f"{path}: these are the weights of {name} for {targets[0]}; give those for vocals,"
                f" vocals-{digits['vocals']}.pth"
            )
        if targets:
            known = {"model": name, "licence": licence, "training": training}
    return {**known, "sha256": {path.name: checksum}}


def _read_settings(path: Path, arrays: Mapping[str, np.ndarray]) -> StftConfig:
    """Reads the transform from the file beside the weights; published weights have none."""
    file, bins = path.with_name(SETTINGS), np.size(arrays.get("output_scale", ()))
    if not file.exists() and bins == PUBLISHED_STFT.bins:
        return PUBLISHED_STFT
    try:
        settings = read_json(file)
        stft = StftConfig(**{field: int(settings[key]) for field, key in SETTING_NAMES.items()})
    except FileNotFoundError as error:
        raise ImportWeightsError(
            f"{path}: its {bins} bins aren't the {PUBLISHED_STFT.bins} of the published models;"
            f" lay Open-Unmix's {SETTINGS} beside it"
        ) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ImportWeightsError(f"{file}: no usable settings ({error})") from error
    if stft.bins != bins:
        raise ImportWeightsError(
            f"{file}: its nfft={stft.n_fft} makes {stft.bins} bins, but {path.name} has {bins}"
        )
    return stft


def _fields(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Reads the masker's fields off the shapes."""
    try:
        hidden_size, _ = arrays["fc1.weight"].shape
        (low_bins,) = arrays["input_scale"].shape
    except (KeyError, ValueError) as error:
        raise ImportWeightsError(f"{path}: these aren't the weights of an Open-Unmix") from error
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
      arrays: by their names in the package.
      masker: whose they are.
      name: that error messages begin with.

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
