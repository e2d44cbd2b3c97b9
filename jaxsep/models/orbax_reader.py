"""Reads models out of a training's Orbax checkpoints. Alone knows how they lie on the disk.

A checkpoint is a folder `WORKDIR/checkpoints/STEP` with three items: `model` (what separates:
parameters and statistics), `training` (the rest of the state; its `step` is also the position in
the data) and `metadata` (config, signal format, score, provenance, and checksums of all of it;
JSON). One that a killed process left half written fails its checksums.

Reference: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
from etils import epath

from jaxsep.console import first_line
from jaxsep.files import is_remote, read_json
from jaxsep.models.files import (
    Model,
    ModelError,
    ModelInfo,
    check_arrays,
    make_plan,
    to_variables,
)
from jaxsep.stft_config import StftConfig

FOLDER = "checkpoints"
PATHS = ("data_dir", "start_from")  # fields of a config that say where something lies


def find_checkpoints(workdir: epath.Path) -> list[epath.Path]:
    """Returns the folders of a training's checkpoints, best first; without scores, latest first.

    Those whose score can't be read come before all others, lest they are passed over in silence.
    """

    def quality(checkpoint: epath.Path) -> tuple[float, int]:
        try:
            score = read_metadata(checkpoint)["sdr"]
        except ModelError:
            score = float("inf")
        return float("-inf") if score is None else score, int(checkpoint.name)

    return sorted(filter(is_checkpoint, step_folders(workdir)), key=quality, reverse=True)


def step_folders(workdir: epath.Path) -> list[epath.Path]:
    """Returns what stands where a training's checkpoints do."""
    folder = workdir / FOLDER
    return [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []


def is_checkpoint(path: epath.Path) -> bool:
    """Tells whether a folder looks like a checkpoint."""
    return (path / "metadata" / "metadata").exists() and (path / "model").is_dir()


def read_score(checkpoint: epath.Path) -> float | None:
    """Returns the score of a checkpoint's validation, if it had one and it can be read."""
    try:
        return read_metadata(checkpoint)["sdr"]
    except ModelError:
        return None


def read_metadata(checkpoint: epath.Path) -> dict[str, Any]:
    """Reads a checkpoint's metadata.

    Raises:
      ModelError: If it is damaged.
    """
    try:
        metadata = read_json(checkpoint / "metadata" / "metadata", allow_nan=True)
        if missing := {"sdr", "stft", "config", "crc32c"} - metadata.keys():
            raise OSError(f"it has no {', '.join(sorted(missing))}")
        if not isinstance(metadata["sdr"], float | int | None):
            raise OSError("its score is no number")
        unsigned = {name: value for name, value in metadata.items() if name != "crc32c"}
        if metadata["crc32c"]["metadata"] != _text_checksum(unsigned):
            raise OSError("it fails its checksum")
    except (OSError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{checkpoint}: its metadata can't be read ({first_line(error)})"
        ) from error
    return metadata


def describe(metadata: Mapping[str, Any], *, step: int) -> ModelInfo:
    """Describes the model of a training, given the metadata of a checkpoint.

    Of the folders that the config names, the last part of the path is kept alone, so that a model
    doesn't say on which machine it was made. Numbers that JSON lacks, such as an infinite limit,
    are spelt out.
    """
    config = dict(metadata["config"])
    masker = dict(config.pop("model"))
    config |= {name: epath.Path(config[name]).name for name in PATHS if config.get(name)}
    return ModelInfo(
        masker=masker,
        stft=StftConfig(**metadata["stft"]),
        step=step,
        scores={} if metadata.get("sdr") is None else {"sdr": metadata["sdr"]},
        provenance=metadata.get("provenance"),
        data_set=metadata.get("data_set", {}),
        training=_spell_out(config),
        jaxsep_version=metadata.get("jaxsep_version", ""),
    )


def _spell_out(config: dict[str, Any]) -> dict[str, Any]:
    inner = {name: _spell_out(value) for name, value in config.items() if isinstance(value, dict)}
    endless = {
        name: str(value)
        for name, value in config.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    return config | inner | endless


def read_checkpoint(checkpoint: epath.Path) -> Model:
    """Reads the model of a checkpoint.

    Raises:
      ModelError: If its files are damaged or don't fit together.
    """
    metadata = read_metadata(checkpoint)
    step = int(checkpoint.name) if checkpoint.name.isdecimal() else 0
    try:
        info = describe(metadata, step=step)
        checksums = dict(metadata["crc32c"]["model"])
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{checkpoint}: unknown model ({first_line(error)})") from error
    plan = make_plan(checkpoint, info, metadata.get("params_dtype", "float32"))
    with as_model_error(checkpoint):
        arrays = _read_arrays(checkpoint / "model", plan.arrays)
    verify(checkpoint, arrays, checksums)
    return Model(plan.masker, to_variables(arrays), info)


def _read_arrays(
    item: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, np.ndarray]:
    """Reads arrays of a checkpoint's item, by their paths.

    By TensorStore, in which Orbax stores them: to import Orbax takes as long as to separate ten
    seconds of music.
    """
    import tensorstore  # not needed for other models

    for path in [] if is_remote(item) else Path(item).rglob("*"):
        if not (path.is_file() or path.is_dir()):  # TensorStore would wait for a pipe
            raise ModelError(f"{path} is no ordinary file")
    base = f"{item}/" if is_remote(item) else {"driver": "file", "path": f"{item}/"}
    context = tensorstore.Context()  # of all arrays, for they are in the same few files
    stores = {}
    for name in wanted:
        database = {"driver": "ocdbt", "base": base, "path": name.replace("/", ".") + "/"}
        stores[name] = tensorstore.open({"driver": "auto", "kvstore": database}, context=context)
    arrays = {name: store.result() for name, store in stores.items()}
    check_arrays(item, arrays, wanted)
    for name, array in arrays.items():  # TensorStore makes room for a chunk at a time
        if math.prod(array.chunk_layout.read_chunk.shape or ()) > max(array.size, 1):
            raise ModelError(f"{item}: {name} is stored in chunks larger than itself")
    reads = {name: array.read() for name, array in arrays.items()}
    return {name: read.result() for name, read in reads.items()}


def sign(items: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Adds checksums (CRC-32C) to metadata: of each item's arrays, and of the metadata itself."""
    checksums: dict[str, Any] = {item: _checksums(tree) for item, tree in items.items()}
    return {**metadata, "crc32c": {**checksums, "metadata": _text_checksum(metadata)}}


def verify(checkpoint: epath.Path, tree: Any, checksums: Mapping[str, int]) -> None:
    """Compares arrays with the checksums that were made when they were saved.

    Raises:
      ModelError: If they differ.
    """
    found = _checksums(tree)
    for name in sorted({*found, *checksums}):
        if found.get(name) != checksums.get(name):
            raise ModelError(f"{checkpoint}: damaged, {name} fails its checksum")


def _text_checksum(metadata: Mapping[str, Any]) -> int:
    return google_crc32c.value(json.dumps(metadata, sort_keys=True).encode())


def _checksums(tree: Any) -> dict[str, int]:
    """Returns the checksum of each array, by its path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): google_crc32c.value(
            np.ascontiguousarray(leaf).tobytes()
        )
        for path, leaf in leaves
    }


@contextlib.contextmanager
def as_model_error(checkpoint: epath.Path) -> Iterator[None]:
    """Turns what Orbax and TensorStore raise into one kind that names the checkpoint."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # they raise many kinds, all meaning this
        raise ModelError(f"{checkpoint}: can't be restored ({first_line(error)})") from error
