"""Maskers: networks that predict which share of a mixture belongs to each target.

For others: `create`, `init`, the type `masker.Masker`, and `files`, which loads and saves models.

Arrays have their axes in this order: `[batch, targets, frames, channels, bins]`.

A new masker is one file with a Flax module that fulfils `masker.Masker`, one line in
`by_name.MASKERS`, one config, and one row in `tests/models/test_contract.py`.
"""

import jax
import jax.numpy as jnp

from jaxsep.models.by_name import MASKERS, create
from jaxsep.models.masker import Masker, Variables, observe
from jaxsep.models.one_each import OneNetworkEach

__all__ = ["MASKERS", "Masker", "create", "init"]

MASKERS["one_each"] = OneNetworkEach
MASKERS["openunmix_targets"] = OneNetworkEach  # as older models call it


def init(masker: Masker, key: jax.Array) -> Variables:
    """Initialises a masker's variables.

    Args:
      masker: The masker.
      key: Random key.

    Returns:
      `{"params": ..., "statistics": ...}`; statistics have no gradient.
    """
    stft = masker.stft
    spectrum = jnp.zeros((1, 2, stft.channels, stft.bins), jnp.complex64)
    variables = masker.init(key, observe(masker, spectrum), masker.initial_carry(1))
    return {name: variables.get(name, {}) for name in ("params", "statistics")}
