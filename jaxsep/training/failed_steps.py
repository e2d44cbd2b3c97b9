"""A step whose update failed: in which layer, on which examples, and its replay.

Such a step leaves a folder `WORKDIR/failed_steps/STEP`: `report.json`; the batch, one
`batch-*.npz` from each process; and the masker as it was, as a model in `model`.
"""

import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from jaxsep import models, sharding
from jaxsep.data.records import ExampleCodec
from jaxsep.data.tfrecord import RecordSource
from jaxsep.data.training_data import TrainingData
from jaxsep.files import locate, read_json, write_json
from jaxsep.models.files import save_model
from jaxsep.models.load import MODEL, load_model
from jaxsep.models.orbax_reader import describe
from jaxsep.training import health
from jaxsep.training.losses import Loss
from jaxsep.training.setup import Setup
from jaxsep.training.state import TrainState
from jaxsep.training.step import Batch

FOLDER = "failed_steps"
REPORT = "report.json"
NAMED_EXAMPLES = 3  # in a message; the report has all


class ReplayError(Exception):
    """There is nothing to replay."""


def investigate(
    workdir: epath.Path, setup: Setup, state: TrainState, step: int, batch: Batch
) -> tuple[str, health.LayerNumbers]:
    """Finds out what happened in a step and saves all that is needed to replay it.

    Args:
      workdir: Folder of the training; gets the step's folder.
      setup: Training that the step belongs to.
      state: State after the step; the step's update was left out, so its parameters are those
        that the step began with.
      step: Number of the step, from 1.
      batch: Batch of the step.

    Returns:
      What happened, in a line; and each layer's numbers.

    Raises:
      OSError: It can't be saved.
    """
    order = setup.layers
    found = jax.device_get(
        setup.examine(state.params, state.params, state.statistics, batch, np.int32(step - 1))
    )
    cause = health.find_cause(found["layers"], order, found["loss"])
    examples = _name_examples(found["examples"], setup.data)
    folder = workdir / FOLDER / str(step)
    process, count = jax.process_index(), jax.process_count()
    if process == 0:
        if folder.exists():  # a training that goes on repeats the step
            folder.rmtree()
        variables = {"params": state.params, "statistics": state.statistics}
        save_model(folder / MODEL, describe(setup.description, step=step - 1), variables)
    multihost_utils.sync_global_devices("the failed step has a folder")
    with (folder / f"batch-{process:05d}-of-{count:05d}.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **{n: _own_share(leaf) for n, leaf in batch.items()})
    if process == 0:
        layers = {name: _as_json(found["layers"][name]) for name in order}
        report = {"step": step, "cause": cause, "layers": layers, "examples": examples}
        write_json(folder / REPORT, report)
    bad = [e for e in examples if isinstance(e["loss"], str)]
    named = ", ".join(f"{e['track']} from {e['start']:.1f} s" for e in bad[:NAMED_EXAMPLES])
    which = f"; {len(bad)} of {len(examples)} examples, {named}" if bad else ""
    message = f"{cause or 'nothing found when repeated'}{which}; saved in {folder}"
    return message, found["layers"]


def list_reports(workdir: epath.Path) -> list[dict[str, Any]]:
    """Returns the reports of a training's failed steps, in their order.

    Raises:
      OSError: One is damaged.
    """
    files = locate(workdir / FOLDER).glob(f"*/{REPORT}")
    return sorted(map(_read_report, files), key=lambda report: report["step"])


def _read_report(file: epath.Path) -> dict[str, Any]:
    report = read_json(file)
    match report:
        case {"step": int(), "cause": str() | None}:
            return report
    raise OSError(f"{file}: damaged, no report of a failed step")


def replay(
    workdir: epath.Path, step: int
) -> tuple[dict[str, dict[str, float]], str | None, dict[str, Any]]:
    """Repeats the forward and backward pass of a saved step, on one device.

    Returns:
      Each layer's numbers, in the order of the forward pass; the cause (`health.find_cause`); and
      the report of then.

    Raises:
      ReplayError: if that step wasn't saved, or not as a whole.
      jaxsep.models.files.ModelError: if its masker can't be restored.
    """
    folder = workdir / FOLDER / str(step)
    reports = {report["step"]: report for report in list_reports(workdir)}
    if step not in reports:
        there = f"there are {', '.join(map(str, reports))}" if reports else "there are none"
        raise ReplayError(f"{folder}: no failed step saved; {there}")
    _, variables, info = load_model(folder / MODEL)
    config, parts = info.training, _load_shares(folder)
    try:
        masker = models.create(stft=info.stft, dtype=config["compute_dtype"], **info.masker)
        batch = {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}
        examine = health.make_examine(
            masker,
            loss=Loss(config["loss"]),
            mesh=sharding.make_mesh(jax.local_devices()[:1]),
            grad_accum_steps=config["grad_accum_steps"],
            seed=config["seed"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReplayError(f"{folder}: damaged ({error!r})") from error
    params, statistics = variables["params"], variables["statistics"]
    found = jax.device_get(examine(params, params, statistics, batch, step - 1))
    order = health.layer_names(masker)
    layers = {name: {n: float(v) for n, v in found["layers"][name].items()} for name in order}
    return layers, health.find_cause(layers, order, found["loss"]), reports[step]


def _load_shares(folder: epath.Path) -> list[dict[str, np.ndarray]]:
    """Loads each process's share of a saved batch, in order."""
    shares = sorted(locate(folder).glob("batch-*.npz"))
    if not shares or int(shares[0].stem.split("-")[-1]) != len(shares):
        raise ReplayError(f"{folder}: shares of the batch are missing")
    parts = []
    for share in shares:
        try:
            with share.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                parts.append(dict(arrays))
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ReplayError(f"{share}: can't be read ({error})") from error
    return parts


def _name_examples(examples: dict[str, np.ndarray], data: TrainingData) -> list[dict[str, Any]]:
    """Says of each example of a batch which place of which track it is."""
    source = RecordSource(data.shards("train"))
    codec = ExampleCodec(data.stft, (), data.representation)  # of what all data sets have
    hop_seconds = data.stft.hop_length / data.stft.sample_rate
    named = []
    for place, record in enumerate(examples["record"]):
        stored = codec.decode(source[int(record)])
        first_frame = int(examples["first_frame"][place])
        named.append(
            {
                "track": stored["track"],
                "start": float(stored["start"]) + first_frame * hop_seconds,
                "seconds": int(examples["num_frames"][place]) * hop_seconds,
                "record": int(record),
                "first_frame": first_frame,
                "swapped": bool(examples["swapped"][place]),
                **_as_json({"loss": examples["loss"][place]}),
            }
        )
    return named


def _own_share(leaf: jax.Array) -> np.ndarray:
    """Returns the rows of an array that this process holds."""
    shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def _as_json(numbers: dict[str, Any]) -> dict[str, float | str]:
    """Spells out what JSON has no numbers for: "nan", "inf"."""
    values = {name: float(value) for name, value in numbers.items()}
    return {name: v if np.isfinite(v) else str(v) for name, v in values.items()}
