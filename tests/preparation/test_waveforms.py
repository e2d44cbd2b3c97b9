import numpy as np
import pytest

from jaxsep.data.tfrecord import RecordSource
from tests.helpers import RATE, Tones, prepare_waveforms, tiny_band


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    return prepare_waveforms(tiny_band(), tmp_path_factory.mktemp("band") / "data")


def test_the_stems_are_stored_as_they_are(band):
    source, records = tiny_band(), RecordSource(band.shards("train"))
    for track in [track for track in source.tracks() if track.split == "train"]:
        stored = np.zeros((5 * RATE, 2))
        for number, place in enumerate(band.stem_records("train")):
            if (place.track, place.stem) == (track.name, "vocals"):
                example = band.codec.decode(records[number])
                first = round(place.start * RATE)
                stored[first : first + len(example["waveform"])] = example["waveform"] / 2**15
        np.testing.assert_allclose(stored, source.load(track).stems["vocals"], atol=1e-3)


def test_silent_segments_are_not_stored(tmp_path):
    tones = prepare_waveforms(Tones(), tmp_path / "data")
    starts = {place.start for place in tones.stem_records("train")}
    assert starts == {0.0, 1.0, 3.0}


def test_what_exceeds_full_scale_is_scaled_down_as_a_whole(tmp_path):
    dataset = prepare_waveforms(Tones(amplitude=5.0), tmp_path / "data")
    wave = dataset.codec.decode(RecordSource(dataset.shards("train"))[0])["waveform"]
    assert np.abs(wave).max() == 2**15 - 1
    spectrum = np.abs(np.fft.rfft(wave[:, 0]))
    assert np.sort(spectrum)[-2] < 0.01 * spectrum.max()  # no overtones: nothing was clipped
