"""What a model loses on vocals and on accompaniments that it wasn't trained on.

    python -m benchmarks.unseen --data=DATA [--model=MODEL] [--mixtures=96]

Mixes vocals of DATA's training and validation splits with accompaniments of either, at the same
levels, and prints the SDR of the vocals (mean and median of the mixtures). The fifth row has what
was trained on at other speeds, and so at other pitches. DATA is the model's own data set, of
waveforms; where the first row is far above the others, more steps mean more of the same.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.table import Table
from jaxsep import sharding
from jaxsep.data import records
from jaxsep.data.mixing import UNVARIED
from jaxsep.data.mixtures import Mixtures
from jaxsep.data.training_data import TrainingData
from jaxsep.models.load import OWN, load_model
from jaxsep.training.step import make_eval_step

FRAMES, BATCH = 256, 16
LEVEL_DB = (-12.0, 6.0)  # of the vocals over their accompaniment, from and to
PAUSE = 1e-3  # energy of vocals relative to the accompaniment's, up to which they are a pause
SPEED = 1.12
SEEN, UNSEEN = "train", "validation"
# Split of the vocals, of the accompaniments, and how much faster or slower they are played.
CASES = {
    "vocals and accompaniments that it knows": (SEEN, SEEN, 1.0),
    "other accompaniments": (SEEN, UNSEEN, 1.0),
    "other vocals": (UNSEEN, SEEN, 1.0),
    "other vocals and accompaniments": (UNSEEN, UNSEEN, 1.0),
    "those that it knows, at other speeds": (SEEN, SEEN, SPEED),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a data set of waveforms")
    parser.add_argument("--model", default=OWN)
    parser.add_argument("--mixtures", type=int, default=96, help="of each kind, at least")
    args = parser.parse_args()
    dataset = records.load_dataset(args.data)
    masker, variables, _ = load_model(args.model)
    step = make_eval_step(masker, mesh=sharding.make_mesh())
    with Table("mixtures of", "mean SDR, dB", "median SDR, dB", about=args.model) as table:
        for name, (vocals, accompaniments, speed) in CASES.items():
            sdr: list[float] = []
            batches = mixtures(dataset, vocals, accompaniments, speed)
            while len(sdr) < args.mixtures:
                energies = jax.device_get(step(variables, next(batches)))
                sdr += list(10 * np.log10(energies["target"][:, 0] / energies["error"][:, 0]))
            table.row(name, float(np.mean(sdr)), float(np.median(sdr)))
    return 0


def mixtures(
    dataset: records.Dataset, vocals: str, accompaniments: str, speed: float
) -> Iterator[dict[str, Any]]:
    """Yields batches of random mixtures, the same each time.

    Args:
      dataset: Data set of waveforms.
      vocals: Split of the vocals.
      accompaniments: Split of the accompaniments.
      speed: Largest factor by which stems are played slower or faster.
    """
    mixing = dataclasses.replace(UNVARIED, paired=0.0, speed=speed)
    mesh = sharding.make_mesh(jax.local_devices()[:1])
    data = TrainingData((dataset,))
    sources = [
        Mixtures(data, split, targets=["vocals"], frames=FRAMES, mixing=mixing, mesh=mesh)
        for split in (vocals, accompaniments)
    ]
    rng, found = np.random.default_rng(0), []
    while True:
        sung, played = (_render(source, rng) for source in sources)
        for number in range(BATCH):
            voice, own = sung["stems"][number, 0], sung["stems"][number, 1:].sum(axis=0)
            other = played["stems"][number, 1:].sum(axis=0)
            energies = [float(np.square(stem).sum()) for stem in (voice, own, other)]
            if energies[0] > PAUSE * energies[1] and energies[2] > 0:
                decibels = 10 * np.log10(energies[2] / energies[0]) + rng.uniform(*LEVEL_DB)
                found.append(np.stack([np.float32(10 ** (decibels / 20)) * voice, other]))
        while len(found) >= BATCH:
            stems, found = np.stack(found[:BATCH]), found[BATCH:]
            yield {
                "stems": stems,
                "gains": np.ones((BATCH, 2, dataset.stft.bins), np.float32),
                "num_frames": np.full(BATCH, FRAMES, np.int32),
                "track": np.zeros(BATCH, np.int32),
            }


def _render(source: Mixtures, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Renders a batch of mixtures with any vocals."""
    plans = [source.load(int(lead), rng) for lead in rng.choice(source.leads[0], size=BATCH)]
    batch = {name: np.stack([plan[name] for plan in plans]) for name in plans[0]}
    return jax.device_get(source.render(batch))


if __name__ == "__main__":
    sys.exit(main())
