"""Trains Open-Unmix's network here and by PyTorch.

usage: python -m benchmarks.open_unmix.training parity [--hidden_size=512] [--steps=20]
       python -m benchmarks.open_unmix.training recipe --data=DATA --root=SONGS [--steps=300] ...

  parity  the same initial weights and batches on both sides, and nothing that is random or has two
          biases: each step's losses, and their largest difference
  recipe  the whole recipe on both sides, with the same mixtures, each from initial weights of its
          own: SDR of the vocals on the test songs of SONGS, in dB, and seconds of training. DATA is
          a data set of waveforms. Hidden size, batch and crop are small unless told otherwise, so
          that hundreds of steps need minutes.
"""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false

import argparse
import datetime
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.open_unmix import HIDDEN_SIZE
from benchmarks.open_unmix.torch_training import LEARNING_RATE, TorchTraining
from benchmarks.trial import begin, train
from configs import openunmix as recipe
from jaxsep import models, sharding
from jaxsep.collections.open import open_collection
from jaxsep.collections.source import PreparationError
from jaxsep.data.input_pipeline import train_batches
from jaxsep.data.mixing import Mixing
from jaxsep.data.records import WAVEFORM, Dataset, DatasetError, load_dataset
from jaxsep.data.training_data import TrainingData
from jaxsep.evaluation import evaluate, methods
from jaxsep.metrics import waveform_sdr
from jaxsep.models.load import load_model
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.separation.separator import Separator
from jaxsep.stft_config import StftConfig
from jaxsep.training import optimizer
from jaxsep.training.step import to_parts

