"""The training loop: `train_and_evaluate` reads like the description of a training."""

import dataclasses
import json
import time
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from tqdm import tqdm

import jaxsep
from jaxsep import checkpoints, models, optimizer, partitioning, plots, records
from jaxsep.input_pipeline import eval_batches, train_batches
from jaxsep.metrics import MetricWriter, TrackEnergies
from jaxsep.tfrecord import RecordSource
from jaxsep.train_step import create_state, make_eval_step, make_train_step

# Fields that change neither the numbers nor what they mean.
_MAY_CHANGE = ("data_dir", "log_every_steps", "eval_every_steps", "max_skipped_in_row")


class TrainingError(Exception):
    """The training can't start or go on; the message says why and what to do."""


def train_and_evaluate(config: Any, workdir: epath.PathLike) -> dict[str, Any]:
    """Trains a masker and scores it, continuing where an earlier run in `workdir` ended.

    Args:
      config: a ConfigDict as `configs/default.py` describes it, with `data_dir` and
        `num_train_steps` set.
      workdir: gets checkpoints, metrics, `config.json`, `summary.json`, `spectrograms.png`.

    Returns:
      What `summary.json` holds: `sdr` and `sdr_mixture` (dB, mean over the validation tracks, None
      without any), `checkpoint` (path of the best), `steps`, `seconds` and more.

    Raises:
      TrainingError: if the workdir belongs to another training, or the gradients stay non-finite.
      records.DatasetError, ValueError: if the data set or the config can't be used.
    """
    workdir = epath.Path(workdir)
    dataset = records.load_dataset(config.data_dir)
    _check(config)

    mesh = partitioning.make_mesh()
    masker = models.create(stft=dataset.stft, **config.model)
    schedule = optimizer.make_schedule(
        config.learning_rate, config.warmup_steps, config.num_train_steps
    )
    adam = optimizer.make_optimizer(schedule, grad_clip_norm=config.grad_clip_norm)
    train_step = make_train_step(
        masker, adam, loss=config.loss, clip=config.grad_clip_norm, mesh=mesh
    )
    eval_step = make_eval_step(masker, mesh=mesh)
    _claim_workdir(workdir, config, dataset)
    variables = models.init(masker, jax.random.key(config.seed))
    variables = models.with_statistics(variables, dataset.statistics())
    state = jax.device_put(create_state(variables, adam), partitioning.replicated(mesh))
    segment_frames = dataset.manifest["settings"]["segment_frames"]
    batches = train_batches(
        dataset,
        batch_size=config.batch_size,
        crop_frames=min(config.crop_frames or segment_frames, segment_frames),
        gain_db=config.gain_db,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

    checkpointer = checkpoints.Checkpointer(workdir)
    seconds_before = 0.0
    if (latest := checkpointer.latest_step()) is not None:
        state, position, metadata = checkpointer.restore(latest, state)
        batches.set_state(position)
        seconds_before = metadata["seconds"]
        logging.info("continuing at step %d of %d", latest, config.num_train_steps)
    writer = MetricWriter(workdir, active=jax.process_index() == 0)
    started = time.monotonic()

    def validate_and_save() -> None:
        score, _ = evaluate(eval_step, state.variables, dataset, config.batch_size, mesh)
        writer.write(int(state.step), {"validation/sdr": score})
        save(score)

    def save(score: float | None) -> None:
        metadata = {
            "sdr": score,
            "seconds": seconds_before + time.monotonic() - started,
            "config": config.to_dict(),
            "stft": dataclasses.asdict(dataset.stft),
            "jaxsep_version": jaxsep.__version__,
            "data_set": {
                "name": dataset.manifest["name"],
                "manifest_sha256": dataset.manifest_sha256,
                "licence": dataset.manifest["licence"],
            },
        }
        checkpointer.save(state, batches.get_state(), metadata)

    progress = tqdm(
        total=config.num_train_steps * config.batch_size,
        initial=int(state.step) * config.batch_size,
        unit=" examples",
        desc="training",
        disable=jax.process_index() != 0,
        mininterval=1.0,
    )
    pending: tuple[int, dict[str, Any]] | None = None
    try:
        for step in range(int(state.step) + 1, config.num_train_steps + 1):
            waiting = time.monotonic()
            batch = partitioning.to_global_batch(next(batches), mesh)
            waited = time.monotonic() - waiting
            state, metrics = train_step(state, batch)
            # The numbers of the step before are there by now: reading them stops nothing.
            if pending is not None:
                _report(*pending, progress, writer, schedule, config)
            pending = (step, metrics | {"data_wait_seconds": waited})
            progress.update(config.batch_size)
            if step % config.eval_every_steps == 0 or step == config.num_train_steps:
                validate_and_save()
        if pending is not None:
            _report(*pending, progress, writer, schedule, config)
    except KeyboardInterrupt:
        # Within a step the donated state may be gone; then the last checkpoint has to do.
        if not state.step.is_deleted() and int(state.step) != checkpointer.latest_step():
            save(None)
        raise
    finally:
        progress.close()
        checkpointer.close()
        writer.close()

    return _summarise(workdir, dataset, eval_step, masker, config, mesh)


def _check(config: Any) -> None:
    """Raises ValueError for numbers that no training can have."""
    for name in ("num_train_steps", "batch_size", "log_every_steps", "eval_every_steps"):
        if config[name] < 1:
            raise ValueError(f"{name}={config[name]} must be 1 or more")
    for name in ("learning_rate", "grad_clip_norm"):
        if not config[name] > 0:
            raise ValueError(f"{name}={config[name]} must be more than 0")
    if config.crop_frames is not None and config.crop_frames < 1:
        raise ValueError(f"crop_frames={config.crop_frames} must be 1 or more")
    partitioning.check_batch_size(config.batch_size)


def _claim_workdir(workdir: epath.Path, config: Any, dataset: records.Dataset) -> None:
    """Notes in the workdir what is trained there, or checks that it is the same training."""
    wanted = {
        name: value for name, value in config.to_dict().items() if name not in _MAY_CHANGE
    } | {"data_set_sha256": dataset.manifest_sha256}
    file = workdir / "config.json"
    if file.exists():
        there = json.loads(file.read_text())
        names = [name for name in there | wanted if there.get(name) != wanted.get(name)]
        if names:
            difference = "; ".join(f"{n} {there.get(n)}, not {wanted.get(n)}" for n in names)
            raise TrainingError(
                f"{workdir} holds another training ({difference}); use another --workdir"
            )
    elif jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        _write_json(file, wanted)


def _report(step, metrics, progress, writer, schedule, config) -> None:
    """Shows and writes a step's numbers, and stops a training that has come to nothing."""
    if int(metrics["skipped_in_row"]) >= config.max_skipped_in_row:
        raise TrainingError(
            f"the gradient was not finite {config.max_skipped_in_row} steps in a row, until step"
            f" {step}; lower learning_rate or grad_clip_norm, and start from the last checkpoint"
        )
    if step % config.log_every_steps == 0 or step == 1:
        scalars = {f"train/{name}": value for name, value in jax.device_get(metrics).items()}
        writer.write(step, scalars | {"train/learning_rate": schedule(step - 1)})
        progress.set_postfix(
            loss=f"{float(metrics['loss']):.4f}", grad=f"{float(metrics['grad_norm']):.2g}"
        )


def evaluate(
    eval_step, variables, dataset: records.Dataset, batch_size: int, mesh
) -> tuple[float | None, float | None]:
    """Scores a masker on the validation split.

    Returns:
      The mean over tracks of the vocals' SDR in dB: of the estimate and of the mixture itself.
      Energies are those of the complex spectrograms (`losses.error_energy`). None where no track
      has vocals.
    """
    energies = TrackEnergies()
    share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    for tracks, batch in eval_batches(dataset, "validation", batch_size=batch_size, **share):
        result = eval_step(variables, partitioning.to_global_batch(batch, mesh))
        energies.add(tracks, jax.device_get(result))
    return energies.mean_sdr("error"), energies.mean_sdr("mixture_error")


def _summarise(workdir, dataset, eval_step, masker, config, mesh) -> dict[str, Any]:
    """Scores the best checkpoint, draws what it does and writes `summary.json`."""
    best = checkpoints.find_checkpoint(workdir)
    variables = checkpoints.restore_masker(best)[1]
    variables = jax.device_put(variables, partitioning.replicated(mesh))
    score, mixture_score = evaluate(eval_step, variables, dataset, config.batch_size, mesh)
    metadata = checkpoints.read_metadata(best)
    last = checkpoints.read_metadata(workdir / checkpoints.FOLDER / str(config.num_train_steps))
    summary = {
        "sdr": score,
        "sdr_mixture": mixture_score,
        "checkpoint": str(best),
        "steps": config.num_train_steps,
        "seconds": last["seconds"],
        "data_set": metadata["data_set"]["name"],
        "validation_tracks": dataset.num_tracks("validation"),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
    }
    if jax.process_index() == 0:
        _draw_example(workdir / "spectrograms.png", dataset, masker, variables)
        _write_json(workdir / "summary.json", summary)
    return summary


def _draw_example(path: epath.Path, dataset: records.Dataset, masker, variables) -> None:
    """Draws the held-out segment with the most vocals: mixture, estimate, reference."""
    split = "validation" if dataset.num_tracks("validation") else "train"
    source = RecordSource(dataset.shards(split))
    examples = (dataset.codec.decode(source[index]) for index in range(len(source)))
    example = max(examples, key=lambda e: np.square(e["vocals"].astype(np.float32)).sum())
    mixture = example["mixture"].astype(np.float32)
    mask, _ = masker.apply(variables, mixture[None], masker.initial_carry(1))
    magnitudes = {
        "mixture": mixture,
        "vocals, estimate": mixture * np.asarray(mask[0]),
        "vocals, reference": example["vocals"],
    }
    title = f"{example['track']} ({split}), from {example['start']:.1f} s"
    plots.save_spectrograms(path, magnitudes, dataset.stft, title=title)


def _write_json(path: epath.Path, value: Any) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)
