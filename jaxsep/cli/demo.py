"""A training that needs no data: songs of the built-in band, and one of them separated."""

from pathlib import Path

from jaxsep.audio.reader import read_audio
from jaxsep.collections import built_in_band
from jaxsep.metrics import waveform_sdr
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.prepare import prepare
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import separate_file
from jaxsep.stft_config import StftConfig

BAND_DIR = Path("data/built_in_band")
BAND = built_in_band.BuiltInBand(num_tracks=26, seed=0)


def prepare_band() -> None:
    """Prepares the band's songs in `BAND_DIR`, unless they are there."""
    stft = StftConfig()
    settings = Settings(stft, ("vocals", "accompaniment"), stft.frames_in(6.0), remixes=0, seed=0)
    prepare(BAND, BAND_DIR, settings, workers=2)


def separate_example(workdir: Path) -> str:
    """Separates a song that was in no split that training saw, and says how well."""
    track = next(track for track in BAND.tracks() if track.split == "test")
    song = built_in_band.write_audio(BAND, track, workdir / "example")
    separated = song / "separated"
    separator = Separator.restore(workdir)
    separate_file(separator, song / "mixture.wav", separated, overwrite=True)
    estimate, reference = (read_audio(d / "vocals.wav")[0] for d in (separated, song))
    score = waveform_sdr(reference, estimate)
    return f"separated example: {separated} (vocals {score:.2f} dB SDR against {song}/vocals.wav)"
