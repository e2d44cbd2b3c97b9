"""Two songs of the built-in band, for those who have none at hand."""

from pathlib import Path

import numpy as np

from jaxsep.audio.writer import AudioWriter
from jaxsep.collections.band import render_song

# By name, the seed of a song.
EXAMPLES = {"Band, a slow song": 39, "Band, a fast song": 11}
SECONDS, SAMPLE_RATE = 20.0, 44100


def play_example(name: str, path: Path) -> None:
    """Writes one of `EXAMPLES`, 16 bits."""
    stems = render_song(EXAMPLES[name], duration=SECONDS, sample_rate=SAMPLE_RATE)
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float64)
    with AudioWriter(path, SAMPLE_RATE, 2, 16) as writer:
        writer.write(np.round(mixture * 2**15) / 2**15)
