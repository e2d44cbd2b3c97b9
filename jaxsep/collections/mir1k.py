"""MIR-1K: clips with the accompaniment in the left and the voice in the right channel.

The mixture is their sum, mono, not clipped.

Reference: Hsu and Jang, On the improvement of singing voice separation for monaural recordings
using the MIR-1K dataset, 2010.
"""

import dataclasses
from pathlib import Path

from jaxsep.audio.reader import AudioError, read_audio
from jaxsep.collections.source import (
    PreparationError,
    Song,
    Track,
    TrackError,
    audio_seconds,
    is_hidden,
)
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
            Track(
                path.stem,
                split,
                audio_seconds([path]),
                (str(path.relative_to(self.root)),),
                ("vocals", "accompaniment"),
            )
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
