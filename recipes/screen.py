"""Takes voices out of music that is said to have none.

usage: python -m recipes.screen --sources=SOURCES --model=MODEL [--threshold=-12]

A separator looks for vocals in every accompaniment that has no vocals of its own beside it and
wasn't made by `recipes.bands`. Blocks of 5 s in which it finds more than the threshold are cut out,
with a block on either side; a piece that loses more than half is left out as a whole. What was
taken out, and why, is in screened.json; the whole originals are kept in SOURCES/left_out. What was
screened isn't screened again; a piece whose screening was interrupted is, from its original.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jaxsep.convert.published import resolve
from jaxsep.files import read_json, write_json
from jaxsep.models.files import ModelError
from jaxsep.separation.separator import Separator
from recipes.sources import (
    LEFT_OUT,
    MADE,
    RATE,
    SPLITS,
    SourceError,
    make_parser,
    note_licences,
    read,
    run,
    write,
)

BLOCK = 5.0  # seconds
AT_ONCE = 12  # blocks: a model that sees a whole song is compiled for each new length
SILENT = -60.0  # dB of full scale, below which there is nothing to judge
SHORTEST = 4  # blocks: what is left between two voices must have
FADE = 0.05  # seconds, where a cut is


def main() -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--sources", type=Path, required=True, help="folder of the sources")
    add("--model", required=True, help="a training's workdir, or any other model of jaxsep")
    add("--threshold", type=float, default=-12.0, help="dB: energy of the vocals over that of all")
    return run(parser, screen)


def screen(args: argparse.Namespace) -> None:
    """Screens what wasn't screened yet.

    Raises:
      SourceError: if there are no sources, or no such model.
    """
    if not any((args.sources / split).is_dir() for split in SPLITS):
        raise SourceError(f"{args.sources}: no train/ or validation/ in it")
    report = args.sources / "screened.json"
    done: dict[str, Any] = read_json(report) if report.exists() else {}
    try:
        separator = Separator.restore(resolve(args.model))
    except ModelError as error:
        raise SourceError(str(error)) from error
    for name in backings(args.sources):
        if name in done:
            continue
        path, original = args.sources / name, args.sources / LEFT_OUT / name
        waveform = read(original if original.exists() else path)
        found = vocals_share(separator, waveform)
        kept = clear_blocks(found, args.threshold)
        done[name] = {
            "model": str(args.model),
            "threshold": args.threshold,
            "seconds": round(len(waveform) / RATE, 1),
            "vocals_db": [None if np.isnan(x) else round(float(x), 1) for x in found],
            "left_out": [i * BLOCK for i in np.flatnonzero(~kept)],
        }
        if not kept.all():
            if not original.exists():
                original.parent.mkdir(parents=True, exist_ok=True)
                path.replace(original)
            if kept.mean() >= 0.5:
                write(path, cut(waveform, kept))
            elif path.parent.exists():
                path.parent.rmdir()
        write_json(report, done)
        print(f"{name}: {kept.sum()} of {len(kept)} blocks kept", flush=True)
    note_licences(args.sources, {})


def backings(sources: Path) -> list[str]:
    """Lists what is to be screened, also what an interrupted run has moved away already.

    Returns:
      Paths below `sources` of accompaniments without vocals that weren't made by `recipes.bands`.
    """
    listed = sources / "licences.json"
    licences = read_json(listed) if listed.exists() else {}
    found = {
        path.relative_to(root)
        for root in (sources, sources / LEFT_OUT)
        for split in SPLITS
        for path in (root / split).glob("*/accompaniment.flac")
    }
    return sorted(
        str(path)
        for path in found
        if licences.get(str(path), {}).get("kind") != MADE
        and not (sources / path).with_name("vocals.flac").exists()
    )


def vocals_share(separator: Separator, waveform: np.ndarray) -> np.ndarray:
    """Measures how much of each block is vocals.

    Args:
      separator: judges.
      waveform: float `[samples, channels]` at 44.1 kHz.

    Returns:
      10 log10 of the energy of the vocals over that of the whole, `[blocks]`; NaN for silence.
    """
    size = int(AT_ONCE * BLOCK * RATE)
    padded = np.pad(waveform, ((0, -len(waveform) % size), (0, 0)))
    stretches = (padded[start : start + size] for start in range(0, len(padded), size))
    vocals = np.concatenate([separator(stretch, RATE)["vocals"] for stretch in stretches])
    vocals = vocals[: len(waveform)]
    energy, whole = (_energies(part) for part in (vocals, waveform))
    silent = whole < 10 ** (SILENT / 10)
    return np.where(silent, np.nan, 10 * np.log10((energy + 1e-12) / (whole + 1e-12)))


def _energies(waveform: np.ndarray) -> np.ndarray:
    """Returns the mean power of each block; the last may be short."""
    starts = np.arange(0, len(waveform), int(BLOCK * RATE))
    sums = np.add.reduceat(np.square(waveform, dtype=np.float64).mean(axis=1), starts)
    return sums / np.diff(np.append(starts, len(waveform)))


def clear_blocks(found: np.ndarray, threshold: float) -> np.ndarray:
    """Tells which blocks to keep.

    Args:
      found: of `vocals_share`.
      threshold: in dB.

    Returns:
      Bools `[blocks]`: far enough from vocals, and in a run that is long enough to be of use.
    """
    sung = np.append(found > threshold, [False, False])
    kept = ~(sung[:-2] | sung[1:-1] | np.roll(sung, 1)[:-2])
    edges = np.flatnonzero(np.diff(np.r_[False, kept, False]))
    for start, end in edges.reshape(-1, 2):
        if end - start < SHORTEST and not kept.all():
            kept[start:end] = False
    return kept


def cut(waveform: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Joins the blocks that are kept, faded in and out where they are torn."""
    size, parts = int(BLOCK * RATE), []
    ramp = np.linspace(0, 1, int(FADE * RATE))[:, None]
    for start, end in np.flatnonzero(np.diff(np.r_[False, kept, False])).reshape(-1, 2):
        part = waveform[start * size : end * size].copy()
        part[: len(ramp)] *= ramp[: len(part)]
        part[-len(ramp) :] *= ramp[::-1][-len(part) :]
        parts.append(part)
    return np.concatenate(parts)


if __name__ == "__main__":
    sys.exit(main())
