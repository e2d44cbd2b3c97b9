"""Prepares MIR-1K: clips of `DIR/{train,dev,test}/*.{wav,flac}`, or of DIR itself.

usage: python -m data_prep.mir1k --root=DIR --output=OUT

A clip has the accompaniment in its left and the voice in its right channel; the mixture is their
sum, mono, not clipped. `dev` is the validation split. Without these folders all of DIR trains.

Reference: Hsu and Jang, On the improvement of singing voice separation for monaural recordings
using the MIR-1K dataset, 2010.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from data_prep import command
from data_prep.sources import PreparationError, Song, Track, TrackError, audio_seconds, is_hidden
from jaxsep.audio_reader import AudioError, read_audio
from jaxsep.stft_config import StftConfig

# Twice the 64 ms that the literature uses: a bit better on a singer never heard, and cheaper.
STFT = StftConfig(sample_rate=16000, channels=1, n_fft=2048, hop_length=512)
FOLDERS = {"train": "train", "dev": "validation", "test": "test"}
EXTENSIONS = (".wav", ".flac")


@dataclasses.dataclass(frozen=True)
class Mir1k:
    """A `Source` of two-channel clips."""

    root: Path
    name: str = "mir1k"
    licence: str = "MIR-1K: its authors state none; research use"

    def tracks(self) -> list[Track]:
        if not self.root.is_dir():
            raise PreparationError(f"{self.root}: no such folder")
        splits = {
            folder: split for folder, split in FOLDERS.items() if (self.root / folder).is_dir()
        }
        tracks = [
            Track(path.stem, split, audio_seconds([path]), (str(path.relative_to(self.root)),))
            for folder, split in (splits or {".": "train"}).items()
            for path in sorted((self.root / folder).iterdir())
            if path.suffix.lower() in EXTENSIONS and not is_hidden(path)
        ]
        if not tracks:
            raise PreparationError(f"{self.root}: no clips (*.wav, *.flac) in it or its train/")
        return tracks

    def load(self, track: Track) -> Song:
        try:
            clip, sample_rate = read_audio(self.root / track.files[0])
        except AudioError as error:
            raise TrackError(str(error)) from error
        if clip.shape[1] != 2:
            raise TrackError(f"has {clip.shape[1]} channels; a MIR-1K clip has 2")
        stems = {"accompaniment": clip[:, :1], "vocals": clip[:, 1:]}
        return Song(stems, None, sample_rate)


def _make_source(args: argparse.Namespace) -> Mir1k:
    return Mir1k(args.root)


if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "", STFT)
    command.add_root(parser)
    sys.exit(command.run(parser, _make_source))
