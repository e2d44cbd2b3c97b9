"""The built-in band as a collection, so that everything can be tried with no download."""

import dataclasses
from pathlib import Path

import numpy as np

from jaxsep.audio.writer import AudioWriter
from jaxsep.collections.band import STEMS, render_song
from jaxsep.collections.source import VALIDATION_SHARE, Song, Track


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
            Track(f"song-{self.seed}-{number:04d}", split, self.duration, stems=STEMS)
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
