"""Mixtures of stems: drawn by `mix_plan`, read by `stem_sources` and rendered by `mix_render`."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxsep.data.mix_plan import MixPlanner
from jaxsep.data.mix_render import render
from jaxsep.data.mixing import Mixing
from jaxsep.data.records import Dataset
from jaxsep.data.stem_sources import StemBank, StemFiles

Batch = dict[str, jax.Array]


class Mixtures:
    """What mixtures of a split are made of, and their rendering.

    Args:
      dataset: Data set of waveforms.
      split: Split whose stems are mixed.
      targets: Stems that come first, as they are a masker's targets.
      frames: Frames of a mixture's magnitudes.
      mixing: How the stems are mixed.
      mesh: Devices that render.
      in_memory: Whether to keep all waveforms in the devices' memory.

    Attributes:
      leads, origin: Those of `MixPlanner`.

    Raises:
      jaxsep.data.records.DatasetError: if waveforms of some stem are missing.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        *,
        targets: Sequence[str],
        frames: int,
        mixing: Mixing,
        mesh: Mesh,
        in_memory: bool = False,
    ):
        self._planner = planner = MixPlanner(
            dataset, split, targets=targets, frames=frames, mixing=mixing
        )
        self.leads, self.origin = planner.leads, planner.origin
        self._stems = (
            StemBank(dataset, split, planner, mesh)
            if in_memory
            else StemFiles(dataset, split, planner)
        )
        self._render = functools.partial(
            render,
            samples=planner.samples,
            chunk=planner.chunk,
            num_targets=len(targets),
            sample_rate=dataset.stft.sample_rate,
            mesh=mesh,
        )

    def load(self, lead: int, rng: np.random.Generator) -> dict[str, Any]:
        """Draws a mixture with a target of a record and reads what the host gives to it."""
        return self._stems.load(self._planner.draw(lead, rng))

    def render(self, batch: Mapping[str, jax.Array | np.ndarray]) -> Batch:
        """Renders a batch of what `load` returns."""
        return self._render(batch, self._stems.bank)
