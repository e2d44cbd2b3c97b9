"""What goes in and out of each layer, and how its parameters fare.

A layer is what the masker calls by name (`dense_1`, `lstm_1`, `mask`); where each target has a
network of its own, what that calls (`vocals/lstm_1`). Its numbers:

* `in_rms`, `in_max`, `out_rms`, `out_max`: root mean square and largest size of its activations;
* `dead`: share of its ReLU units that answered 0 to every frame of the batch;
* `saturated`: share of its LSTM gates near 0 or 1 (`models.lstm_scan.SATURATED`), or of the mask's
  values so near that hardly any gradient passes (`models.layers.SATURATED_MASK`);
* `cell_max`: largest LSTM cell state;
* `grad_norm` (before clipping), `param_norm`, and `update_ratio`: size of the update that was
  made over that of the parameters.

Layers report `dead`, `saturated` and `cell_max` themselves, see `models.layers.is_watched`. Padding
behind short examples counts as frames.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util
from jax.sharding import Mesh

from jaxsep.models.masker import Masker, observe
from jaxsep.sharding import batch_sharding, replicated
from jaxsep.training.losses import Loss
from jaxsep.training.step import Batch, accumulate, make_loss_fn, step_key

LayerNumbers = dict[str, dict[str, Any]]
# What names an example of a training batch, beside its loss.
ORIGIN = ("record", "first_frame", "swapped", "num_frames")


def make_examine(
    masker: Masker, *, loss: Loss, mesh: Mesh, grad_accum_steps: int, seed: int
) -> Callable[[Any, Any, Any, Batch, int | jax.Array], dict[str, Any]]:
    """Makes the jitted function that looks inside a training step.

    It repeats the step's forward and backward pass, so it costs about as much as the step.

    Args:
      masker: of `jaxsep.models`.
      loss: Loss of each example and target.
      mesh: the batch is spread over it.
      grad_accum_steps: as the training step's; shares are then means over the parts of the batch.
      seed: as the training step's.

    Returns:
      A function from the parameters before the step, those after it, the statistics before it, the
      batch and the number of steps before it to the `loss`; `layers`, the numbers of each by name;
      and `examples`, arrays `[batch]`: their `loss` and the `ORIGIN` that the batch tells.
    """
    loss_fn = make_loss_fn(masker, loss, _Watch(masker))

    def watched_loss_fn(params, statistics, batch: Batch, *, key: jax.Array):
        value, beside = loss_fn(params, statistics, batch, key=key)
        origin = {name: batch[name] for name in ORIGIN}
        return value, {"examples": {"loss": beside["losses"], **origin}, "seen": beside["seen"]}

    def examine(params, new_params, statistics, batch: Batch, step: int | jax.Array):
        value, grads, beside = accumulate(
            watched_loss_fn,
            params,
            statistics,
            batch,
            key=step_key(seed, step),
            parts=grad_accum_steps,
            mesh=mesh,
        )
        layers = {name: _join_parts(numbers) for name, numbers in beside["seen"].items()}
        updates = jax.tree.map(jnp.subtract, new_params, params)
        trees = [_by_layer(tree, masker.traits.depth) for tree in (params, updates, grads)]
        for name in trees[0]:
            norm, update, grad_norm = (optax.tree.norm(tree[name]) for tree in trees)
            layers.setdefault(name, {}).update(
                {
                    "grad_norm": grad_norm,
                    "param_norm": norm,
                    "update_ratio": update / norm,
                }
            )
        examples = {name: leaf.reshape(-1) for name, leaf in beside["examples"].items()}
        return {"loss": value, "layers": layers, "examples": examples}

    everywhere, spread = replicated(mesh), batch_sharding(mesh)
    return jax.jit(
        examine,
        in_shardings=(everywhere, everywhere, everywhere, spread, everywhere),
        out_shardings=everywhere,
    )


def layer_names(masker: Masker) -> list[str]:
    """Returns a masker's layers in the order of the forward pass."""
    watch = _Watch(masker)
    stft = masker.stft
    spectrum = jnp.zeros((1, 2, stft.channels, stft.bins), jnp.complex64)
    key, mixture = jax.random.key(0), observe(masker, spectrum)

    def run(key):
        variables = masker.init(key, mixture, masker.initial_carry(1))
        return watch(variables, mixture, None, key)

    jax.eval_shape(run, key)
    return watch.order


