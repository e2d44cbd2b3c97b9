"""Times band-split recurrent networks beside the LSTM of the recipe, in turns.

    python -m benchmarks.band_split [--rounds=5]

For each network, on random numbers at 44.1 kHz in stereo: CPU seconds of a training step's forward
and backward pass; CPU time of one hop of a stream, and of a frame in blocks of 64, as files are
separated, both in shares of the sound's length (real-time factors). Medians over the rounds. The
network alone: no transform, no optimizer. CPU seconds count all threads, and a busy machine changes
them less than the clock's.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import Table
from jaxsep import models
from jaxsep.models.masker import Masker, Variables, observe
from jaxsep.stft_config import StftConfig

BATCH, CROP, BLOCK = 4, 128, 64
STFT = StftConfig()
NETWORKS = {
    "lstm": ("lstm", {}),
    "bsrnn:small": ("bsrnn:small", {}),
    "bsrnn:small, LSTM along bands": ("bsrnn:small", {"across": "lstm"}),
    "bsrnn:small, both ways": ("bsrnn:small", {"bidirectional": True}),
    "bsrnn:causal": ("bsrnn:causal", {}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Band-split networks beside the LSTM.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    networks = {name: make(*how) for name, how in NETWORKS.items()}
    work = {name: programs(*network) for name, network in networks.items()}
    clocked = [
        {(name, what): cpu_seconds(do) for name, row in work.items() for what, do in row.items()}
        for _ in range(rounds + 1)
    ][1:]  # the first round warms up
    seconds = {key: statistics.median(times[key] for times in clocked) for key in clocked[0]}
    hop = STFT.hop_length / STFT.sample_rate
    about = f"{BATCH} examples of {CROP} stereo frames; {rounds} rounds, CPU time"
    columns = ("network", "parameters, M", "step, s", "step, LSTM = 1", "hop, ms", "live", "file")
    with Table(*columns, about=about) as table:
        for name, (_, variables) in networks.items():
            step, live, block = (seconds[name, what] for what in ("step", "hop", "block"))
            table.row(
                name,
                sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) / 1e6,
                step,
                step / seconds["lstm", "step"],
                1000 * live,
                live / hop,
                block / BLOCK / hop,
            )
    return 0


def make(recipe: str, changes: dict[str, Any]) -> tuple[Masker, Variables]:
    """Makes the network of a recipe, with random parameters."""
    name, _, variant = recipe.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(*filter(None, [variant]))
    masker = models.create(stft=STFT, **{**config.model.to_dict(), **changes})
    return masker, jax.jit(lambda key: models.init(masker, key))(jax.random.key(0))


def programs(masker: Masker, variables: Variables) -> dict[str, Callable[[], Any]]:
    """Compiles a training step's passes, a hop and a block."""

    def spectrum(batch: int, frames: int) -> jax.Array:
        shape = (2, batch, frames, STFT.channels, STFT.bins)
        real, imaginary = np.random.default_rng(0).normal(0, 10, shape)
        return jnp.asarray(real + 1j * imaginary, jnp.complex64)

    def loss(params, spectrum):
        seen, carry = observe(masker, spectrum), masker.initial_carry(BATCH)
        masks, _ = masker.apply({**variables, "params": params}, seen, carry)
        return jnp.mean(jnp.square(jnp.abs(masks - 0.5) * jnp.abs(spectrum)[:, None]))

    grad, apply = jax.jit(jax.grad(loss)), jax.jit(masker.apply)
    example, carry = spectrum(BATCH, CROP), masker.initial_carry(1)
    hop, block = (observe(masker, spectrum(1, frames)) for frames in (1, BLOCK))
    return {
        "step": lambda: grad(variables["params"], example),
        "hop": lambda: apply(variables, hop, carry),
        "block": lambda: apply(variables, block, carry),
    }


def cpu_seconds(do: Callable[[], Any]) -> float:
    """Returns the CPU seconds of a call, the best of three."""
    found = []
    for _ in range(3):
        begun = time.process_time()
        jax.block_until_ready(do())
        found.append(time.process_time() - begun)
    return min(found)


if __name__ == "__main__":
    sys.exit(main())
