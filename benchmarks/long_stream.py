"""Whether a stream stays what it is over many minutes.

    python -m benchmarks.long_stream --song=SONG [--model=MODEL] [--vocals=FILE] [--minutes=12]

Streams SONG over and over, 20 ms at a time, and prints for each repetition: the largest cell
state of the LSTM (looked at once a second); how far the vocals are from those of the whole file, of
full scale; what has changed since the second repetition, in dB of the vocals' energy (the first
begins from silence); and with the true vocals (`--vocals`) the SDR.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import jaxsep
from benchmarks.table import Table
from jaxsep.audio.reader import read_audio
from jaxsep.metrics import waveform_sdr
from jaxsep.models.load import OWN


def main() -> int:
    parser = argparse.ArgumentParser(description="What changes in a stream of many minutes.")
    parser.add_argument("--model", default=OWN)
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--vocals", type=Path)
    parser.add_argument("--minutes", type=float, default=12.0)
    args = parser.parse_args()
    separator = jaxsep.Separator.restore(args.model)
    song, rate = read_audio(args.song)
    vocals = read_audio(args.vocals)[0] if args.vocals else None
    if len(song) < rate:
        parser.error(f"{args.song}: shorter than a second; give a longer song")
    if vocals is not None and vocals.shape != song.shape:
        parser.error(f"{args.vocals}: of another length or channels than {args.song}")
    # Whole hops, so that the frames of all repetitions are the same.
    song = song[: len(song) // separator.stft.hop_length * separator.stft.hop_length]
    truth = None if vocals is None else vocals[: len(song)]
    repetitions = max(3, round(args.minutes * 60 * rate / len(song)))
    sound = np.tile(song, (repetitions, 1))
    whole = separator(sound, rate)["vocals"]
    streamed, cells = stream(separator, sound, rate)

    parts = [np.split(wave, repetitions) for wave in (streamed, whole)]
    seconds = len(song) / rate
    columns = ("minutes", "largest cell", "from the file", "changed, dB", "SDR, dB")
    with Table(*columns, about=f"{args.song.name}, {rate} Hz") as table:
        for number, (ours, files) in enumerate(zip(*parts, strict=True)):
            cell = max(cells[round(number * seconds) : round((number + 1) * seconds)])
            drift = float(np.abs(ours - files).max())
            changed = -waveform_sdr(parts[0][1], ours) if number > 1 else ""
            score = "" if truth is None else waveform_sdr(truth, ours)
            table.row((number + 1) * seconds / 60, cell, drift, changed, score)
    return 0


def stream(
    separator: jaxsep.Separator, sound: np.ndarray, rate: int
) -> tuple[np.ndarray, list[float]]:
    """Returns the vocals of a stream, and the largest cell state at the end of each second."""
    streamer = jaxsep.Streamer(separator, rate, sound.shape[1])
    vocals, cells = [], []
    for start in range(0, len(sound), rate):
        for piece in np.array_split(sound[start : start + rate], 50):
            vocals.append(streamer.push(piece)["vocals"])
        cells.append(largest_cell(streamer.state()))
    return np.concatenate([*vocals, streamer.finish()["vocals"]]), cells


def largest_cell(state: dict[str, np.ndarray]) -> float:
    """Returns the largest magnitude of an LSTM's cell states; 0 for a model without them."""
    cells = [array for name, array in state.items() if "/lstm/" in name and name.endswith("/1")]
    return max((float(np.abs(array).max()) for array in cells), default=0.0)


if __name__ == "__main__":
    sys.exit(main())