def find_cause(layers: LayerNumbers, order: Sequence[str], loss: float) -> str | None:
    """Names the layer in which a step went wrong: first going forward, then going backward.

    Args:
      layers: as `make_examine` gives them.
      order: of `layer_names`.
      loss: of the same step.

    Returns:
      For example "forward, the output of lstm_1 is not finite", or None if nothing is wrong.
    """
    for name in order:
        for side, word in (("in", "input"), ("out", "output")):
            if not np.isfinite(layers[name][f"{side}_max"]):
                return f"forward, the {word} of {name} is not finite"
    if not np.isfinite(loss):
        return "forward, the loss is not finite"
    trained = [name for name in reversed(order) if "grad_norm" in layers[name]]
    for name in trained:
        if not np.isfinite(layers[name]["grad_norm"]):
            return f"backward, the gradient of {name} is not finite"
    if all(layers[name]["grad_norm"] == 0 for name in trained):
        saturated = layers[trained[0]].get("saturated", 0.0)
        return f"backward, no gradient passes {trained[0]} ({saturated:.0%} of it saturated)"
    return None


def remarks(numbers: Mapping[str, float]) -> list[str]:
    """Says what is conspicuous about a layer's numbers. Rules of thumb, not laws."""
    found = []
    if not all(np.isfinite(value) for value in numbers.values()):
        found.append("not finite")
    if numbers.get("dead", 0) > 0.5:
        found.append("most ReLUs dead")
    if numbers.get("saturated", 0) > 0.9:
        found.append("saturated")
    if numbers.get("update_ratio", 0) > 0.1:
        found.append("updates too large")
    if numbers.get("grad_norm", 1) == 0:
        found.append("no gradient")
    return found


class _Watch:
    """Runs a masker and notes the numbers of its layers.

    Attributes:
      order: of the layers' names, once it has run.
    """

    def __init__(self, masker: Masker):
        self._masker = masker
        self.order: list[str] = []

    def __call__(
        self, variables, mixture: jax.Array, valid, key: jax.Array
    ) -> tuple[jax.Array, Any, LayerNumbers]:
        seen: LayerNumbers = {}
        depth = self._masker.traits.depth

        def note(next_call, args, kwargs, context):
            output = next_call(*args, **kwargs)
            layer = context.module
            if context.method_name == "__call__" and len(layer.path) == depth and layer.name:
                activation = output[0] if isinstance(output, tuple) else output
                seen["/".join(layer.path)] = {**_sizes("in", args[0]), **_sizes("out", activation)}
            return output

        carry = self._masker.initial_carry(len(mixture))
        with nn.intercept_methods(note):
            (masks, _), noted = self._masker.apply(
                variables,
                mixture,
                carry,
                valid=valid,
                mutable=["health", "statistics"],
                rngs={"dropout": key},
            )
        # Flax collects what is sown: a tuple of values under each name.
        sown: dict[Any, Any] = traverse_util.flatten_dict(noted.get("health", {}))
        for (*path, number), values in sown.items():
            seen["/".join(path[:depth])] |= _join_parts({number: jnp.stack(values)})
        self.order = list(seen)
        return masks, noted.get("statistics", {}), seen


def _by_layer(tree: dict[str, Any], depth: int) -> dict[str, Any]:
    """Returns the trees of the layers by their names."""
    return traverse_util.flatten_dict(tree, is_leaf=lambda path, _: len(path) == depth, sep="/")


def _sizes(side: str, activation: jax.Array) -> dict[str, jax.Array]:
    size = jnp.abs(activation).astype(jnp.float32)  # of complex ones, too
    return {
        f"{side}_rms": jnp.sqrt(jnp.mean(jnp.square(size))),
        f"{side}_max": jnp.max(size),
    }


def _join_parts(numbers: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Joins the numbers of a batch's parts, `[parts]` each."""
    joined = {}
    for name, parts in numbers.items():
        if name.endswith("_max"):
            joined[name] = jnp.max(parts)
        elif name.endswith("_rms"):
            joined[name] = jnp.sqrt(jnp.mean(jnp.square(parts)))
        else:
            joined[name] = jnp.mean(parts)
    return joined
