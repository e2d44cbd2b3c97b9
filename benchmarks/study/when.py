"""When does a stem leak into the vocals: while the voice sounds, or while it is silent?

    python -m benchmarks.study.when --root=ALBUM --stem=drums --model=NAME=WORKDIR [--model=...]

Prints for each model the energy of the masked stem over the stem's, in dB: altogether, in frames
with voice and in frames without; and which share of what leaked leaked beside the voice.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks.table import Table
from jaxsep.cli.options import add_models, named_models
from jaxsep.collections.open import open_collection
from jaxsep.collections.source import Source, Track
from jaxsep.evaluation.methods import load
from jaxsep.separation.separator import Separator
from jaxsep.spectrogram import stft

SOUNDING = 10 ** (-40 / 10)  # energy of a frame with voice, over that of the loudest


class Energies(NamedTuple):
    """Of a stem, `[frames]`: as it is, and as the mask leaves it; and where the voice sounds."""

    stem: np.ndarray
    masked: np.ndarray
    is_sung: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(description="When a stem leaks into the vocals.")
    add_models(parser)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--stem", default="drums")
    args = parser.parse_args()
    source = open_collection(args.root)
    tracks = [track for track in source.tracks() if track.split != "train"]
    columns = ("model", "leaked, dB", "beside the voice", "without voice", "share beside the voice")
    with Table(*columns, about=f"{args.stem}, {len(tracks)} songs") as table:
        for name, path in named_models(args.model).items():
            separator = Separator.restore(path)
            found = [look(separator, source, track, args.stem) for track in tracks]
            stem, masked, is_sung = (np.concatenate(column) for column in zip(*found, strict=True))
            cells = [leak(stem[where], masked[where]) for where in (slice(None), is_sung, ~is_sung)]
            table.row(name, *cells, f"{masked[is_sung].sum() / masked.sum():.0%}")
    return 0


def look(separator: Separator, source: Source, track: Track, stem: str) -> Energies:
    """Measures a song's frames."""
    recording = load(source, track)
    waveforms = [recording.stems["vocals"], source.load(track).stems[stem]]

    def magnitude(waveform: np.ndarray) -> np.ndarray:
        own = separator.to_format(waveform, recording.sample_rate)
        return np.abs(stft(jnp.asarray(own), separator.stft))

    voice, part = map(magnitude, waveforms)
    mixture_in_format = separator.to_format(recording.mixture, recording.sample_rate)
    mask = separator.masks(mixture_in_format)["vocals"]
    loudness, energy, masked = (np.square(x).sum(axis=(1, 2)) for x in (voice, part, mask * part))
    return Energies(energy, masked, loudness > SOUNDING * loudness.max())


def leak(stem: np.ndarray, masked: np.ndarray) -> float:
    return float(10 * np.log10(masked.sum() / stem.sum()))


if __name__ == "__main__":
    sys.exit(main())
