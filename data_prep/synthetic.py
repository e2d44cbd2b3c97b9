"""Prepares songs of the built-in band, so that everything can be tried with no download.

usage: python -m data_prep.synthetic --output=OUT --num_tracks=N --seed=S [--audio=DIR]

With `--audio` the songs are written as well, as 16-bit wav files in the layout that
`data_prep.stems_folder` reads, with the mixture beside the stems.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep import command
from data_prep.band import render_song
from data_prep.sources import VALIDATION_SHARE, PreparationError, Song, Track
from jaxsep.audio_writer import AudioWriter


@dataclasses.dataclass(frozen=True)
class BuiltInBand:
    """A `Source` of rendered songs; some each are held out for test and validation."""

    num_tracks: int
    seed: int
    duration: float = 30.0
    sample_rate: int = 44100
    name: str = "built_in_band"
    licence: str = "made by jaxsep; free of rights"
    root: Path | None = None

    def tracks(self) -> list[Track]:
        held_out = max(1, round(VALIDATION_SHARE * self.num_tracks)) if self.num_tracks > 2 else 0
        splits = ["test"] * held_out + ["validation"] * held_out
        splits += ["train"] * (self.num_tracks - len(splits))
        return [
            Track(f"song-{self.seed}-{number:04d}", split, self.duration)
            for number, split in enumerate(splits)
        ]

    def load(self, track: Track) -> Song:
        number = int(track.name.rsplit("-", 1)[1])
        song_seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        stems = render_song(song_seed, duration=self.duration, sample_rate=self.sample_rate)
        return Song(stems, None, self.sample_rate)


def write_audio(source: BuiltInBand, track: Track, folder: Path) -> Path:
    """Writes a track's mixture and stems as 16-bit wav files and returns their folder."""
    song = source.load(track)
    target = folder / track.split / track.name
    target.mkdir(parents=True, exist_ok=True)
    mixture = np.zeros_like(song.stems["vocals"], np.float64)
    grid = {}
    for name, stem in song.stems.items():
        grid[name] = np.round(stem.astype(np.float64) * 2**15) / 2**15
        mixture += grid[name]
    for name, waveform in {"mixture": mixture, **grid}.items():
        with AudioWriter(target / f"{name}.wav", song.sample_rate, 2, 16) as writer:
            writer.write(waveform)
    return target


def _make_source(args: argparse.Namespace) -> BuiltInBand:
    if args.num_tracks < 1 or not args.duration >= 1:
        raise PreparationError("--num_tracks must be at least 1, --duration at least 1 second")
    source = BuiltInBand(args.num_tracks, args.seed, args.duration)
    if args.audio:
        for track in tqdm(source.tracks(), desc="writing audio"):
            write_audio(source, track, args.audio)
    return source


if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "")
    parser.add_argument("--num_tracks", type=int, default=20, help="songs in all splits together")
    parser.add_argument("--duration", type=float, default=30.0, help="of a song, in seconds")
    parser.add_argument("--audio", type=Path, help="folder for the songs as audio")
    sys.exit(command.run(parser, _make_source))
