"""Files of Open-Unmix's weights: whose they are, which target's, and of which transform.

Reference: the Python package `openunmix` 1.3.0, for what is published and for the names.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsep.convert.arrays import ImportWeightsError
from jaxsep.convert.pickle_stand_ins import UnsafePickleError
from jaxsep.convert.torch_files import read_arrays
from jaxsep.files import read_json, sha256_of
from jaxsep.stems import ACCOMPANIMENT, RESIDUAL
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
SPEECH_STFT = StftConfig(sample_rate=16000, channels=1, n_fft=1024, hop_length=512)
ORDER = ("vocals", "drums", "bass", "other")  # of a model's targets; others come behind


class Published(NamedTuple):
    """Weights that Open-Unmix's authors have published.

    Attributes:
      licence: Licence of the weights; None if the authors don't say.
      training: Data that they were trained on, and their address.
      digits: First 8 digits of each file's SHA-256, by target; they are in its name as well.
      stft: Transform of the weights, which come without settings.
    """

    licence: str | None
    training: str
    digits: dict[str, str]
    stft: StftConfig = PUBLISHED_STFT


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
    "umxse": Published(
        None,
        "trained on Voicebank+DEMAND (doi:10.5281/zenodo.3786908)",
        {"speech": "f5e0d9f9", "noise": "04a6fc2d"},
        SPEECH_STFT,
    ),
}


class WeightFile(NamedTuple):
    """A target's weights.

    Attributes:
      path: Path of the file.
      target: Name of the target.
      arrays: Arrays by their names in the package.
      stft: Transform of the weights.
      model: Name in `PUBLISHED`, or None.
      checksum: SHA-256 of the file.
    """

    path: Path
    target: str
    arrays: dict[str, np.ndarray]
    stft: StftConfig
    model: str | None
    checksum: str


def read_files(paths: Sequence[Path]) -> list[WeightFile]:
    """Reads the weights of a model's targets, in the order that the targets shall have.

    Args:
      paths: Paths of files, or of folders whose `.pth` files are all taken.

    Raises:
      ImportWeightsError: if there are none, or two for a target, or they can't be used together.
    """
    order = {target: place for place, target in enumerate(ORDER)}
    files = [_read_file(path) for path in _list(paths)]
    files.sort(key=lambda file: (order.get(file.target, len(order)), file.target))
    for file, other in itertools.pairwise(files):
        if file.target == other.target:
            raise ImportWeightsError(
                f"{file.path} and {other.path} are both for {file.target}; give one file for each"
                " target"
            )
        if file.stft != other.stft:
            raise ImportWeightsError(
                f"{other.path}: its {_describe(other.stft)} aren't the {_describe(file.stft)} of"
                f" {file.path.name}; make a model of each"
            )
    return files


def _describe(stft: StftConfig) -> str:
    return (
        f"{stft.sample_rate} Hz, {stft.channels} channels, nfft={stft.n_fft} and"
        f" nhop={stft.hop_length}"
    )


def _list(paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        files = sorted(path.glob("*.pth")) if path.is_dir() else [path]
        if not files:
            raise ImportWeightsError(f"{path}: has no .pth file; give Open-Unmix's weights")
        found += files
    return found


def _read_file(path: Path) -> WeightFile:
    try:
        checksum = sha256_of(path)
        arrays = read_arrays(path)
    except UnsafePickleError as error:
        raise ImportWeightsError(str(error)) from error
    except OSError as error:
        raise ImportWeightsError(
            f"{path}: can't be read ({error.strerror or error}); give .pth files, or the folder"
            " that they are in"
        ) from error
    for model, published in PUBLISHED.items():
        for target, digits in published.digits.items():
            if checksum.startswith(digits):
                return WeightFile(path, target, arrays, published.stft, model, checksum)
    stft = _read_settings(path, arrays)
    return WeightFile(path, _target_of(path), arrays, stft, None, checksum)


def _target_of(path: Path) -> str:
    """Reads the target off a file's name; a number or a checksum behind it doesn't belong to it."""
    target = re.sub(r"[-_](\d+|[0-9a-f]{8})$", "", path.stem)
    if target in (ACCOMPANIMENT, RESIDUAL, "mixture") or not re.fullmatch(r"\w[\w-]*", target):
        raise ImportWeightsError(
            f"{path}: {target!r} can't name a target; give the file its target's name, such as"
            " vocals.pth"
        )
    return target


def _read_settings(path: Path, arrays: Mapping[str, np.ndarray]) -> StftConfig:
    """Reads the transform from the file beside the weights; published weights have none."""
    file, bins = path.with_name(SETTINGS), np.size(arrays.get("output_scale", ()))
    if not file.exists() and bins == PUBLISHED_STFT.bins:
        return PUBLISHED_STFT
    try:
        settings = read_json(file)
        sizes: dict[str, Any] = {name: int(settings[key]) for name, key in SETTING_NAMES.items()}
        stft = StftConfig(**sizes)
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


def provenance(files: Sequence[WeightFile]) -> dict[str, Any]:
    """Tells where weights are from: `model`, `licence`, `training`, and each file's `sha256`.

    None stands for what isn't known; of files that differ in it all is told.
    """
    origins = []
    for file in files:
        known = PUBLISHED[file.model] if file.model else None
        origin = (file.model, known and known.licence, known and known.training)
        if origin not in origins:
            origins.append(origin)
    keys = ("model", "licence", "training")
    told = origins[0] if len(origins) == 1 else map(_join, zip(*origins, strict=True))
    checksums = {file.path.name: file.checksum for file in files}
    return {**dict(zip(keys, told, strict=True)), "sha256": checksums}


def _join(texts: tuple[str | None, ...]) -> str:
    return "; ".join(text or "unknown" for text in texts)
