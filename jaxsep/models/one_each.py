"""A network for each target, side by side."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict

from jaxsep.models.by_name import create
from jaxsep.models.masker import Carry, Masks, Mixture, Statistics, Traits, Valid, Variables
from jaxsep.stft_config import StftConfig

SHARED_TRAITS = ("windows", "sees", "answers", "mono_gain")


class OneNetworkEach(nn.Module):
    """A network for each target. All get the same mixture, and none sees another.

    Attributes:
      stft: Format of the spectra.
      networks: Name and fields of each target's masker, by the target's name. They may differ, but
        not in `SHARED_TRAITS`; yet causal ones also go in the windows of others. A masker without a
        name is Open-Unmix's, as in models that were saved as `openunmix_targets`.
      dtype: Data type of the matrix products; parameters, states and masks are float32.
      maskers: Masker of each target, as one that stands alone; not a field.
    """

    stft: StftConfig
    networks: Mapping[str, Mapping[str, Any]]
    dtype: jnp.dtype = jnp.dtype("float32")

    def __post_init__(self):
        self.networks = FrozenDict(self.networks)  # maskers can be hashed
        shared = {"stft": self.stft, "dtype": self.dtype.name}
        self.maskers = {
            target: create(**{"name": "openunmix", **fields}, targets=(target,), **shared)
            for target, fields in self.networks.items()
        }
        super().__post_init__()
        if not self.networks:
            raise ValueError("networks is empty; give one for each target")
        for name in SHARED_TRAITS:
            found = {getattr(masker.traits, name) for masker in self.maskers.values()} - {None}
            if len(found) > 1:
                values = " and ".join(sorted(map(str, found)))
                raise ValueError(f"the targets' networks must have the same {name}, not {values}")

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of the masks."""
        return tuple(self.networks)

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used: in windows if one of the networks does."""
        all_traits = [masker.traits for masker in self.maskers.values()]
        return dataclasses.replace(
            all_traits[0],
            windows=next((traits.windows for traits in all_traits if traits.windows), None),
            dropout=max(traits.dropout for traits in all_traits),
            mixes_examples=any(traits.mixes_examples for traits in all_traits),
            depth=2,
        )

    def initial_carry(self, batch: int) -> dict[str, Carry]:
        """Returns the state before the first frame, by the target's name."""
        return {target: masker.initial_carry(batch) for target, masker in self.maskers.items()}

    @nn.compact
    def __call__(
        self, mixture: Mixture, carry: dict[str, Carry], *, valid: Valid | None = None
    ) -> tuple[Masks, dict[str, Carry]]:
        """Predicts masks; see `Masker`."""
        masks, states = [], {}
        for target, masker in self.maskers.items():
            named = masker.clone(parent=self, name=target)
            mask, states[target] = named(mixture, carry[target], valid=valid)
            masks.append(mask)
        return jnp.concatenate(masks, axis=1), states

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns variables whose networks begin with the data set's statistics; see `Masker`."""
        changed: Variables = {name: {} for name in variables}
        for target, masker in self.maskers.items():
            own = {name: tree[target] for name, tree in variables.items() if target in tree}
            for name, tree in masker.with_statistics(own, statistics).items():
                changed[name][target] = tree
        return changed

    def only(self, targets: Iterable[str]) -> "OneNetworkEach":
        """Returns a masker with these targets' networks, which ignores the others' variables."""
        return self.clone(networks={target: self.networks[target] for target in targets})
