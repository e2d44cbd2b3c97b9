"""Songs laid out as `train|validation|test/<track>/<stem>.wav`, or in another format of audio."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

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
from jaxsep.stems import ACCOMPANIMENT, MIXTURE, is_reserved

# A folder with one of these is a song, whatever else is in it.
USUAL = (MIXTURE, "vocals", ACCOMPANIMENT, "drums", "bass", "other")
OTHER_NAMES = {"instrumental": ACCOMPANIMENT, "no_vocals": ACCOMPANIMENT}
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".m4a", ".opus", ".w64", ".wma")
# Correlation of a file with the sum of the others from which on it can only be the mixture.
SAME_SOUND = 0.98


@dataclasses.dataclass(frozen=True)
class StemsFolder:
    """A `Source` of stems as files, which sum to the song.

    Attributes:
      root: Path of the folder.
      name: The data set's name.
      licence: What the manifest says about rights.
      split: Split of songs that lie in the root itself.
    """

    root: Path
    name: str
    licence: str
    split: str = "test"

    def tracks(self) -> list[Track]:
        if not self.root.is_dir():
            raise PreparationError(f"{self.root}: no such folder")
        folders = {split: self.root / split for split in SPLITS if (self.root / split).is_dir()}
        tracks = [
            self._describe(folder, split)
            for split, parent in (folders or {self.split: self.root}).items()
            for folder in sorted(parent.glob("*/"))
            if not is_hidden(folder)
        ]
        tracks = _without_other_sound(tracks)
        if not folders:  # then other folders, say with results, may be among them
            tracks = [track for track in tracks if track.files]
        if not any(track.files for track in tracks):
            raise PreparationError(
                f"{self.root}: expected train/<track>/vocals.wav and so on (validation/ and test/"
                f" likewise; any names of stems; {', '.join(EXTENSIONS)})"
            )
        if not any(track.split == "validation" for track in tracks):
            tracks = hold_out(tracks)
        return tracks

    def _describe(self, folder: Path, split: str) -> Track:
        # In training the mixture is the sum of the stems, whatever was released.
        unused = {MIXTURE} if split == "train" else set()
        files = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in EXTENSIONS
            and not is_hidden(path)
            and _stem_of(path) not in unused
        ]
        names = tuple(str(path.relative_to(self.root)) for path in files)
        stems = dict.fromkeys(stem for path in files if (stem := _stem_of(path)) != MIXTURE)
        return Track(folder.name, split, audio_seconds(files), names, tuple(stems))

    def load(self, track: Track) -> Song:
        paths: dict[str, Path] = {}
        for file in track.files:
            path = self.root / file
            if (stem := _stem_of(path)) in paths:
                raise TrackError(f"has two files for the stem {stem!r}")
            paths[stem] = path
        _check_names(paths)
        waveforms, rates = {}, {}
        for stem, path in paths.items():
            if not path.is_file():
                raise TrackError(f"has {path.name}, which is no ordinary file; take it out")
            try:
                waveforms[stem], rates[stem] = read_audio(path)
            except AudioError as error:
                raise TrackError(str(error)) from error
        if len(set(rates.values())) > 1:
            raise TrackError(f"stems differ in sample rate: {rates}")
        mixture = waveforms.pop(MIXTURE, None)
        if not waveforms:
            raise TrackError("has no stems, files such as vocals.wav or those of the other songs")
        if stem := _find_mixture(waveforms):
            raise TrackError(
                f"has {paths[stem].name}, which sounds like all the others together; call it"
                f" {MIXTURE}{paths[stem].suffix}, or take it out"
            )
        return Song(waveforms, mixture, next(iter(rates.values())))


def _stem_of(path: Path) -> str:
    """Names the stem that a file holds, whatever the case of its name."""
    name = path.stem.lower()
    return OTHER_NAMES.get(name, name)


def _without_other_sound(tracks: list[Track]) -> list[Track]:
    """Empties the tracks whose files are other sound than stems.

    Stems have a name of `USUAL`, or one that another song's stem has as well.
    """
    counts = Counter(stem for track in tracks for stem in track.stems)
    is_single = sum(bool(track.files) for track in tracks) == 1

    def is_song(track: Track) -> bool:
        names = map(_stem_of, map(Path, track.files))
        return is_single or any(name in USUAL or counts[name] > 1 for name in names)

    return [
        track if is_song(track) else dataclasses.replace(track, seconds=0.0, files=(), stems=())
        for track in tracks
    ]


def _check_names(paths: Mapping[str, Path]) -> None:
    """Raises TrackError if a file has a name that means something else than a stem."""
    for stem, path in paths.items():
        if is_reserved(stem) and stem != MIXTURE:
            raise TrackError(
                f"has {path.name}, a name for what separated stems leave of a song; give it another"
            )
        if stem not in USUAL and ACCOMPANIMENT in paths:
            raise TrackError(
                f"has {path.name} beside {paths[ACCOMPANIMENT].name}, which is the song without the"
                " vocals; give that another name, or take one of them out"
            )


def _find_mixture(waveforms: Mapping[str, np.ndarray]) -> str | None:
    """Finds a stem of an unusual name that is the sum of the others, if these are two or more."""
    if len(waveforms) < 3 or len({wave.shape for wave in waveforms.values()}) > 1:
        return None
    total = np.sum(list(waveforms.values()), axis=0)
    for stem, own in waveforms.items():
        if stem not in USUAL:
            others = total - own
            scale = np.linalg.norm(own) * np.linalg.norm(others)
            if np.vdot(own, others) > SAME_SOUND * scale:
                return stem
    return None
