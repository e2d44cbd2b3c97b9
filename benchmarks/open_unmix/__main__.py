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
import functools
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

import jaxsep
from benchmarks.machine import Usage, clock, run_module
from benchmarks.open_unmix import SHAPES, peer
from benchmarks.open_unmix.ours import (
    BATCH,
    STFT,
    make_batch,
    make_model,
    make_step,
    model_fields,
)
from benchmarks.table import Table
from jaxsep.models.files import ModelInfo, save_model

HOPS = 200  # in a round
CLIP, SONG = 10, 180  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures = {
        "step": compare_steps,
        "hop": compare_hops,
        "file": functools.partial(compare_commands, SONG),
        "start": functools.partial(compare_commands, CLIP),
    }
    parser.add_argument("measure", choices=tuple(measures))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    measures[args.measure](args.rounds)
    return 0


def compare_steps(rounds: int) -> None:
    columns = ("layers", "jaxsep, examples/s", "Open-Unmix, examples/s", "ratio")
    batch = make_batch()
    with Table(*columns, about=f"{rounds} rounds") as table:
        for shape in SHAPES:
            theirs = peer.Training(shape, batch["mixture"], batch["targets"][:, 0]).step
            sides = (make_step(shape, batch), theirs)
            # The first round compiles.
            rates = [[BATCH / clock(step) for step in sides] for _ in range(rounds + 1)][1:]
            table.row(shape, *medians(rates))


def compare_hops(rounds: int) -> None:
    columns = ("layers", "jaxsep, ms", "its 99th percentile, ms")
    columns += ("Open-Unmix, ms", "Open-Unmix's 99th percentile, ms", "ratio of the medians")
    sound = np.random.default_rng(0).normal(0, 0.1, (HOPS, STFT.hop_length, 2)).astype(np.float32)
    lasting = f"a hop lasts {1e3 * STFT.hop_length / STFT.sample_rate:.1f} ms"
    with Table(*columns, about=f"{rounds} rounds of {HOPS} hops; {lasting}") as table:
        for shape in (name for name, layers in SHAPES.items() if not layers.bidirectional):
            masker, variables = make_model(shape)
            streamer = jaxsep.Streamer(jaxsep.Separator(masker, variables), STFT.sample_rate, 2)
            streams, times = (streamer.push, peer.Stream(shape).push), ([], [])
            for number in range(rounds + 1):
                for push, taken in zip(streams, times, strict=True):
                    hops = [1e3 * clock(push, hop) for hop in sound]
                    taken += hops if number else []  # the first round compiles
            (ours, worst), (theirs, their_worst) = (np.percentile(t, [50, 99]) for t in times)
            table.row(shape, *map(float, (ours, worst, theirs, their_worst, ours / theirs)))


def compare_commands(seconds: int, rounds: int) -> None:
    columns = ("layers", "measure", "jaxsep, s", "Open-Unmix, s", "ratio")
    with Table(*columns, about=f"{seconds} s of stereo; {rounds} rounds") as table:
        for shape in SHAPES:
            both = run_commands(shape, seconds, rounds)
            cpus = [[usage.cpu_seconds for usage in pair] for pair in both]
            clocks = [[usage.seconds for usage in pair] for pair in both]
            table.row(shape, "CPU", *medians(cpus))
            table.row(shape, "clock", *medians(clocks))


def run_commands(shape: str, seconds: int, rounds: int) -> list[list[Usage]]:
    """Separates a file of noise by both programs; returns what ours and theirs took, by round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = np.random.default_rng(0).normal(0, 0.1, (seconds * STFT.sample_rate, 2))
        soundfile.write(folder / "song.wav", samples, STFT.sample_rate, subtype="PCM_16")
        torch.save(peer.make_model(shape).state_dict(), folder / "vocals.pth")
        _, variables = make_model(shape)
        info = ModelInfo({"name": "lstm", **model_fields(shape)}, STFT)
        save_model(folder / "model", info, variables)
        files = [str(folder / file) for file in ("song.wav", "model", "vocals.pth")]
        ours = ["jaxsep.cli", "separate", files[0], f"--model={files[1]}", "--overwrite"]
        ours += [f"--output={folder}"]
        theirs = ["benchmarks.open_unmix.peer", files[2], files[0], str(folder), shape]
        # The first round warms the disk.
        return [[run_module(*ours), run_module(*theirs)] for _ in range(rounds + 1)][1:]


def medians(pairs: list[list[float]]) -> list[float]:
    """Returns the medians of ours and theirs, and their ratio."""
    ours, theirs = map(statistics.median, zip(*pairs, strict=True))
    return [ours, theirs, ours / theirs]


if __name__ == "__main__":
    sys.exit(main())
