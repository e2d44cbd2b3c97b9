"""Parts songs that have no stems: a separator says what is vocals in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsep.collections.source import Song
from jaxsep.separation.separator import Separator
from recipes.sources import RATE, read, to_stereo


def label(separator: Separator, files: Sequence[Path]) -> Song:
    """Parts a song into vocals and accompaniment.

    Tracks stay whole: those of which the separator takes more than half for vocals, by energy, are
    vocals. A song in one file is parted by the separator itself.

    Args:
      separator: judges.
      files: the song, or its tracks.

    Raises:
      jaxsep.audio.reader.AudioError: if a file can't be read.
    """
    tracks = [to_stereo(read(path)) for path in files]
    parted = [separator(track, RATE) for track in tracks]
    if len(tracks) == 1:
        return Song(parted[0], None, RATE)
    stems = {name: np.zeros((max(map(len, tracks)), 2), np.float32) for name in parted[0]}
    for track, parts in zip(tracks, parted, strict=True):
        is_vocals = np.sum(parts["vocals"] ** 2) > 0.5 * np.sum(track**2)
        stems["vocals" if is_vocals else "accompaniment"][: len(track)] += track
    return Song(stems, None, RATE)
