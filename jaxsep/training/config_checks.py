"""Which configs can't be trained, and what to try where a training fails."""

import math
from typing import Any

import jax

from jaxsep.data.records import WAVEFORM
from jaxsep.data.training_data import TrainingData
from jaxsep.models.masker import Masker
from jaxsep.training.losses import Loss
from jaxsep.training.step import is_complex

LARGEST = 2**31 - 1  # that JAX counts up to
MOST_EXAMPLES = 2**16  # in a batch: more would be gathered for hours before the first step
FROM_0 = ("seed", "warmup_steps", "plateau_patience", "early_stopping_patience")
FROM_1 = (
    "num_train_steps",
    "batch_size",
    "grad_accum_steps",
    "max_failed_in_row",
    "log_every_steps",
    "eval_every_steps",
    "checkpoint_every_steps",
    "health_every_steps",
)


class ConfigError(Exception):
    """A field of the config has a value that can't be used."""


def check_numbers(config: Any) -> None:
    """Raises ConfigError for numbers that no training can have."""
    for least, names in ((0, FROM_0), (1, FROM_1)):
        for name in names:
            most = MOST_EXAMPLES if name == "batch_size" else LARGEST
            if not least <= config[name] <= most:
                raise ConfigError(f"{name}={config[name]} must be from {least} to {most:,}")
    if not 0 < config.learning_rate < math.inf:
        raise ConfigError(f"learning_rate={config.learning_rate} must be more than 0, and finite")
    if not config.grad_clip_norm > 0:
        raise ConfigError(f"grad_clip_norm={config.grad_clip_norm} must be more than 0")
    if not 0 <= config.weight_decay < math.inf:
        raise ConfigError(f"weight_decay={config.weight_decay} must be 0 or more, and finite")
    for name in ("ema_decay", "plateau_factor", "adam_b1", "adam_b2"):
        if not 0 <= config[name] < 1:
            raise ConfigError(f"{name}={config[name]} must be at least 0 and less than 1")
    if config.crop_frames is not None and config.crop_frames < 1:
        raise ConfigError(f"crop_frames={config.crop_frames} must be 1 or more")
    devices, parts = jax.device_count(), config.grad_accum_steps
    if config.batch_size % (devices * parts):
        accumulated = f" times grad_accum_steps={parts}" if parts > 1 else ""
        raise ConfigError(
            f"batch_size={config.batch_size} is not divisible by {devices} devices{accumulated};"
            f" use a multiple of {devices * parts}"
        )


def check_representation(config: Any, data: TrainingData, masker: Masker, loss: Loss) -> None:
    """Raises ValueError where magnitudes aren't enough for a recipe, or a crop is too short."""
    if data.representation == WAVEFORM:
        shortest = data.stft.overlap
        frames = min(config.crop_frames or data.segment_frames, data.segment_frames)
        if loss.needs_phase and frames < shortest:
            raise ValueError(
                f"loss={config.loss} needs crops of {shortest} frames at least, not {frames}; use a"
                " larger crop_frames or longer segments"
            )
        return
    needs = {
        "mix_on_device": config.mix_on_device,
        f"loss={config.loss}": loss.needs_phase,
        f"model.name={config.model.name}": masker.traits.sees == "spectrum" or is_complex(masker),
    }
    if wanting := [name for name, is_needed in needs.items() if is_needed]:
        raise ValueError(f"{wanting[0]} needs a data set made with --representation=waveform")


def advise(config: Any) -> str:
    """Names settings that may keep updates from failing."""
    ways = [f"a learning_rate below {config.learning_rate}"]
    ways.append(f"a grad_clip_norm below {config.grad_clip_norm}")
    if not config.model.get("normalise", True):
        ways.append("model.normalise=True")
    if config.compute_dtype != "float32":
        ways.append("compute_dtype=float32")
    return " or ".join(ways)
