"""How well a masker does on held-out tracks: in decibels, and as a picture."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Float, Int

from jaxsep import sharding
from jaxsep.data.input_pipeline import eval_batches
from jaxsep.data.training_data import TrainingData
from jaxsep.metrics import sdr
from jaxsep.models.masker import Masker, observe
from jaxsep.plots import figures
from jaxsep.training.step import to_parts

PICTURED_EXAMPLES = 64
# A target 60 dB under the rest is what codecs leave in an instrumental.
SILENT_TARGET = 1e-6


@dataclasses.dataclass(frozen=True)
class Scores:
    """SDR of each target in dB, the mean over tracks; None where no track has the target.

    Attributes:
      estimate: SDR of the masked mixture, by target.
      mixture: SDR of the mixture itself, by target.
    """

    estimate: dict[str, float | None]
    mixture: dict[str, float | None]

    @property
    def sdr(self) -> float | None:
        """Mean over the targets; None if no track has any."""
        return mean_of(self.estimate)

    @property
    def sdr_mixture(self) -> float | None:
        """The mixture's mean over the targets."""
        return mean_of(self.mixture)


def mean_of(scores: Mapping[str, float | None]) -> float | None:
    """Averages the scores that there are; None without any."""
    known = [score for score in scores.values() if score is not None]
    return float(np.mean(known)) if known else None


class TrackEnergies:
    """Adds up energies of segments by track.

    Args:
      targets: Names of the targets.
    """

    def __init__(self, targets: Sequence[str]):
        self._targets = targets
        self._sums: dict[int, dict[str, np.ndarray]] = {}

    def add(
        self,
        tracks: Int[np.ndarray, " segments"],
        energies: Mapping[str, Float[np.ndarray, "segments targets"]],
    ) -> None:
        """Adds a batch.

        Args:
          tracks: Number of each segment's track; those below 0 are left out.
          energies: Arrays `[segments, targets]` by name.
        """
        for name, values in energies.items():
            for track, value in zip(tracks, values.astype(np.float64), strict=True):
                if track >= 0:
                    sums = self._sums.setdefault(int(track), {})
                    sums[name] = sums.get(name, 0.0) + value

    def mean_sdr(self, error: str) -> dict[str, float | None]:
        """Averages the tracks' SDR of each target in dB.

        Tracks where a target is silent don't count for it; if that is all, its mean is None.
        """
        means = {}
        for place, target in enumerate(self._targets):
            tracks = [
                {name: float(sums[place]) for name, sums in energies.items()}
                for energies in self._sums.values()
            ]
            scores = [
                sdr(e["target"], e[error])
                for e in tracks
                if e["target"] > SILENT_TARGET * e["mixture_error"]
            ]
            means[target] = float(np.mean(scores)) if scores else None
        return means


def validate(
    eval_step: Callable[..., dict[str, jax.Array]],
    variables: dict[str, Any],
    data: TrainingData,
    *,
    targets: Sequence[str],
    batch_size: int,
    mesh: Mesh,
) -> Scores:
    """Scores a masker on the validation split.

    Args:
      eval_step: What `step.make_eval_step` returns.
      variables: The masker's variables.
      data: Data sets, which may lack the split.
      targets: The masker's targets.
      batch_size: Examples per batch, over all processes together.
      mesh: Devices that share each batch.

    Returns:
      The scores. Energies are those of the complex spectrograms (`losses.error_energy`).
    """
    energies = TrackEnergies(targets)
    batches = eval_batches(data, "validation", targets=targets, batch_size=batch_size, mesh=mesh)
    for batch in batches:
        result = jax.device_get(eval_step(variables, batch))
        energies.add(result.pop("track"), result)
    return Scores(energies.mean_sdr("error"), energies.mean_sdr("mixture_error"))


def draw_example(
    path: epath.Path, data: TrainingData, masker: Masker, variables: dict[str, Any]
) -> None:
    """Draws mixture, estimates and references of a held-out segment.

    Of the first `PICTURED_EXAMPLES` segments of the validation split (or, failing that, of the
    training split) it is the one with the loudest first target.
    """
    split = "validation" if data.track_names("validation") else "train"
    mesh = sharding.make_mesh(jax.local_devices()[:1])
    examples = eval_batches(data, split, targets=masker.targets, batch_size=1, mesh=mesh)
    best, best_parts, energy = None, None, -1.0
    for example in itertools.islice(examples, PICTURED_EXAMPLES):
        parts = to_parts(example, masker)
        if (found := float(jnp.square(jnp.abs(parts.targets[0, 0])).sum())) > energy:
            best, best_parts, energy = example, parts, found
    assert best is not None and best_parts is not None  # a split has an example
    frames = int(best["num_frames"][0])
    mixture = best_parts.mixture[:, 0, :frames]
    masks, _ = masker.apply(variables, observe(masker, mixture), masker.initial_carry(1))
    pictures = {"mixture": mixture[0]}
    for place, target in enumerate(masker.targets):
        pictures[f"{target}, estimate"] = masks[0, place] * mixture[0]
        pictures[f"{target}, reference"] = best_parts.targets[0, place, :frames]
    track = data.track_names(split)[int(best["track"][0])]
    title = f"{track} ({split}), from {float(best['start'][0]):.1f} s"
    arrays = {name: np.abs(np.asarray(spectrum)) for name, spectrum in pictures.items()}
    figures.save_spectrograms(path, arrays, data.stft, title=title)
