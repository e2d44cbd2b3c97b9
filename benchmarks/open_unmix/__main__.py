"""Measures jaxsep and Open-Unmix in turns; see the package.

usage: python -m benchmarks.open_unmix step|hop|file|start [--rounds=N]

  step   a training step of 16 examples of 255 stereo frames: examples per second
  hop    1,024 samples of a live stream: milliseconds, median and 99th percentile
  file   three minutes, from wav to wav: CPU seconds, and seconds
  start  ten seconds of sound, from typing the command to both stems: seconds

Medians over the rounds, and the ratio of the two. Each round has both sides, one after the other.
"""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false

import argparse
import dataclasses
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import soundfile
import torch
from etils import epath
from flax import linen as nn

import jaxsep
from benchmarks.machine import describe_machine, run_module
from benchmarks.open_unmix import HIDDEN_SIZE, SHAPES, peer
from configs import default
from jaxsep import models, optimizer, partitioning
from jaxsep.checkpointer import save_model
from jaxsep.checkpoints import FOLDER
from jaxsep.losses import LOSSES
from jaxsep.stft_config import StftConfig
from jaxsep.train_step import create_state, make_train_step

BATCH, FRAMES = 16, 255
STFT = StftConfig()
HOPS = 200  # in a round
CLIP, SONG = 10, 180  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures = {"step": compare_steps, "hop": compare_hops, "file": compare_files}
    parser.add_argument("measure", choices=(*measures, "start"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{datetime.date.today()}, {describe_machine()}; {args.rounds} rounds\n", flush=True)
    if args.measure == "start":
        compare_starts(args.rounds)
    else:
        measures[args.measure](args.rounds)
    return 0


def compare_steps(rounds: int) -> None:
    print("| layers | jaxsep, examples/s | Open-Unmix, examples/s | ratio |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    size = (BATCH, FRAMES, STFT.channels, STFT.bins)
    vocals, rest = (rng.gamma(0.5, 1.0, size).astype(np.float32) for _ in range(2))
    batch = {"mixture": vocals + rest, "vocals": vocals, "accompaniment": rest}
    for shape in SHAPES:
        ours, theirs = our_step(shape, batch), peer.Training(shape, vocals + rest, vocals).step
        seconds = in_turns(ours, theirs, rounds)
        row(shape, *medians([[BATCH / s for s in pair] for pair in seconds]))


def compare_hops(rounds: int) -> None:
    print("| layers | jaxsep, ms | 99th percentile | Open-Unmix, ms | 99th percentile | ratio |")
    print("|---|---|---|---|---|---|")
    sound = np.random.default_rng(0).normal(0, 0.1, (HOPS, STFT.hop_length, 2)).astype(np.float32)
    for shape in (name for name, layers in SHAPES.items() if not layers.bidirectional):
        masker, variables = our_model(shape)
        streamer = jaxsep.Streamer(jaxsep.Separator(masker, variables), STFT.sample_rate, 2)
        stream, times = peer.Stream(shape), ([], [])
        for _ in range(rounds):
            for push, taken in zip((streamer.push, stream.push), times, strict=True):
                taken += [1e3 * clock(push, hop) for hop in sound]
        (ours, our_worst), (theirs, their_worst) = (np.percentile(t, [50, 99]) for t in times)
        row(shape, ours, our_worst, theirs, their_worst, ours / theirs)
    print(f"\nA hop lasts {1e3 * STFT.hop_length / STFT.sample_rate:.1f} ms.")


def compare_files(rounds: int) -> None:
    print("| layers | | jaxsep, s | Open-Unmix, s | ratio |\n|---|---|---|---|---|")
    for shape in SHAPES:
        clocks, cpus = compare_commands(shape, SONG, rounds)
        for name, pairs in (("CPU", cpus), ("clock", clocks)):
            row(shape, name, *medians(pairs))


def compare_starts(rounds: int) -> None:
    print("| layers | jaxsep, s | Open-Unmix, s | ratio |\n|---|---|---|---|")
    for shape in SHAPES:
        row(shape, *medians(compare_commands(shape, CLIP, rounds)[0]))


def compare_commands(shape: str, seconds: int, rounds: int) -> tuple[list, list]:
    """Separates a file of noise by both programs.

    Returns:
      For each round what the clock showed, ours and theirs, and the same of the processors' time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = np.random.default_rng(0).normal(0, 0.1, (seconds * STFT.sample_rate, 2))
        soundfile.write(folder / "song.wav", samples, STFT.sample_rate, subtype="PCM_16")
        torch.save(peer.make_model(shape).state_dict(), folder / "vocals.pth")
        _, variables = our_model(shape)
        config = {"model": {"name": "lstm", **our_fields(shape)}}
        metadata = {"sdr": None, "stft": dataclasses.asdict(STFT), "config": config}
        model = epath.Path(folder / "model" / FOLDER / "0")
        save_model(model, variables["params"], variables["statistics"], metadata)
        files = [str(folder / file) for file in ("song.wav", "model", "vocals.pth")]
        ours = ["jaxsep.cli", "separate", files[0], f"--model={files[1]}", "--overwrite"]
        ours += [f"--output={folder}"]
        theirs = ["benchmarks.open_unmix.peer", files[2], files[0], str(folder), shape]
        # The first round warms the disk.
        both = [[run_module(*ours), run_module(*theirs)] for _ in range(rounds + 1)][1:]
    clocks = [[usage.seconds for usage in pair] for pair in both]
    return clocks, [[usage.cpu_seconds for usage in pair] for pair in both]


def medians(pairs: list[list[float]]) -> list[float]:
    """Returns the medians of ours and theirs, and their ratio."""
    ours, theirs = map(statistics.median, zip(*pairs, strict=True))
    return [ours, theirs, ours / theirs]


def our_fields(shape: str) -> dict[str, Any]:
    return {"hidden_size": HIDDEN_SIZE, **SHAPES[shape]._asdict()}


def our_model(shape: str) -> tuple[nn.Module, dict[str, Any]]:
    """Makes a model with random weights."""
    masker = models.create("lstm", STFT, **our_fields(shape))
    return masker, models.init(masker, jax.random.key(0))


def our_step(shape: str, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Makes a training step as the recipe has it."""
    config: Any = default.get_config()
    mesh = partitioning.make_mesh()
    masker, variables = our_model(shape)
    adam = optimizer.make_optimizer(grad_clip_norm=config.grad_clip_norm)
    train_step = make_train_step(
        masker,
        adam,
        optimizer.make_schedule("constant", config.learning_rate, 1, 10),
        example_loss=LOSSES[config.loss],
        grad_clip_norm=config.grad_clip_norm,
        mesh=mesh,
    )
    state = partitioning.replicate(create_state(variables, adam), mesh)
    numbers = {"num_frames": np.full(BATCH, FRAMES, np.int32)}
    there = partitioning.to_global_batch({**batch, **numbers}, mesh)

    def step() -> None:
        nonlocal state
        state, _ = train_step(state, there, 1.0)
        jax.block_until_ready(state)

    return step


def in_turns(ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> list:
    """Returns the seconds that both take in each round, after one that compiles."""
    return [[clock(ours), clock(theirs)] for _ in range(rounds + 1)][1:]


def clock(function: Callable, *args: Any) -> float:
    begun = time.perf_counter()
    function(*args)
    return time.perf_counter() - begun


def row(*cells: Any) -> None:
    texts = (cell if isinstance(cell, str) else f"{cell:.3g}" for cell in cells)
    print(f"| {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
