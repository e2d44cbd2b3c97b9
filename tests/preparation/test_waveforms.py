import numpy as np
import pytest

from jaxsep.data.tfrecord import RecordSource
from jaxsep.preparation.examples import segment_waveforms
from tests.helpers import RATE, TINY_STFT, Tones, prepare_waveforms, tiny_band, tiny_settings


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


def test_what_is_stored_is_louder_than_60_db_below_full_scale():
    settings = tiny_settings(representation="waveform", segment_frames=10)
    length = 10 * TINY_STFT.hop_length
    levels = np.array([-20.0, -59.9, -60.1, -40.0])
    wave = np.repeat(10 ** (levels / 20), length)[:, None].repeat(2, axis=1)
    waveforms = {"mixture": wave, "vocals": wave, "accompaniment": 0 * wave}
    stored = [
        (start, stem, part[0, 0]) for start, stem, part in segment_waveforms(waveforms, settings)
    ]
    starts = [number * length / RATE for number in (0, 1, 3)]
    assert [(start, stem) for start, stem, _ in stored] == [(start, "vocals") for start in starts]
    assert [value for *_, value in stored] == [3277, 33, 328]
