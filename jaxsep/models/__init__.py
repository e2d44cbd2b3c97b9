"""Maskers: networks that predict which share of a mixture belongs to each target.

For others: `create`, `init`, the type `masker.Masker`, and `files`, which loads and saves models.

Arrays have their axes in this order: `[batch, targets, frames, channels, bins]`.

A new masker is one file with a Flax module that fulfils `masker.Masker`, one line in `MASKERS`, one
config, and one row in `tests/models/test_contract.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep.fields import check_fields
from jaxsep.models.bsrnn import BSRNNMasker
from jaxsep.models.lstm import LSTMMasker
from jaxsep.models.masker import Masker, Variables, observe
from jaxsep.models.mlp import MLPMasker
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.models.openunmix_targets import OpenUnmixTargets
from jaxsep.models.spleeter import SpleeterMasker
from jaxsep.stft_config import StftConfig

MASKERS: dict[str, Callable[..., Masker]] = {
    "mlp": MLPMasker,
    "lstm": LSTMMasker,
    "bsrnn": BSRNNMasker,
    "spleeter": SpleeterMasker,
    "openunmix": OpenUnmixMasker,
    "openunmix_targets": OpenUnmixTargets,
}
DTYPES = ("float32", "bfloat16")


def create(name: str, stft: StftConfig, *, dtype: str = "float32", **fields: Any) -> Masker:
    """Makes a masker.

    Args:
      name: Key in `MASKERS`.
      stft: Format of the spectra.
      dtype: Data type of the matrix products, one of `DTYPES`; parameters and masks are float32.
      **fields: Fields of the masker. Lists, as JSON has them, stand for tuples.

    Raises:
      ValueError: If the name, the dtype or a field is unknown, or a field has an impossible value.
    """
    if dtype not in DTYPES:
        raise ValueError(f"compute_dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    if name not in MASKERS:
        raise ValueError(f"model.name={name!r} is unknown; use one of {', '.join(MASKERS)}")
    check_fields(MASKERS[name], fields)
    fields = {key: tuple(x) if isinstance(x, list) else x for key, x in fields.items()}
    try:
        masker = MASKERS[name](stft=stft, dtype=jnp.dtype(dtype), **fields)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from error
    if not masker.targets or len(set(masker.targets)) < len(masker.targets):
        raise ValueError(f"targets={masker.targets} must be one or more different names")
    return masker


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