BANDWIDTH = 16_000  # Hz


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parity = commands.add_parser("parity")
    compared = commands.add_parser("recipe")
    compared.add_argument("--data", required=True, help="a prepared data set of waveforms")
    compared.add_argument("--root", type=Path, required=True, help="songs with a test split")
    for command, hidden, batch, frames, steps in (
        (parity, HIDDEN_SIZE, 2, 32, 20),
        (compared, 128, 8, 64, 300),
    ):
        command.add_argument("--hidden_size", type=int, default=hidden)
        command.add_argument("--batch_size", type=int, default=batch)
        command.add_argument("--frames", type=int, default=frames, help="of an example")
        command.add_argument("--steps", type=int, default=steps)
    args = parser.parse_args()
    print(f"{datetime.date.today()}, {describe_machine()}\n{' '.join(sys.argv[1:])}\n", flush=True)
    try:
        (print_parity if args.command == "parity" else print_recipe)(args)
    except (DatasetError, PreparationError, evaluate.EvaluationError, ValueError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


def print_parity(args: argparse.Namespace) -> None:
    # Adam's first steps are as large for what rounding makes of a gradient as for the others: with
    # sums in another order, on two cores, PyTorch's own losses differ by 1e-3 after 20 steps.
    torch.set_num_threads(1)
    masker = OpenUnmixMasker(StftConfig(), hidden_size=args.hidden_size, dropout=0.0)
    shape = (args.batch_size, args.frames)
    ours, theirs = compare_losses(masker, shape, steps=args.steps)
    print("| step | jaxsep | PyTorch |\n|---|---|---|")
    for step, pair in enumerate(zip(ours, theirs, strict=True), start=1):
        print(f"| {step} | {pair[0]:.6g} | {pair[1]:.6g} |")
    print(f"\nlargest relative difference: {np.abs(ours / theirs - 1).max():.1e}")


def compare_losses(
    masker: OpenUnmixMasker, shape: tuple[int, int], *, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Trains both sides from the same weights, with the same batches of noise.

    Args:
      masker: Masker without dropout.
      shape: Number of examples, and frames of each.
      steps: Number of training steps; two batches take turns.

    Returns:
      Each step's loss, ours and theirs.
    """
    rng = np.random.default_rng(0)
    size = (2, *shape, masker.stft.channels, masker.stft.bins)
    vocals, rest = (rng.gamma(0.5, 10.0, size).astype(np.float32) for _ in range(2))
    statistics = {"mean": np.full(masker.stft.bins, 10.0), "std": np.full(masker.stft.bins, 10.0)}
    variables = models.init(masker, jax.random.key(0))
    variables = masker.with_statistics(variables, statistics)
    schedule = optimizer.make_schedule("constant", LEARNING_RATE, 0, steps)
    adam = optimizer.make_optimizer(schedule, grad_clip_norm=float("inf"))
    mesh = sharding.make_mesh()
    train_step, state = begin(masker, variables, adam)
    network = TorchTraining(masker, weight_decay=0.0)
    network.start_from(variables)
    losses = [], []
    for number in range(steps):
        target, others = vocals[number % 2], rest[number % 2]
        batch = {"mixture": target + others, "targets": target[:, None], "rests": others[:, None]}
        frames = {"num_frames": np.full(shape[0], shape[1], np.int32)}
        there = sharding.to_global_batch({**batch, **frames}, mesh)
        state, metrics = train_step(state, there, 0)
        losses[0].append(float(metrics["loss"]))
        losses[1].append(network.step(batch["mixture"], target))
    return np.array(losses[0]), np.array(losses[1])


def print_recipe(args: argparse.Namespace) -> None:
    dataset = load_dataset(args.data)
    if dataset.representation != WAVEFORM:
        raise DatasetError(f"{args.data}: no waveforms; prepare it with --representation=waveform")
    source = open_collection(args.root)
    songs = evaluate.choose_split(source.tracks(), "test")
    config = make_config(args, dataset.stft)
    masker = models.create(stft=dataset.stft, **config.model)
    trained, seconds = {}, {}
    for name, train_side in {"jaxsep": train_ours, "PyTorch": train_theirs}.items():
        begun = time.perf_counter()
        trained[name] = train_side(config, dataset)
        seconds[name] = time.perf_counter() - begun
    separators = {name: Separator(masker, variables) for name, variables in trained.items()}
    print(f"| song | mixture | {' | '.join(separators)} |\n|---|---|---|---|")
    rows = []
    for song in songs:
        recording = methods.load(source, song)
        estimates = [
            separator(recording.mixture, recording.sample_rate)["vocals"]
            for separator in separators.values()
        ]
        vocals = recording.stems["vocals"]
        rows.append([waveform_sdr(vocals, each) for each in (recording.mixture, *estimates)])
        print_row(song.name, rows[-1])
    print_row("mean", np.mean(rows, axis=0))
    print(f"\nseconds of training: {', '.join(f'{n} {s:.0f}' for n, s in seconds.items())}")


def print_row(name: str, scores: Any) -> None:
    print(f"| {name} | {' | '.join(f'{score:.2f}' for score in scores)} |", flush=True)


def make_config(args: argparse.Namespace, stft: StftConfig) -> Any:
    """Makes the recipe's config, of the size that was asked for."""
    config: Any = recipe.get_config()
    config.data_dir = args.data
    config.update(
        batch_size=args.batch_size,
        crop_frames=args.frames,
        num_train_steps=args.steps,
        eval_every_steps=args.steps,
    )
    below = int(BANDWIDTH * stft.n_fft / stft.sample_rate)
    config.model.update(hidden_size=args.hidden_size, low_bins=min(stft.bins, below + 1))
    return config


def train_ours(config: Any, dataset: Dataset) -> dict[str, Any]:
    """Trains here and returns the last step's variables."""
    del dataset  # the config names it
    with tempfile.TemporaryDirectory() as folder:
        summary = train(config, Path(folder))
        return load_model(summary["checkpoint"]).variables


def train_theirs(config: Any, dataset: Dataset) -> dict[str, Any]:
    """Trains by PyTorch on the same mixtures and returns our masker's variables."""
    masker = OpenUnmixMasker(dataset.stft, **{k: v for k, v in config.model.items() if k != "name"})
    training = TorchTraining(masker, weight_decay=config.weight_decay, seed=config.seed)
    training.start_from_statistics(dataset.statistics())
    batches = train_batches(
        TrainingData((dataset,)),
        targets=masker.targets,
        batch_size=config.batch_size,
        crop_frames=config.crop_frames,
        seed=config.seed,
        mesh=sharding.make_mesh(),
        mixing=Mixing(**config.mixing.to_dict()),
    )
    to_both = jax.jit(lambda batch: to_parts(batch, masker).magnitudes)
    for _ in range(config.num_train_steps):
        magnitudes = to_both(next(batches))
        training.step(*(np.asarray(x[:, 0]) for x in (magnitudes.mixture, magnitudes.targets)))
    return training.variables()


if __name__ == "__main__":
    sys.exit(main())
