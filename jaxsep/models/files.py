"""A model is a folder of two files: `config.json`, what it is, and `model.safetensors`, its arrays.

The config names the masker with its fields, the signal format, the targets, where the model is
from, its licence and its scores. It holds the SHA-256 of the arrays' file and of itself, so that a
damaged model is refused. It is written last: a folder without a config that fits is no model.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from flax import traverse_util

from jaxsep import models
from jaxsep.console import first_line
from jaxsep.files import read_bytes, read_json, write_bytes, write_json
from jaxsep.models.masker import Masker
from jaxsep.stft_config import StftConfig
from jaxsep.version import __version__

CONFIG, ARRAYS = "config.json", "model.safetensors"
FORMAT = 1
STORED_DTYPES = ("float32", "float16")
MAX_HEADER = 2**20  # bytes of a safetensors file beside the arrays


class ModelError(Exception):
    """There is no usable model; the one-line message says where and why."""


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known of a model beside its arrays; `config.json` holds it.

    Attributes:
      masker: Name and fields of the masker, for `models.create`.
      stft: Format of the magnitudes.
      step: Training step that the arrays are of; 0 for a model that was trained elsewhere.
      scores: Scores by name; `sdr`, in dB, is that of the validation.
      licence: Licence of the model; empty where it isn't stated.
      provenance: Origin of the arrays: anything that JSON can hold.
      data_set: Name, checksum and licence of the data set; where several were mixed, those of each
        and its weight are in `sets`.
      training: Config of the training, without the masker. It holds no path of a machine.
      jaxsep_version: Version that trained or converted the model.
    """

    masker: dict[str, Any]
    stft: StftConfig
    step: int = 0
    scores: dict[str, Any] = dataclasses.field(default_factory=dict)
    licence: str = ""
    provenance: Any = None
    data_set: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    jaxsep_version: str = __version__


class Model(NamedTuple):
    """A masker that is ready to be applied.

    Attributes:
      masker: One of `jaxsep.models`, computing in float32.
      variables: Parameters and statistics of the masker, float32.
      info: What is known of it.
    """

    masker: Masker
    variables: dict[str, Any]
    info: ModelInfo


class Plan(NamedTuple):
    """A model as its description promises it, before any array is read.

    Attributes:
      masker: Masker of the description.
      arrays: Shape and stored type of each array, by its path in the variables.
    """

    masker: Masker
    arrays: dict[str, jax.ShapeDtypeStruct]


