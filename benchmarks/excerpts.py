"""Scores trained models on songs with known vocals: energy-ratio SDR per song, as a table.

usage: python -m benchmarks.excerpts --root=DIR --model=NAME=WORKDIR [--model=...]

DIR holds a folder per song with `mixture.*` and `vocals.*`. The score is 10 log10 of the
reference's energy over the error's, over the whole song and all channels; nothing is filtered or
scaled.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxsep import Separator
from jaxsep.audio_reader import read_audio
from jaxsep.metrics import waveform_sdr

Estimator = Callable[[np.ndarray, int], np.ndarray]


def parse_arguments(description: str | None) -> tuple[Path, dict[str, Estimator]]:
    """Parses `--root` and `--model`s.

    Returns:
      The folder of the songs, and by name a function from waveform and rate to vocals; the first
      is the mixture, unprocessed.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=WORKDIR")
    args = parser.parse_args()
    estimators: dict[str, Estimator] = {"mixture": lambda waveform, rate: waveform}
    for text in args.model:
        name, _, path = text.partition("=")
        separator = Separator.restore(path)
        estimators[name] = lambda waveform, rate, model=separator: model(waveform, rate)["vocals"]
    return args.root, estimators


def main() -> None:
    root, estimators = parse_arguments(__doc__)
    print("| excerpt | " + " | ".join(estimators) + " |\n|---|" + "---|" * len(estimators))
    rows = []
    for folder in sorted(path.parent for path in root.glob("*/mixture.*")):
        mixture, rate = read_audio(next(folder.glob("mixture.*")))
        vocals, _ = read_audio(next(folder.glob("vocals.*")))
        rows.append([waveform_sdr(vocals, run(mixture, rate)) for run in estimators.values()])
        print(_row(folder.name, rows[-1]))
    print(_row("mean", np.mean(rows, axis=0)))


def _row(name: str, scores) -> str:
    return f"| {name} | " + " | ".join(f"{score:.2f}" for score in scores) + " |"


if __name__ == "__main__":
    main()
