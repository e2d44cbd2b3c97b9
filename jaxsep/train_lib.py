"""The training loop: `train_and_evaluate` reads like the description of a training."""

import dataclasses
import time
from typing import Any

import jax
from absl import logging
from etils import epath
from tqdm import tqdm

import jaxsep
from jaxsep import checkpoints, models, optimizer, partitioning, records, workdir
from jaxsep.files import absolute, write_json
from jaxsep.input_pipeline import train_batches
from jaxsep.interrupts import StopRequest
from jaxsep.metrics import MetricWriter
from jaxsep.train_step import create_state, make_eval_step, make_train_step
from jaxsep.validation import draw_example, validate


class ConfigError(Exception):
    """A field of the config has a value that can't be used."""


class DivergenceError(Exception):
    """The gradients stayed non-finite."""


def train_and_evaluate(config: Any, folder: epath.PathLike) -> dict[str, Any]:
    """Trains a masker and scores it, continuing where an earlier run in `folder` ended.

    Ctrl-C ends the step in hand, saves a checkpoint and then raises KeyboardInterrupt; a second
    one doesn't wait. Either way the next run ends with the parameters of an undisturbed one.

    Args:
      config: a ConfigDict as `configs/default.py` describes it, with `data_dir` and
        `num_train_steps` set.
      folder: the workdir; gets checkpoints, metrics, `config.json`, `summary.json` and
        `spectrograms.png`.

    Returns:
      What `summary.json` holds: `sdr` and `sdr_mixture` (dB, mean over the validation tracks, None
      without any), `checkpoint` (path of the best), `steps`, `seconds` and more.

    Raises:
      ConfigError, records.DatasetError: if the config or the data set can't be used.
      workdir.WorkdirError, checkpoints.CheckpointError: if `folder` belongs to another training,
        or what it holds is damaged.
      DivergenceError: if the gradients stay non-finite.
      OSError: if `folder` can't be written.
    """
    _check(config)
    folder = absolute(folder)
    dataset = records.load_dataset(config.data_dir)
    mesh = partitioning.make_mesh()
    masker, schedule, adam, train_step = _build(config, dataset, mesh)
    eval_step = make_eval_step(masker, mesh=mesh)
    segment_frames = dataset.manifest["settings"]["segment_frames"]
    batches = train_batches(
        dataset,
        batch_size=config.batch_size,
        crop_frames=min(config.crop_frames or segment_frames, segment_frames),
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    workdir.claim(folder, config.to_dict(), dataset)

    variables = models.init(masker, jax.random.key(config.seed))
    variables = models.with_statistics(variables, dataset.statistics())
    state = jax.device_put(create_state(variables, adam), partitioning.replicated(mesh))
    checkpointer = checkpoints.Checkpointer(folder)
    seconds_before = 0.0
    if (latest := checkpointer.latest_step()) is not None:
        state, position, metadata = checkpointer.restore(latest, state)
        batches.set_state(position)
        seconds_before = metadata["seconds"]
        logging.info("continuing at step %d of %d", latest, config.num_train_steps)

    description = describe(config, dataset)
    writer = MetricWriter(folder, active=jax.process_index() == 0)
    progress = tqdm(
        total=config.num_train_steps * config.batch_size,
        initial=int(state.step) * config.batch_size,
        unit=" examples",
        desc="training",
        disable=jax.process_index() != 0,
        mininterval=1.0,
    )
    started = time.monotonic()
    before: tuple[int, dict[str, Any]] | None = None
    try:
        with StopRequest() as stop:
            for step in range(int(state.step) + 1, config.num_train_steps + 1):
                asked = time.monotonic()
                batch = partitioning.to_global_batch(next(batches), mesh)
                waited = time.monotonic() - asked
                state, metrics = train_step(state, batch)
                progress.update(config.batch_size)
                # The numbers of the step before are there by now: reading them stops nothing.
                if before is not None:
                    _report(*before, progress, writer, schedule, config)
                before = (step, metrics | {"data_wait_seconds": waited})

                is_last = step == config.num_train_steps
                is_due = is_last or step % config.eval_every_steps == 0
                if is_due or stop.is_set:
                    _report(*before, progress, writer, schedule, config)
                    before, score = None, None
                    if is_due:
                        score, _ = validate(
                            eval_step,
                            state.variables,
                            dataset,
                            batch_size=config.batch_size,
                            mesh=mesh,
                        )
                        writer.write(step, {"validation/sdr": score})
                    seconds = seconds_before + time.monotonic() - started
                    metadata = {"sdr": score, "seconds": seconds, **description}
                    checkpointer.save(state, batches.get_state(), metadata)
                if stop.is_set and not is_last:
                    raise KeyboardInterrupt
    finally:
        progress.close()
        writer.close()
        checkpointer.close()
    return _summarise(folder, dataset, eval_step, config, mesh)


def describe(config: Any, dataset: records.Dataset) -> dict[str, Any]:
    """Describes, for a checkpoint's metadata, what is trained on what."""
    return {
        "config": config.to_dict(),
        "stft": dataclasses.asdict(dataset.stft),
        "jaxsep_version": jaxsep.__version__,
        "data_set": {
            "name": dataset.manifest["name"],
            "manifest_sha256": dataset.manifest_sha256,
            "licence": dataset.manifest["licence"],
        },
    }


def _check(config: Any) -> None:
    """Raises ConfigError for numbers that no training can have."""
    for name in ("num_train_steps", "batch_size", "log_every_steps", "eval_every_steps"):
        if config[name] < 1:
            raise ConfigError(f"{name}={config[name]} must be 1 or more")
    for name in ("learning_rate", "grad_clip_norm"):
        if not config[name] > 0:
            raise ConfigError(f"{name}={config[name]} must be more than 0")
    if config.crop_frames is not None and config.crop_frames < 1:
        raise ConfigError(f"crop_frames={config.crop_frames} must be 1 or more")
    if config.batch_size % (devices := jax.device_count()):
        raise ConfigError(
            f"batch_size={config.batch_size} is not divisible by {devices} devices;"
            f" use a multiple of {devices}"
        )


def _build(config: Any, dataset: records.Dataset, mesh: jax.sharding.Mesh):
    """Makes masker, learning rate schedule, optimizer and training step from the config."""
    try:
        masker = models.create(stft=dataset.stft, **config.model)
        schedule = optimizer.make_schedule(
            config.learning_rate, config.warmup_steps, config.num_train_steps
        )
        clip = config.grad_clip_norm
        adam = optimizer.make_optimizer(schedule, grad_clip_norm=clip)
        step = make_train_step(masker, adam, loss=config.loss, grad_clip_norm=clip, mesh=mesh)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return masker, schedule, adam, step


def _report(step, metrics, progress, writer, schedule, config) -> None:
    """Shows and writes a step's numbers, and stops a training that has come to nothing."""
    if int(metrics["skipped_in_row"]) >= config.max_skipped_in_row:
        raise DivergenceError(
            f"the gradient was not finite {config.max_skipped_in_row} steps in a row, until step"
            f" {step}; try a lower learning_rate or grad_clip_norm in another --workdir"
        )
    if step % config.log_every_steps == 0 or step == 1:
        scalars = {f"train/{name}": value for name, value in jax.device_get(metrics).items()}
        writer.write(step, scalars | {"train/learning_rate": schedule(step - 1)})
        progress.set_postfix(
            loss=f"{float(metrics['loss']):.4f}", grad=f"{float(metrics['grad_norm']):.2g}"
        )


def _summarise(
    folder: epath.Path, dataset: records.Dataset, eval_step, config: Any, mesh: jax.sharding.Mesh
) -> dict[str, Any]:
    """Scores the best checkpoint, draws what it does and writes `summary.json`."""
    best = checkpoints.find_checkpoint(folder)
    masker, variables = checkpoints.restore_masker(best)
    variables = jax.device_put(variables, partitioning.replicated(mesh))
    score, mixture_score = validate(
        eval_step, variables, dataset, batch_size=config.batch_size, mesh=mesh
    )
    last = folder / checkpoints.FOLDER / str(config.num_train_steps)
    summary = {
        "sdr": score,
        "sdr_mixture": mixture_score,
        "checkpoint": str(best),
        "steps": config.num_train_steps,
        "seconds": checkpoints.read_metadata(last)["seconds"],
        "data_set": dataset.manifest["name"],
        "validation_tracks": dataset.num_tracks("validation"),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
    }
    if jax.process_index() == 0:
        draw_example(folder / "spectrograms.png", dataset, masker, variables)
        write_json(folder / "summary.json", summary)
    return summary
