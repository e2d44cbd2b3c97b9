"""MUSDB18 (`*.stem.mp4`) and MUSDB18-HQ (folders of wav files), read by the `musdb` package."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np

from jaxsep.collections.source import (
    PreparationError,
    Song,
    Track,
    TrackError,
    audio_seconds,
    hold_out,
    is_hidden,
)

LICENCE = "MUSDB18: see its own terms, track by track (most for non-commercial use)"
STEMS: tuple[str, ...] = ("drums", "bass", "other", "vocals")


@dataclasses.dataclass(frozen=True)
class Musdb18:
    """A `Source` that reads through the `musdb` package."""

    root: Path
    is_wav: bool
    licence: str
    name: str = "musdb18"

    def tracks(self) -> list[Track]:
        import musdb

        # The list comes with the package; its database would stop at the first damaged file.
        validation = set(musdb.DB(root=os.devnull).setup["validation_tracks"])
        tracks = []
        for subset in ("train", "test"):
            for path in sorted((self.root / subset).glob("*")):
                files = self._files(path)
                if is_hidden(path) or not files:
                    continue
                name = path.name.removesuffix(".stem.mp4")
                split = "validation" if subset == "train" and name in validation else subset
                relative = tuple(str(file.relative_to(self.root)) for file in files)
                tracks.append(Track(name, split, audio_seconds(files[:1]), relative, STEMS))
        if not any(track.split == "validation" for track in tracks):
            tracks = hold_out(tracks)
        return tracks

    def _files(self, path: Path) -> list[Path]:
        if self.is_wav:
            return [f for name in ("mixture", *STEMS) if (f := path / f"{name}.wav").exists()]
        return [path] if path.name.endswith(".stem.mp4") else []

    def load(self, track: Track) -> Song:
        from musdb.audio_classes import MultiTrack

        waveforms: dict[str, np.ndarray] = {}
        rate = 0
        for file in track.files:
            try:
                multitrack = MultiTrack(
                    path=str(self.root / file), name=track.name, is_wav=self.is_wav, stem_id=0
                )
                audio = multitrack.audio[None] if self.is_wav else multitrack.stems
                audio = audio.reshape(*audio.shape[:2], -1)  # a mono file has no channel axis
            except Exception as error:  # musdb and ffmpeg raise whatever they like
                raise TrackError(f"musdb can't read {file} ({error})") from error
            names = (Path(file).stem,) if self.is_wav else ("mixture", *STEMS)
            if len(names) != len(audio):
                raise TrackError(f"has {len(audio)} streams, not the {len(names)} of MUSDB18")
            waveforms |= {n: a.astype(np.float32) for n, a in zip(names, audio, strict=True)}
            rate = int(multitrack.rate or 0)
        if missing := [name for name in ("mixture", *STEMS) if name not in waveforms]:
            raise TrackError(f"has no {missing[0]}.wav")
        mixture = waveforms.pop("mixture")
        return Song(waveforms, None if track.split == "train" else mixture, rate)


def open_root(root: Path, licence: str = LICENCE) -> Musdb18:
    """Opens MUSDB18 or MUSDB18-HQ.

    Raises:
      PreparationError: if it is neither, or what is needed to read it isn't installed.
    """
    if not root.is_dir():
        raise PreparationError(f"{root}: no such folder")
    if shutil.which("ffmpeg") is None:
        raise PreparationError(
            "musdb needs the ffmpeg program, which isn't on the PATH; install it (apt install"
            " ffmpeg, brew install ffmpeg, ...)"
        )
    try:
        import musdb  # noqa: F401
    except ImportError as error:
        raise PreparationError("the musdb package is missing; pip install musdb") from error
    has_mp4, has_wav = (any(root.glob(f"t*/{name}")) for name in ("*.stem.mp4", "*/mixture.wav"))
    if has_mp4 == has_wav:
        what = "both kinds" if has_mp4 else "neither train/*.stem.mp4 nor train/*/mixture.wav"
        raise PreparationError(f"{root}: {what} found; MUSDB18 has the former, -HQ the latter")
    return Musdb18(root, has_wav, licence)
