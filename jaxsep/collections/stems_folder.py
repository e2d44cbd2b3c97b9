"""Songs laid out as `train|validation|test/<track>/<stem>.{wav,flac,ogg,mp3}`."""

import dataclasses
from pathlib import Path

from jaxsep.audio.reader import AudioError, read_audio
from jaxsep.collections.source import (
    SPLITS,
    PreparationError,
    Song,
    Track,
    TrackError,
    audio_seconds,
    hold_out,
    is_hidden,
)

STEMS = ("vocals", "accompaniment", "drums", "bass", "other")
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")


@dataclasses.dataclass(frozen=True)
class StemsFolder:
    """A `Source` of stems as files."""

    root: Path
    name: str
    licence: str

    def tracks(self) -> list[Track]:
        if not self.root.is_dir():
            raise PreparationError(f"{self.root}: no such folder")
        folders = {split: self.root / split for split in SPLITS if (self.root / split).is_dir()}
        tracks = [
            self._describe(folder, split)
            for split, parent in (folders or {"test": self.root}).items()
            for folder in sorted(parent.glob("*/"))
            if not is_hidden(folder)
        ]
        if not folders:  # then other folders, say with results, may be among them
            tracks = [track for track in tracks if track.files]
        if not any(track.files for track in tracks):
            raise PreparationError(
                f"{self.root}: expected train/<track>/vocals.wav and so on (validation/ and test/"
                f" likewise; {', '.join(EXTENSIONS)})"
            )
        if not any(track.split == "validation" for track in tracks):
            tracks = hold_out(tracks)
        return tracks

    def _describe(self, folder: Path, split: str) -> Track:
        # In training the mixture is the sum of the stems, whatever was released.
        wanted = STEMS if split == "train" else ("mixture", *STEMS)
        files = [
            path
            for path in sorted(folder.iterdir())
            if path.stem in wanted and path.suffix.lower() in EXTENSIONS
        ]
        names = tuple(str(path.relative_to(self.root)) for path in files)
        return Track(folder.name, split, audio_seconds(files), names)

    def load(self, track: Track) -> Song:
        waveforms, rates = {}, {}
        for file in track.files:
            stem = Path(file).stem
            if stem in waveforms:
                raise TrackError(f"has two files for the stem {stem!r}")
            try:
                waveforms[stem], rates[stem] = read_audio(self.root / file)
            except AudioError as error:
                raise TrackError(str(error)) from error
        if len(set(rates.values())) > 1:
            raise TrackError(f"stems differ in sample rate: {rates}")
        mixture = waveforms.pop("mixture", None)
        if not waveforms:
            raise TrackError(f"has no stems ({', '.join(STEMS)})")
        return Song(waveforms, mixture, next(iter(rates.values())))
