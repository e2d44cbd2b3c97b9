"""Checkpoints as they lie on the disk: finding them, and restoring the masker in one.

A checkpoint is a folder `WORKDIR/checkpoints/STEP` with three items: `model` (what separates:
parameters and statistics), `training` (the rest of the state; its `step` is also the position in
the data) and `metadata` (config, signal format, score, provenance, and checksums of all of it;
JSON). Nothing in it is code, nothing is pickled.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
import tensorstore
from etils import epath
from flax import traverse_util

from jaxsep import models
from jaxsep.files import absolute, is_remote, read_json
from jaxsep.stft_config import StftConfig

OWN = "jaxsep-vocals"  # name of the model in the package
WEIGHTS = Path(__file__).parents[1] / "weights"
FOLDER = "checkpoints"
PATHS = ("data_dir", "start_from")  # fields of a config that say where something lies
STORED_DTYPES = ("float32", "float16")  # of parameters on the disk; training's are the former


class CheckpointError(Exception):
    """There is no usable checkpoint; the message says where and why."""


def sign(items: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Adds checksums (CRC-32C) to metadata: of each item's arrays, and of the metadata itself."""
    checksums: dict[str, Any] = {item: _checksums(tree) for item, tree in items.items()}
    return {**metadata, "crc32c": {**checksums, "metadata": _text_checksum(metadata)}}


def _text_checksum(metadata: dict[str, Any]) -> int:
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


def verify(path: epath.Path, tree: Any, checksums: dict[str, int]) -> None:
    """Raises CheckpointError if arrays aren't those that were saved."""
    for name, checksum in _checksums(tree).items():
        if checksums.get(name) != checksum:
            raise CheckpointError(f"{path}: damaged, {name} fails its checksum")


def find_checkpoints(path: epath.PathLike) -> list[epath.Path]:
    """Returns checkpoint folders, best first: that folder itself, or those of a workdir.

    Args:
      path: of either, or `OWN`.

    Raises:
      CheckpointError: if there is none.
    """
    path = absolute(WEIGHTS / OWN if str(path) == OWN and not Path(OWN).exists() else path)
    if _is_checkpoint(path):
        return [path]
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: no such folder; give the workdir of a training, {OWN} or spleeter-2stems"
        )
    checkpoints = [p for p in checkpoint_folders(path / FOLDER) if _is_checkpoint(p)]
    if not checkpoints:
        raise CheckpointError(f"{path}: no checkpoint in it; give the workdir of a training")

    def quality(checkpoint: epath.Path) -> tuple[float, int]:
        score = read_score(checkpoint)
        return float("-inf") if score is None else score, int(checkpoint.name)

    return sorted(checkpoints, key=quality, reverse=True)


def checkpoint_folders(folder: epath.Path) -> list[epath.Path]:
    return [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []


def read_score(checkpoint: epath.Path) -> float | None:
    try:
        return read_metadata(checkpoint)["sdr"]
    except CheckpointError:
        return None


def _is_checkpoint(path: epath.Path) -> bool:
    return (path / "metadata" / "metadata").exists() and (path / "model").is_dir()


def read_metadata(checkpoint: epath.Path) -> dict[str, Any]:
    """Reads a checkpoint's metadata.

    Raises:
      CheckpointError: if it is damaged.
    """
    try:
        metadata = read_json(checkpoint / "metadata" / "metadata", allow_nan=True)
        if missing := {"sdr", "stft", "config", "crc32c"} - metadata.keys():
            raise OSError(f"it has no {', '.join(sorted(missing))}")
        unsigned = {name: value for name, value in metadata.items() if name != "crc32c"}
        if metadata["crc32c"]["metadata"] != _text_checksum(unsigned):
            raise OSError("it fails its checksum")
    except (OSError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: its metadata can't be read ({error})") from error
    return metadata


def restore_masker(
    checkpoint: epath.Path, *, dtype: str = "float32"
) -> tuple[models.Masker, dict[str, Any]]:
    """Restores a checkpoint's masker and its variables, on one device.

    Args:
      checkpoint: one of `find_checkpoints`.
      dtype: of the masker's matrix products, whatever it was trained with.

    Raises:
      CheckpointError: if its files are damaged or don't fit together.
    """
    checkpoint = absolute(checkpoint)
    metadata = read_metadata(checkpoint)
    try:
        stft, fields = StftConfig(**metadata["stft"]), metadata["config"]["model"]
        masker = models.create(stft=stft, dtype=dtype, **fields)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint}: unknown model ({error})") from error
    # As they lie on the disk, for the checksums.
    stored_dtype = metadata.get("params_dtype", "float32")
    if stored_dtype not in STORED_DTYPES:
        raise CheckpointError(f"{checkpoint}: its parameters are of the unknown {stored_dtype!r}")
    with as_checkpoint_error(checkpoint):
        variables = _read_arrays(checkpoint / "model", metadata["crc32c"]["model"])
    verify(checkpoint, variables, metadata["crc32c"]["model"])
    variables = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)
    expected = jax.eval_shape(lambda: models.init(masker, jax.random.key(0)))
    if jax.tree.map(np.shape, variables) != jax.tree.map(np.shape, expected):
        raise CheckpointError(f"{checkpoint}: its arrays aren't those of its model")
    # Not committed to the device: a state that is begun in NumPy needs no other program.
    return masker, jax.device_put(variables)


