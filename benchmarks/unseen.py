"""What a model loses on voices and on backings that it wasn't trained on.

    python -m benchmarks.unseen --data=DATA [--model=MODEL] [--mixtures=96]

Mixes voices of DATA's training and validation splits with backings of either, at the same levels,
and prints the SDR of the vocals (mean and median of the mixtures). The fifth row has what was
trained on at other speeds, and so at other pitches. DATA is the model's own data set, of waveforms;
where the first row is far above the others, more steps mean more of the same.
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
from jaxsep.data.mixer import Mixer
from jaxsep.data.mixing import UNVARIED
from jaxsep.models import files as model_files
from jaxsep.models.files import OWN
from jaxsep.training.step import make_eval_step

FRAMES, BATCH = 256, 16
LEVEL_DB = (-12.0, 6.0)  # of a voice over its backing, from and to
PAUSE = 1e-3  # energy over that of a backing, up to which `Mixer.mix` was given no voice
SPEED = 1.12
SEEN, UNSEEN = "train", "validation"
# Split of the voices, of the backings, and how much faster or slower they are played.
CASES = {
    "voices and backings that it knows": (SEEN, SEEN, 1.0),
    "other backings": (SEEN, UNSEEN, 1.0),
    "other voices": (UNSEEN, SEEN, 1.0),
    "other voices and backings": (UNSEEN, UNSEEN, 1.0),
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
    _, masker, variables = model_files.restore_best(args.model)
    step = make_eval_step(masker, mesh=sharding.make_mesh())
    with Table("mixtures of", "mean SDR, dB", "median SDR, dB", about=args.model) as table:
        for name, (voices, backings, speed) in CASES.items():
            sdr: list[float] = []
            batches = mixtures(dataset, voices, backings, speed)
            while len(sdr) < args.mixtures:
                energies = jax.device_get(step(variables, next(batches)))
                sdr += list(10 * np.log10(energies["vocals"] / energies["error"]))
            table.row(name, float(np.mean(sdr)), float(np.median(sdr)))
    return 0


def mixtures(
    dataset: records.Dataset, voices: str, backings: str, speed: float
) -> Iterator[dict[str, Any]]:
    """Yields batches of random mixtures, the same each time.

    Args:
      dataset: of waveforms.
      voices: split of the voices.
      backings: split of the backings.
      speed: see `Mixing`.
    """
    mixing = dataclasses.replace(UNVARIED, paired=0.0, speed=speed)
    singers, players = (
        Mixer(dataset, split, frames=FRAMES, mixing=mixing) for split in (voices, backings)
    )
    rng = np.random.default_rng(0)
    while True:
        examples = []
        while len(examples) < BATCH:
            sung = singers.mix(int(rng.choice(singers.voices)), rng)
            played = players.mix(int(rng.choice(players.voices)), rng)
            vocals, accompaniment = sung["stems"][0], played["stems"][1]
            voice, own, other = (
                float(np.square(stem).sum()) for stem in (*sung["stems"], accompaniment)
            )
            if voice > PAUSE * own and other > 0:
                decibels = 10 * np.log10(other / voice) + rng.uniform(*LEVEL_DB)
                vocals = (10 ** (decibels / 20) * vocals).astype(np.float32)
                stems = np.stack([vocals, accompaniment])
                examples.append({**sung, "stems": stems, "track": np.int32(0)})
        names = ("stems", "gains", "num_frames", "track")
        yield {name: np.stack([example[name] for example in examples]) for name in names}


if __name__ == "__main__":
    sys.exit(main())
