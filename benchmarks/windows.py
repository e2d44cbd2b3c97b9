"""How far a model that sees a song in windows is from the same model on the whole song.

    python -m benchmarks.windows --model=WORKDIR --song=SONG [--song=SONG ...]

Joins the songs, which must have one sample rate, and prints the energy of the difference between
the two estimates of the vocals over that of the vocals, in dB. The song as a whole takes memory.
"""

import argparse
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks.table import Table
from jaxsep.audio.reader import read_audio
from jaxsep.models.load import load_model
from jaxsep.separation.separator import Separator
from jaxsep.spectrogram import stft


def main() -> int:
    parser = argparse.ArgumentParser(description="What separating in windows changes.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--song", type=Path, action="append", required=True)
    args = parser.parse_args()
    masker, variables, _ = load_model(args.model)
    windows = masker.traits.windows
    if windows is None:
        parser.error(f"{args.model} is causal and carries its state on: there are no windows")
    separator = Separator(masker, variables)
    waveforms = [separator.to_format(*read_audio(song)) for song in args.song]
    waveform = np.concatenate(waveforms)
    magnitude = np.abs(stft(jnp.asarray(waveform), masker.stft))
    whole, _ = masker.apply(variables, magnitude[None], masker.initial_carry(1))
    vocals = np.asarray(whole[0, masker.targets.index("vocals")]) * magnitude
    difference = separator.masks(waveform)["vocals"] * magnitude - vocals
    decibels = 10 * np.log10(np.square(difference).sum() / np.square(vocals).sum())
    seconds = len(waveform) / masker.stft.sample_rate
    with Table("song, s", "frames in a window", "shared frames", "difference, dB") as table:
        table.row(seconds, windows.frames, windows.overlap, float(decibels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