def _read_arrays(item: epath.Path, names: Iterable[str]) -> dict[str, Any]:
    """Reads arrays of a checkpoint's item, as a tree.

    By TensorStore, in which Orbax stores them: to import Orbax takes as long as to separate ten
    seconds of music.

    Args:
      item: the folder.
      names: paths in the tree, their keys joined by slashes.

    Reference: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html
    """
    base = f"{item}/" if is_remote(item) else {"driver": "file", "path": f"{item}/"}
    context = tensorstore.Context()  # of all arrays, for they are in the same few files
    reads = {}
    for name in names:
        database = {"driver": "ocdbt", "base": base, "path": name.replace("/", ".") + "/"}
        array = tensorstore.open({"driver": "auto", "kvstore": database}, context=context)
        reads[name] = array.result().read()
    return traverse_util.unflatten_dict({n: r.result() for n, r in reads.items()}, sep="/")


def restore_best(path: epath.PathLike) -> tuple[epath.Path, models.Masker, dict[str, Any]]:
    """Restores the best sound checkpoint; damaged ones are named in the log.

    Args:
      path: see `find_checkpoints`.

    Returns:
      The checkpoint's folder, the masker and its variables.

    Raises:
      CheckpointError: if there is none.
    """
    problems = []
    for checkpoint in find_checkpoints(path):
        try:
            masker, variables = restore_masker(checkpoint)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            logging.warning("%s; using %s", problem, checkpoint)
        return checkpoint, masker, variables
    raise CheckpointError("; ".join(problems))


@contextlib.contextmanager
def as_checkpoint_error(checkpoint: epath.Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise many kinds, all meaning this
        raise CheckpointError(f"{checkpoint}: can't be restored ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


@contextlib.contextmanager
def as_os_error(folder: epath.Path, what: str) -> Iterator[None]:
    """Turns the many kinds of errors that Orbax and TensorStore raise into one that names it."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"{folder}: a checkpoint can't be {what}; is the disk full, or not writable?"
            f" ({first_line(error)})"
        ) from error


def save_model(path: epath.Path, params: Any, statistics: Any, metadata: dict[str, Any]) -> None:
    """Saves what `restore_masker` reads, outside a training's row of checkpoints.

    Raises:
      OSError: if it can't be written.
    """
    import orbax.checkpoint as ocp  # takes as long as to separate ten seconds of music

    model = {"params": params, "statistics": statistics}
    saver = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    with as_os_error(path, "saved"), saver:
        saver.save(
            absolute(path),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model),
                metadata=ocp.args.JsonSave(sign({"model": model}, metadata)),
            ),
            force=True,  # a training that goes on repeats the step
        )


def export_model(
    source: epath.PathLike, output: epath.Path, *, dtype: str, provenance: Any = None
) -> None:
    """Writes the best checkpoint's masker alone, as a model directory.

    Of the folders that its config names, the last part of the path is kept alone.

    Args:
      source: a workdir, or one checkpoint.
      output: for the model; holds all of it or isn't there. Its parent is made if need be.
      dtype: of the parameters on the disk, "float16" or "float32".
      provenance: what else to keep in its metadata; anything that JSON can hold.

    Raises:
      CheckpointError: if there is no sound checkpoint.
      OSError: if it can't be written.
    """
    checkpoint, _, variables = restore_best(source)
    known = read_metadata(checkpoint)
    kept = ("sdr", "stft", "config", "jaxsep_version", "data_set", "provenance")
    metadata = {name: known[name] for name in kept if name in known}
    config = metadata["config"]
    config |= {name: epath.Path(config[name]).name for name in PATHS if config.get(name)}
    metadata |= {"params_dtype": dtype, "step": int(checkpoint.name)}
    if provenance is not None:
        metadata["provenance"] = provenance
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), variables["params"])
    part = output.with_name(f".part-{os.getpid()}")
    try:
        save_model(part / FOLDER / checkpoint.name, params, variables["statistics"], metadata)
        if not is_remote(output):  # there alone are these notes needed; they name the folder
            for note in Path(part).rglob("commit_success.txt"):
                note.unlink()
        part.rename(output)
    finally:
        if part.exists():
            part.rmtree()
