"""Several of Open-Unmix's maskers side by side, each with a target of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict

from jaxsep.models.lstm_scan import LSTMCarry
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.stft_config import StftConfig


class OpenUnmixTargets(nn.Module):
    """A masker for each target; they hear the same mixture, and nothing of each other.

    Attributes:
      stft: format of the magnitudes.
      networks: fields of `OpenUnmixMasker` by the target's name; they may differ.
      dtype: of the matrix products; parameters, states and masks are float32.
    """

    stft: StftConfig
    networks: Mapping[str, Mapping[str, Any]]
    dtype: jnp.dtype = jnp.float32

    lead_frames = OpenUnmixMasker.lead_frames
    mono_gain = OpenUnmixMasker.mono_gain
    overlap_frames = OpenUnmixMasker.overlap_frames
    window_frames = OpenUnmixMasker.window_frames

    def __post_init__(self):
        self.networks = FrozenDict(self.networks)  # maskers can be hashed
        super().__post_init__()
        if not self.networks:
            raise ValueError("networks is empty; give one for each target")
        self.maskers()  # raises for fields that are impossible

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of the masks."""
        return tuple(self.networks)

    @property
    def is_causal(self) -> bool:
        return all(masker.is_causal for masker in self.maskers().values())

    def maskers(self) -> dict[str, OpenUnmixMasker]:
        """Makes each target's masker, as one that stands alone."""
        return {
            target: OpenUnmixMasker(self.stft, dtype=self.dtype, **fields, parent=None)
            for target, fields in self.networks.items()
        }

    def only(self, targets: Iterable[str]) -> "OpenUnmixTargets":
        """Returns a masker of some of the targets; of the same variables it ignores the rest."""
        return self.clone(networks={target: self.networks[target] for target in targets})

    def initial_carry(self, batch: int) -> dict[str, list[LSTMCarry]]:
        """Returns the state before the first frame, for each target."""
        return {target: masker.initial_carry(batch) for target, masker in self.maskers().items()}

    @nn.compact
    def __call__(
        self,
        magnitude: jax.Array,
        carry: dict[str, list[LSTMCarry]],
        *,
        valid: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, list[LSTMCarry]]]:
        """Predicts masks `[batch, targets, frames, channels, bins]`; see `jaxsep.models`."""
        masks, states = [], {}
        for target, masker in self.maskers().items():
            named = masker.clone(parent=self, name=target)
            mask, states[target] = named(magnitude, carry[target], valid=valid)
            masks.append(mask)
        return jnp.stack(masks, axis=1), states
