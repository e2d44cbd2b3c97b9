"""A training that needs no data: songs of the built-in band, and one of them separated."""

from collections.abc import Sequence
from pathlib import Path

from jaxsep.audio.reader import read_audio
from jaxsep.collections import built_in_band
from jaxsep.collections.band import STEMS
from jaxsep.data.records import PAIR, WAVEFORM
from jaxsep.metrics import waveform_sdr
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.prepare import prepare
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import separate_file
from jaxsep.stft_config import StftConfig

BAND_DIR = Path("data")
BAND = built_in_band.BuiltInBand(num_tracks=26, seed=0)


def prepare_band(targets: Sequence[str], representation: str) -> Path:
    """Prepares the band's songs as a recipe needs them, unless they are there.

    Args:
      targets: Stems that the recipe trains.
      representation: One of `jaxsep.data.records.REPRESENTATIONS`.

    Returns:
      The folder of the data set, one for each kind.
    """
    stft, name = StftConfig(), BAND.name
    if representation == WAVEFORM:  # one data set for all recipes
        stems, name = STEMS, f"{name}-waveform"
    elif set(targets) <= set(PAIR):
        stems = PAIR
    else:
        stems, name = tuple(targets), "-".join([name, *targets])
    settings = Settings(stft, stems, stft.frames_in(6.0), 0, seed=0, representation=representation)
    prepare(BAND, BAND_DIR / name, settings, workers=2)
    return BAND_DIR / name


def separate_example(workdir: Path) -> str:
    """Separates a song that was in no split that training saw, and says how well."""
    track = next(track for track in BAND.tracks() if track.split == "test")
    song = built_in_band.write_audio(BAND, track, workdir / "example")
    separated = song / "separated"
    separator = Separator.restore(workdir)
    separate_file(separator, song / "mixture.wav", separated, overwrite=True)
    scores = []
    for stem in separator.stems:
        if (file := song / f"{stem}.wav").exists():
            estimate, reference = (read_audio(f)[0] for f in (separated / f"{stem}.wav", file))
            scores.append(f"{stem} {waveform_sdr(reference, estimate):.2f}")
    against = f"{song}/{'vocals' if len(scores) == 1 else 'NAME'}.wav"
    return f"separated example: {separated} ({', '.join(scores)} dB SDR against {against})"