def save_model(
    folder: epath.PathLike,
    info: ModelInfo,
    variables: Mapping[str, Any],
    *,
    dtype: str = "float32",
) -> None:
    """Writes a model, or replaces the one in the folder.

    Args:
      folder: Path of the model; made if need be.
      info: What is known of the model.
      variables: Parameters and statistics of its masker.
      dtype: Type of the parameters on the disk, one of `STORED_DTYPES`.

    Raises:
      OSError: If it can't be written.
    """
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = traverse_util.flatten_dict(jax.device_get(dict(variables)), sep="/")
    arrays = {
        name: np.asarray(leaf, dtype if name.startswith("params/") else None, order="C")
        for name, leaf in leaves.items()
    }
    content = safetensors.numpy.save(arrays)
    masker = models.create(stft=info.stft, **info.masker)
    config = {
        "format": FORMAT,
        **dataclasses.asdict(info),
        "targets": list(masker.targets),
        "dtype": dtype,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    # The config last, and each file at once: whoever reads in between, or after a kill in between,
    # finds the old model or a checksum that doesn't fit, on a bucket too.
    write_bytes(folder / ARRAYS, content)
    write_json(folder / CONFIG, config | {"config_sha256": _checksum(config)})


def _checksum(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_model(folder: epath.Path) -> Model:
    """Reads the model in a folder.

    Raises:
      ModelError: If there is none, or its files are damaged or don't fit together.
    """
    config = _read_config(folder / CONFIG)
    try:
        names = {field.name for field in dataclasses.fields(ModelInfo)} & config.keys()
        known: dict[str, Any] = {name: config[name] for name in names}
        known["stft"] = StftConfig(**config["stft"])
        info = ModelInfo(**known)
        _check_types(info)
        targets, dtype, checksum = config["targets"], config["dtype"], config["sha256"]
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{folder / CONFIG}: not a model's ({first_line(error)})") from error
    plan = make_plan(folder, info, dtype)
    if targets != list(plan.masker.targets):
        raise ModelError(f"{folder / CONFIG}: its targets aren't those of its masker")
    arrays = _read_arrays(folder / ARRAYS, checksum, plan.arrays)
    return Model(plan.masker, to_variables(arrays), info)


def _read_config(file: epath.Path) -> dict[str, Any]:
    try:
        config = read_json(file)
        if not isinstance(config, dict) or "config_sha256" not in config:
            raise ModelError(f"{file}: not a model's")
        if config.get("format") != FORMAT:
            raise ModelError(
                f"{file}: a model of format {config.get('format')!r:.20}, not {FORMAT}; use the"
                " jaxsep that made it"
            )
        checksum = config.pop("config_sha256")
        if checksum != _checksum(config):
            raise ModelError(f"{file}: damaged, it fails its checksum")
    except FileNotFoundError as error:
        raise ModelError(
            f"{file.parent}: no model in it; give a model's folder or the workdir of a training"
        ) from error
    except OSError as error:
        raise ModelError(f"{file}: can't be read ({error.strerror or error})") from error
    return config


def _check_types(info: ModelInfo) -> None:
    for name, kind in (("masker", dict), ("step", int), ("scores", dict), ("training", dict)):
        if not isinstance(getattr(info, name), kind):
            raise TypeError(f"{name} is no {kind.__name__}")


def make_plan(source: epath.Path, info: ModelInfo, dtype: str) -> Plan:
    """Makes a described model's masker and finds the arrays that it needs; allocates none.

    Args:
      source: Path of the model, for messages.
      info: Description of the model.
      dtype: Type of the parameters on the disk.

    Raises:
      ModelError: If there is no such masker.
    """
    if dtype not in STORED_DTYPES:
        raise ModelError(f"{source}: its parameters are of the unknown type {dtype!r:.20}")
    try:
        masker = models.create(stft=info.stft, **info.masker)
        tree = jax.eval_shape(lambda: models.init(masker, jax.random.key(0)))
    except Exception as error:  # what an impossible field raises depends on the layer it is for
        raise ModelError(f"{source}: unknown model ({first_line(error)})") from error
    leaves: dict[Any, Any] = traverse_util.flatten_dict(tree, sep="/")
    stored = {
        name: leaf.update(dtype=np.dtype(dtype)) if name.startswith("params/") else leaf
        for name, leaf in leaves.items()
    }
    return Plan(masker, stored)


def _read_arrays(
    file: epath.Path, checksum: str, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, np.ndarray]:
    """Reads the arrays of a model, having compared the file's header with what is wanted."""
    most = MAX_HEADER + sum(leaf.size * leaf.dtype.itemsize for leaf in wanted.values())
    try:
        content = read_bytes(file, most)
    except ValueError as error:
        raise ModelError(f"{file}: {error}, more than its model has") from error
    except OSError as error:
        raise ModelError(f"{file}: can't be read ({error.strerror or error})") from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ModelError(f"{file}: damaged, it fails its checksum")
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{file}: damaged ({first_line(error)})") from error
    check_arrays(file, arrays, wanted)
    return arrays


def check_arrays(
    source: epath.Path, found: Mapping[str, Any], wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> None:
    """Compares names, shapes and types.

    Args:
      source: Path of the model, for messages.
      found: Arrays, or anything with their shape and type, by path.
      wanted: Arrays of the model's masker.

    Raises:
      ModelError: If an array is missing, is one too many, or has another shape or type.
    """
    for name in sorted({*found, *wanted}):
        there, here = (
            f"{tree[name].dtype.name} {list(tree[name].shape)}" if name in tree else "missing"
            for tree in (found, wanted)
        )
        if there != here:
            raise ModelError(
                f"{source}: its arrays aren't those of its model: {name} is {there}, not {here}"
            )


def to_variables(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Makes a masker's variables, float32, of arrays as they are stored."""
    whole = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    tree = {"params": {}, "statistics": {}, **traverse_util.unflatten_dict(whole, sep="/")}
    # Not committed to the device: a state that is begun in NumPy needs no other program.
    return jax.device_put(tree)
