"""Prepares MUSDB18 (`*.stem.mp4`) or MUSDB18-HQ (folders of wav files).

usage: python -m data_prep.musdb18 --root=DIR --output=OUT

Needs the `musdb` package (`pip install jaxsep[musdb]`) and the ffmpeg program. Validation is
musdb's own 14 tracks where they are there, otherwise 15 % of the training tracks.
"""

import argparse
import dataclasses
import functools
import shutil
import sys
import typing
from pathlib import Path

import numpy as np

from data_prep import command
from data_prep.sources import PreparationError, Song, Track, TrackError, hold_out

STEMS: tuple[str, ...] = ("drums", "bass", "other", "vocals")


@dataclasses.dataclass(frozen=True)
class Musdb18:
    """A `Source` that reads through the `musdb` package."""

    root: Path
    is_wav: bool
    licence: str
    name: str = "musdb18"

    @functools.cached_property
    def _multitracks(self) -> dict[tuple[str, str], typing.Any]:
        import musdb

        database = musdb.DB(root=str(self.root), is_wav=self.is_wav)
        return {(track.subset, track.name): track for track in database.tracks}

    def __getstate__(self) -> dict[str, typing.Any]:
        # Each worker process opens the database itself.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def tracks(self) -> list[Track]:
        import musdb

        validation = musdb.DB(
            root=str(self.root), is_wav=self.is_wav, subsets="train", split="valid"
        )
        validation_names = {track.name for track in validation.tracks}
        tracks = []
        for (subset, name), multitrack in self._multitracks.items():
            split = "validation" if name in validation_names and subset == "train" else subset
            tracks.append(Track(name, split, multitrack.duration or 0.0, self._files(subset, name)))
        return tracks if validation_names else hold_out(tracks)

    def _files(self, subset: str, name: str) -> tuple[str, ...]:
        if not self.is_wav:
            return (f"{subset}/{name}.stem.mp4",)
        folder = self.root / subset / name
        return tuple(f"{subset}/{name}/{path.name}" for path in sorted(folder.glob("*.wav")))

    def load(self, track: Track) -> Song:
        subset = "test" if track.split == "test" else "train"
        multitrack = self._multitracks[subset, track.name]
        missing = [stem for stem in STEMS if stem not in multitrack.sources]
        if missing:
            raise TrackError(f"has no {missing[0]}.wav")
        try:
            mixture, *stems = (stem.astype(np.float32) for stem in multitrack.stems)
        except Exception as error:  # musdb and ffmpeg raise whatever they like
            raise TrackError(f"musdb can't read it: {error}") from error
        by_name = dict(zip(STEMS, stems, strict=True))
        is_training = track.split == "train"
        return Song(by_name, None if is_training else mixture, int(multitrack.rate))


def _make_source(args: argparse.Namespace) -> Musdb18:
    root = args.root
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
    has_mp4 = any(root.glob("train/*.stem.mp4"))
    has_wav = any(root.glob("train/*/mixture.wav"))
    if has_mp4 == has_wav:
        what = "both kinds" if has_mp4 else "neither train/*.stem.mp4 nor train/*/mixture.wav"
        raise PreparationError(f"{root}: {what} found; MUSDB18 has the former, -HQ the latter")
    return Musdb18(root, has_wav, args.licence)


if __name__ == "__main__":
    parser = command.make_parser(__doc__ or "")
    command.add_root(parser)
    parser.add_argument(
        "--licence",
        default="MUSDB18: see its own terms, track by track (most for non-commercial use)",
        help="noted in the manifest",
    )
    sys.exit(command.run(parser, _make_source))
