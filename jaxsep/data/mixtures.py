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
from jaxsep.data.records import StemRecord
from jaxsep.data.stem_sources import StemBank, StemFiles
from jaxsep.data.training_data import TrainingData

Batch = dict[str, jax.Array]


class Mixtures:
    """What mixtures of a split are made of, and their rendering.

    Stems of one data set sound together. Where another one has more of them, silence takes their
    place.

    Args:
      data: Data sets of waveforms.
      split: Split whose stems are mixed.
      targets: Stems that come first, as they are a masker's targets.
      frames: Frames of a mixture's magnitudes.
      mixing: How the stems are mixed.
      mesh: Devices that render.
      in_memory: Whether to keep all waveforms in the devices' memory.

    Attributes:
      leads: Those of `MixPlanner`, of each data set.

    Raises:
      jaxsep.data.records.DatasetError: if waveforms of some stem are missing.
    """

    def __init__(
        self,
        data: TrainingData,
        split: str,
        *,
        targets: Sequence[str],
        frames: int,
        mixing: Mixing,
        mesh: Mesh,
        in_memory: bool = False,
    ):
        # What songs have beside the targets is among the records alone.
        num_stems = max(
            len({*targets, *dataset.targets, *(r.stem for r in dataset.stem_records(split))})
            for dataset in data.sets
        )
        planners = [
            MixPlanner(
                dataset,
                split,
                targets=targets,
                frames=frames,
                mixing=mixing,
                num_stems=num_stems,
                first_record=records.start,
            )
            for dataset, records in zip(data.sets, data.records(split), strict=True)
        ]
        self.leads = [planner.leads for planner in planners]
        self._planners = {lead: planner for planner in planners for lead in planner.leads}
        self._stems = StemBank(data, split, mesh) if in_memory else StemFiles(data, split)
        self._render = functools.partial(
            render,
            samples=planners[0].samples,
            chunk=planners[0].chunk,
            num_targets=len(targets),
            sample_rate=data.stft.sample_rate,
            mesh=mesh,
        )

    def origin(self, lead: int) -> StemRecord:
        """Returns what a lead's record holds."""
        return self._planners[lead].origin(lead)

    def load(self, lead: int, rng: np.random.Generator) -> dict[str, Any]:
        """Draws a mixture with a target of a record and reads what the host gives to it."""
        planner = self._planners[lead]
        return self._stems.load(planner.draw(lead, rng), planner)

    def render(self, batch: Mapping[str, jax.Array | np.ndarray]) -> Batch:
        """Renders a batch of what `load` returns."""
        return self._render(batch, self._stems.bank)
