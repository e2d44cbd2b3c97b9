"""Songs laid out as `train|validation|test/<track>/<stem>.wav`, or in another format of audio."""

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
OTHER_NAMES = {"instrumental": "accompaniment", "no_vocals": "accompaniment"}
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".m4a", ".opus", ".w64", ".wma")


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
        unused = {"mixture"} if split == "train" else set()
        files = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in EXTENSIONS
            and not is_hidden(path)
            and _stem_of(path) not in unused
        ]
        if not any(_stem_of(path) in ("mixture", *STEMS) for path in files):
            files = []  # other sound than stems
        names = tuple(str(path.relative_to(self.root)) for path in files)
        return Track(folder.name, split, audio_seconds(files), names)

    def load(self, track: Track) -> Song:
        waveforms, rates = {}, {}
        for file in track.files:
            stem = _stem_of(Path(file))
            if stem not in ("mixture", *STEMS):
                raise TrackError(
                    f"has {Path(file).name}, which is no stem ({', '.join(STEMS)}); mix it into"
                    " other, or take it out"
                )
            if stem in waveforms:
                raise TrackError(f"has two files for the stem {stem!r}")
            if not (self.root / file).is_file():
                raise TrackError(f"has {Path(file).name}, which is no ordinary file; take it out")
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


def _stem_of(path: Path) -> str:
    """Names the stem that a file holds, whatever the case of its name."""
    name = path.stem.lower()
    return OTHER_NAMES.get(name, name)
