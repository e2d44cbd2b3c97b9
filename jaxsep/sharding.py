"""Data parallelism: one mesh of all devices, the batch spread over it, all else on each."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Makes a mesh with the one axis `data`, of all devices of all processes unless told which."""
    devices = jax.devices() if devices is None else devices
    # Auto, because Flax's layers under jax.set_mesh aren't written for explicit axes.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts arrays that every process holds, equal, on every device."""
    # By way of the host: arrays on a device of one process can't be copied to another's.
    return jax.device_put(jax.tree.map(np.asarray, tree), replicated(mesh))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def to_global_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Assembles the global batch from each process's share."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def split_batch(batch: dict[str, jax.Array], parts: int, mesh: Mesh) -> dict[str, jax.Array]:
    """Cuts a batch into parts, `[parts, batch / parts, ...]`, each spread over all devices.

    Every device cuts what it holds, so that no example moves.
    """
    spread = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(leaf: jax.Array) -> jax.Array:
        by_device = leaf.reshape(mesh.size, parts, -1, *leaf.shape[1:])
        by_part = by_device.swapaxes(0, 1).reshape(parts, -1, *leaf.shape[1:])
        return jax.lax.with_sharding_constraint(by_part, spread)

    return jax.tree.map(split, batch)


def highest(number: int, mesh: Mesh) -> jax.Array:
    """Tells all processes, without waiting, the highest of the numbers that they give.

    Every process must call it at the same moment of its program.
    """
    numbers = np.full(jax.local_device_count(), number, np.int32)
    return _highest(jax.make_array_from_process_local_data(batch_sharding(mesh), numbers), mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _highest(numbers: jax.Array, mesh: Mesh) -> jax.Array:
    return jax.lax.with_sharding_constraint(numbers.max(), replicated(mesh))
