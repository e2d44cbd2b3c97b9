"""What is read of files with several tracks, late sound, gaps, and several files in one."""

import numpy as np
import pytest
import soundfile

from jaxsep.audio import ogg
from jaxsep.audio.reader import AudioError, AudioReader
from tests.helpers import encode, frequencies_of, read_all, tones

RATE = 44_100


def onset(samples: np.ndarray) -> float:
    return float((np.abs(samples) > 0.02).any(axis=1).argmax() / RATE)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_the_default_track_is_read_unless_another_is_asked_for(tmp_path, name):
    low, high = tones([300, 300]), tones([1000, 1000])
    blocks = [[(0.0, wave)] for wave in (low, high)]
    encode(tmp_path / name, (0, blocks[0]), (1, blocks[1]), codec="aac")
    for number, frequency in ((None, 1000), (0, 300), (1, 1000)):
        samples, _ = read_all(tmp_path / name, audio_stream=number)
        assert frequencies_of(samples[5_000:40_000]) == [frequency] * 2
    for number in (2, -1):
        with pytest.raises(AudioError, match=f"no audio stream {number}; it has 2"):
            AudioReader(tmp_path / name, audio_stream=number)


def test_a_file_of_one_track_has_no_second_one(tmp_path):
    for name in ("a.wav", "a.ogg"):
        soundfile.write(tmp_path / name, tones([300]), RATE)
        assert len(read_all(tmp_path / name, audio_stream=0)[0]) == RATE
        with pytest.raises(AudioError, match="no audio stream 1"):
            AudioReader(tmp_path / name, audio_stream=1)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.nut"])
def test_sound_that_begins_late_has_silence_before_it(tmp_path, name):
    wave = tones([300, 300])
    encode(tmp_path / name, (0, [(0.0, wave)]), (1, [(1.5, wave)]), codec="pcm_s16le")
    samples, notes = read_all(tmp_path / name)
    assert onset(samples) == pytest.approx(1.5, abs=0.005) and not notes
    assert len(samples) == pytest.approx(2.5 * RATE, abs=100)


@pytest.mark.parametrize("name", ["a.mkv", "a.nut"])
def test_a_gap_becomes_silence_and_is_noted(tmp_path, name):
    wave = tones([300, 300])
    encode(tmp_path / name, (1, [(0.0, wave), (3.0, wave)]), codec="pcm_s16le")
    samples, [note] = read_all(tmp_path / name)
    assert len(samples) == pytest.approx(4 * RATE, abs=100)
    assert not samples[RATE + 1_000 : 3 * RATE - 1_000].any()
    assert "at 1.0" in note and "silence" in note


def test_broken_time_stamps_make_no_endless_silence(tmp_path):
    wave = tones([300, 300])
    encode(tmp_path / "a.mkv", (1, [(0.0, wave), (50_000.0, wave)]), codec="pcm_s16le")
    samples, notes = read_all(tmp_path / "a.mkv")
    assert len(samples) == 2 * RATE and len(notes) == 1


def chain(path, *parts, subtype="VORBIS"):
    data = b""
    for number, (wave, rate) in enumerate(parts):
        part = path.with_name(f"{number}.ogg")
        soundfile.write(part, wave, rate, subtype, format="OGG")
        data += part.read_bytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_all_links_of_a_chained_file_are_read_exactly(tmp_path, subtype):
    low, high = tones([300, 500], 1.5, 48_000), tones([700, 900], 2.5, 48_000)
    path = chain(tmp_path / "a.ogg", (low, 48_000), (high, 48_000), subtype=subtype)
    with AudioReader(path) as reader:
        assert reader.num_samples == 4 * 48_000
    samples, notes = read_all(path)
    assert len(samples) == 4 * 48_000 and not notes
    assert frequencies_of(samples[: len(low)], 48_000) == [300, 500]
    assert frequencies_of(samples[len(low) :], 48_000) == [700, 900]


def test_links_of_other_rates_and_channels_are_converted(tmp_path):
    first, second = tones([300, 500], 1.5), tones([700], 2.0, 22_050)
    path = chain(tmp_path / "a.ogg", (first, RATE), (second, 22_050), (first, RATE))
    samples, [note] = read_all(path)
    assert len(samples) == pytest.approx(5 * RATE, abs=2)
    assert frequencies_of(samples[int(1.6 * RATE) : int(3.4 * RATE)]) == [700, 700]
    assert frequencies_of(samples[int(3.6 * RATE) :]) == [300, 500]
    assert "changes part-way to 22050 Hz mono" in note


def test_a_damaged_link_costs_the_others_nothing(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, (2 * RATE, 2))
    path = chain(tmp_path / "a.ogg", (wave, RATE), (wave, RATE), (wave, RATE))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3_000] = bytes(3_000)
    path.write_bytes(data)
    samples, [note] = read_all(path)
    assert len(samples) == pytest.approx(6 * RATE, abs=RATE // 20)
    assert "damaged or without sound at 2." in note or "at 3." in note
    sound, _ = soundfile.read(tmp_path / "0.ogg")
    np.testing.assert_allclose(samples[: 2 * RATE], sound, atol=1e-6)
    np.testing.assert_allclose(samples[-RATE:], sound[-RATE:], atol=1e-6)


@pytest.mark.parametrize("kind", ["flipped", "zeros", "missing"])
def test_of_many_short_links_the_damaged_one_alone_is_found(tmp_path, kind):
    path = chain(tmp_path / "a.ogg", *[(tones([300], 0.1), RATE)] * 5)
    size = (tmp_path / "0.ogg").stat().st_size
    data = bytearray(path.read_bytes())
    middle = slice(2 * size + size // 2, 2 * size + size // 2 + 40)
    if kind == "missing":
        del data[middle]
    else:
        data[middle] = bytes(40) if kind == "zeros" else bytes(b ^ 1 for b in data[middle])
    path.write_bytes(data)
    with open(path, "rb") as file:
        found = ogg.links(file)
        assert [link.is_damaged for link in found] == [number == 2 for number in range(5)]
        assert [link.is_music for link in found] == [number != 2 for number in range(5)]
        intact = [number for number in range(5) if number != 2]
        assert all(found[n].read() == (tmp_path / f"{n}.ogg").read_bytes() for n in intact)
