"""How well a masker does on held-out tracks: in decibels, and as a picture."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxsep import sharding
from jaxsep.data import records
from jaxsep.data.input_pipeline import eval_batches
from jaxsep.metrics import sdr
from jaxsep.models.masker import Masker
from jaxsep.plots import figures
from jaxsep.training.step import VOCALS, to_magnitudes

PICTURED_EXAMPLES = 64
# Vocals 60 dB under the accompaniment are what codecs leave in an instrumental.
SILENT_VOCALS = 1e-6


class TrackEnergies:
    """Adds up energies of segments by track."""

    def __init__(self):
        self._sums: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, tracks: np.ndarray, energies: Mapping[str, np.ndarray]) -> None:
        """Adds a batch.

        Args:
          tracks: number of each segment's track; those below 0 are left out.
          energies: Arrays of the same length, by name.
        """
        for name, values in energies.items():
            for track, value in zip(tracks, values, strict=True):
                if track >= 0:
                    self._sums[int(track)][name] += float(value)

    def mean_sdr(self, error: str) -> float | None:
        """Averages the tracks' SDR of the vocals in dB.

        Tracks whose vocals are silent don't count; if that is all of them, the mean is None.
        """
        scores = [
            sdr(e["vocals"], e[error])
            for e in self._sums.values()
            if e["vocals"] > SILENT_VOCALS * e["mixture_error"]
        ]
        return float(np.mean(scores)) if scores else None


def validate(
    eval_step: Callable[..., dict[str, jax.Array]],
    variables: dict[str, Any],
    dataset: records.Dataset,
    *,
    batch_size: int,
    mesh: Mesh,
) -> tuple[float | None, float | None]:
    """Scores a masker on the validation split.

    Args:
      eval_step: What `step.make_eval_step` returns.
      variables: The masker's variables.
      dataset: may lack the split.
      batch_size: Examples per batch, over all processes together.
      mesh: the batch is spread over it.

    Returns:
      The mean over tracks of the vocals' SDR in dB: of the estimate and of the mixture itself.
      Energies are those of the complex spectrograms (`losses.error_energy`). None where no track
      has vocals.
    """
    energies = TrackEnergies()
    for batch in eval_batches(dataset, "validation", batch_size=batch_size, mesh=mesh):
        result = jax.device_get(eval_step(variables, batch))
        energies.add(result.pop("track"), result)
    return energies.mean_sdr("error"), energies.mean_sdr("mixture_error")


def draw_example(
    path: epath.Path, dataset: records.Dataset, masker: Masker, variables: dict[str, Any]
) -> None:
    """Draws mixture, estimate and reference of a held-out segment.

    Of the first `PICTURED_EXAMPLES` segments of the validation split (or, failing that, of the
    training split) it is the one with the loudest vocals.
    """
    split = "validation" if dataset.num_tracks("validation") else "train"
    mesh = sharding.make_mesh(jax.local_devices()[:1])
    examples = eval_batches(dataset, split, batch_size=1, mesh=mesh)
    best, energy = {}, -1.0
    for example in itertools.islice(examples, PICTURED_EXAMPLES):
        magnitudes, _ = to_magnitudes(example, masker.stft)
        if (found := float(jnp.square(magnitudes["vocals"]).sum())) > energy:
            best, energy = {**example, **magnitudes}, found
    frames = int(best["num_frames"][0])
    mixture, vocals = best["mixture"][:, :frames], best["vocals"][:, :frames]
    masks, _ = masker.apply(variables, mixture, masker.initial_carry(1))
    estimate = mixture * masks[:, VOCALS]
    pictures = {"mixture": mixture, "vocals, estimate": estimate, "vocals, reference": vocals}
    track = dataset.track_names(split)[int(best["track"][0])]
    title = f"{track} ({split}), from {float(best['start'][0]):.1f} s"
    arrays = {name: np.asarray(magnitude[0]) for name, magnitude in pictures.items()}
    figures.save_spectrograms(path, arrays, dataset.stft, title=title)
