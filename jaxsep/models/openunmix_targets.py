"""Several of Open-Unmix's maskers side by side, one for each target."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Float

from jaxsep.fields import check_fields
from jaxsep.models.lstm_scan import LSTMCarry
from jaxsep.models.masker import Masks, Statistics, Traits, Valid, Variables
from jaxsep.models.openunmix import WINDOWS, OpenUnmixMasker
from jaxsep.stft_config import StftConfig


class OpenUnmixTargets(nn.Module):
    """A network for each target. All see the same mixture, and none sees another.

    Attributes:
      stft: Format of the magnitudes.
      networks: Fields of each target's `OpenUnmixMasker`, by the target's name; they may differ.
      dtype: Data type of the matrix products; parameters, states and masks are float32.
    """

    stft: StftConfig
    networks: Mapping[str, Mapping[str, Any]]
    dtype: jnp.dtype = jnp.dtype("float32")

    def __post_init__(self):
        self.networks = FrozenDict(self.networks)  # maskers can be hashed
        super().__post_init__()
        if not self.networks:
            raise ValueError("networks is empty; give one for each target")
        for fields in self.networks.values():
            check_fields(OpenUnmixMasker, fields)
        self.maskers()  # raises for fields that are impossible

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of the masks."""
        return tuple(self.networks)

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used: in windows if one of the networks does."""
        all_traits = [masker.traits for masker in self.maskers().values()]
        return Traits(
            windows=WINDOWS if any(traits.windows for traits in all_traits) else None,
            dropout=max(traits.dropout for traits in all_traits),
            mixes_examples=True,
        )

    def maskers(self) -> dict[str, OpenUnmixMasker]:
        """Makes each target's masker, as one that stands alone."""
        return {
            target: OpenUnmixMasker(self.stft, (target,), dtype=self.dtype, **fields, parent=None)
            for target, fields in self.networks.items()
        }

    def initial_carry(self, batch: int) -> dict[str, list[LSTMCarry]]:
        """Returns the state before the first frame, by the target's name."""
        return {target: masker.initial_carry(batch) for target, masker in self.maskers().items()}

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames channels bins"],
        carry: dict[str, list[LSTMCarry]],
        *,
        valid: Valid | None = None,
    ) -> tuple[Masks, dict[str, list[LSTMCarry]]]:
        """Predicts masks; see `Masker`."""
        masks, states = [], {}
        for target, masker in self.maskers().items():
            named = masker.clone(parent=self, name=target)
            mask, states[target] = named(magnitude, carry[target], valid=valid)
            masks.append(mask)
        return jnp.concatenate(masks, axis=1), states

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns variables whose networks begin with the data set's statistics; see `Masker`."""
        params = dict(variables["params"])
        for target, masker in self.maskers().items():
            own = masker.with_statistics({"params": params[target]}, statistics)
            params[target] = own["params"]
        return {**variables, "params": params}

    def only(self, targets: Iterable[str]) -> "OpenUnmixTargets":
        """Returns a masker with these targets' networks, which ignores the others' variables."""
        return self.clone(networks={target: self.networks[target] for target in targets})
