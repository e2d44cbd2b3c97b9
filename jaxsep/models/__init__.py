"""The maskers: from a mixture's magnitudes to the share of each that is a target's: the vocals'.

Every masker is a Flax module with

    mask, carry = masker.apply(variables, magnitude, carry, valid=valid)

* `magnitude`, `mask`: `[batch, frames, channels, bins]`; the mask lies in 0 to 1, but for
  an LSTM's with `mask_limit` and Open-Unmix's, which has no upper limit;
* `carry`: the state after the frames seen so far, `masker.initial_carry(batch)` at the beginning;
* `valid`: bool `[batch, frames]`, False for the padding behind a short example, or None.

A masker of other targets, or of several, has their names as `targets`; its mask is
`[batch, targets, frames, channels, bins]`. See `targets_of`.

In training the collection `statistics` is mutable, and there are random numbers named `dropout`.

`is_causal` tells whether the mask of a frame depends on that frame and earlier ones alone;
`mono_gain` is what a single channel is multiplied with, before a stereo masker gets it twice.

A masker that isn't causal goes through a song in windows, see `jaxsep.separation.windows`, and has
three attributes more:

* `window_frames`, `overlap_frames`: of a window, and of it and the next;
* `lead_frames`: frames of silence that it wants to see before a song.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxsep.models.lstm import LSTMMasker
from jaxsep.models.mlp import MLPMasker
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.models.openunmix_targets import OpenUnmixTargets
from jaxsep.models.spleeter import SpleeterMasker
from jaxsep.stft_config import StftConfig

MASKERS = {
    "mlp": MLPMasker,
    "lstm": LSTMMasker,
    "spleeter": SpleeterMasker,
    "openunmix": OpenUnmixMasker,
    "openunmix_targets": OpenUnmixTargets,
}
DTYPES = ("float32", "bfloat16")


def create(name: str, stft: StftConfig, *, dtype: str = "float32", **fields: Any) -> nn.Module:
    """Makes a masker.

    Args:
      name: one of `MASKERS`.
      stft: the format of its magnitudes.
      dtype: of its matrix products, one of `DTYPES`; parameters and masks are float32.
      **fields: of the masker.

    Raises:
      ValueError: if the name, the dtype or a field is unknown.
    """
    if dtype not in DTYPES:
        raise ValueError(f"compute_dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    if name not in MASKERS:
        raise ValueError(f"model.name={name!r} is unknown; use one of {', '.join(MASKERS)}")
    try:
        return MASKERS[name](stft=stft, dtype=jnp.dtype(dtype), **fields)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from error


def init(masker: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Initialises a masker's variables.

    Returns:
      `{"params": ..., "statistics": ...}`; the latter has no gradient. See `with_statistics`.
    """
    stft = masker.stft
    magnitude = jnp.zeros((1, 2, stft.channels, stft.bins))
    variables = masker.init(key, magnitude, masker.initial_carry(1))
    return {"params": variables["params"], "statistics": variables["statistics"]}


def targets_of(masker: nn.Module) -> tuple[str, ...]:
    """Names what a masker's masks are of, in their order."""
    return getattr(masker, "targets", ("vocals",))


def with_statistics(
    variables: dict[str, Any], statistics: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Gives a masker's variables the statistics of its data set.

    Open-Unmix's are parameters, which begin with them.

    Args:
      variables: of `init`.
      statistics: of `records.Dataset.statistics`.
    """
    params = variables["params"]
    if "input" in params:
        bins = len(params["input"]["mean"])
        mean, std = (jnp.asarray(statistics[name][:bins]) for name in ("mean", "std"))
        return {**variables, "params": {**params, "input": {"mean": -mean, "scale": 1 / std}}}
    wanted = variables["statistics"]["normalise"]
    known = {name: jnp.asarray(statistics[name]) for name in wanted}
    return {**variables, "statistics": {"normalise": known}}
