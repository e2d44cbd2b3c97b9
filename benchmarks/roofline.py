"""What this machine can do at most, and how much of it a training step does.

    python -m benchmarks.roofline [--rounds=5]

Measures in turns: a large matrix product and a large copy, by the same compiler, and the training
step of `benchmarks.open_unmix` (16 examples of 255 stereo frames, 512 units). The step's operations
are those of its matrix products alone, counted from the shapes: each weight multiplies and adds
once for every frame on the way forward and twice on the way back (once in the first layer, whose
input needs no gradient). Transforms, logarithms, gates and Adam's update are not counted, so the
share is what is left for the products.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.machine import clock
from benchmarks.open_unmix import SHAPES
from benchmarks.open_unmix.ours import BATCH, FRAMES, make_batch, make_model, make_step
from benchmarks.table import Table

SIDE = 4096  # of the square matrices
COPIED = 2**26  # float32 numbers: 256 MiB, more than any cache


def main() -> int:
    parser = argparse.ArgumentParser(description="A training step beside what the machine can do.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    matrix, numbers = jnp.ones((SIDE, SIDE)), jnp.ones(COPIED)
    product, copy = jax.jit(jnp.matmul), jax.jit(jnp.negative)
    batch = make_batch()
    work: dict[str, Callable[[], Any]] = {
        "product": lambda: jax.block_until_ready(product(matrix, matrix)),
        "copy": lambda: jax.block_until_ready(copy(numbers)),
        **{shape: make_step(shape, batch) for shape in SHAPES},
    }
    # The first round compiles.
    clocked = [{name: clock(do) for name, do in work.items()} for _ in range(rounds + 1)][1:]
    seconds = {name: statistics.median(times[name] for times in clocked) for name in work}

    peak = 2 * SIDE**3 / seconds["product"]
    copied = 2 * 4 * COPIED / seconds["copy"] / 1e9  # read and written
    about = f"product {peak / 1e9:.0f} GFLOP/s, copy {copied:.1f} GB/s; {rounds} rounds"
    columns = ("layers", "step, s", "GFLOP", "GFLOP/s", "share of the product, %")
    with Table(*columns, about=about) as table:
        for shape in SHAPES:
            operations = step_operations(make_model(shape)[1]["params"])
            rate = operations / seconds[shape]
            table.row(shape, seconds[shape], operations / 1e9, rate / 1e9, 100 * rate / peak)
    return 0


def step_operations(params: dict[str, Any]) -> int:
    """Counts the operations of a training step's matrix products."""
    weights = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
    first = params["dense_1"]["kernel"].size
    return 2 * BATCH * FRAMES * (3 * weights - first)


if __name__ == "__main__":
    sys.exit(main())
