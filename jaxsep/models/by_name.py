"""Makes maskers by their names."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxsep.fields import check_fields
from jaxsep.models.bsrnn import BSRNNMasker
from jaxsep.models.lstm import LSTMMasker
from jaxsep.models.masker import Masker
from jaxsep.models.mlp import MLPMasker
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.models.spleeter import SpleeterMasker
from jaxsep.stft_config import StftConfig

# `jaxsep.models` adds those that are made of others.
MASKERS: dict[str, Callable[..., Masker]] = {
    "mlp": MLPMasker,
    "lstm": LSTMMasker,
    "bsrnn": BSRNNMasker,
    "spleeter": SpleeterMasker,
    "openunmix": OpenUnmixMasker,
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
        # No parent: a masker stands alone, even one that is made inside another.
        masker = MASKERS[name](stft=stft, dtype=jnp.dtype(dtype), parent=None, **fields)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from error
    if not masker.targets or len(set(masker.targets)) < len(masker.targets):
        raise ValueError(f"targets={masker.targets} must be one or more different names")
    return masker
