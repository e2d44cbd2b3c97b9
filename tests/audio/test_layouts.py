"""Every channel keeps its loudspeaker, whichever order a codec stores."""

import av
import numpy as np
import pytest
import soundfile

from jaxsep.audio import layouts
from jaxsep.audio.reader import AudioError, AudioReader
from jaxsep.audio.writer import AudioWriter, choose_format
from tests.helpers import encode, frequencies_of, read_all, tones

# 60 Hz for the low-frequency channel, of which lossy codecs keep no more.
FREQUENCIES = {
    "3.0": (300, 500, 700),
    "2.1": (300, 500, 60),
    "quad": (300, 500, 900, 1100),
    "4.0": (300, 500, 700, 900),
    "5.0": (300, 500, 700, 900, 1100),
    "5.1": (300, 500, 700, 60, 900, 1100),
    "6.1": (300, 500, 700, 60, 900, 1100, 1300),
    "7.1": (300, 500, 700, 60, 900, 1100, 1300, 1500),
}
# What libsndfile, which knows no layouts, finds in an Ogg file: Vorbis's own order.
STORED = {
    "3.0": (300, 700, 500),
    "quad": (300, 500, 900, 1100),
    "5.0": (300, 700, 500, 900, 1100),
    "5.1": (300, 700, 500, 900, 1100, 60),
    "6.1": (300, 700, 500, 1100, 1300, 900, 60),
    "7.1": (300, 700, 500, 1300, 1500, 900, 1100, 60),
}
HELD = {
    "wav": tuple(FREQUENCIES),
    "flac": tuple(FREQUENCIES),
    "ogg": tuple(STORED),
    "m4a": tuple(layout for layout in FREQUENCIES if layout != "6.1"),
}


def write(path, layout, audio_format):
    depth = {"wav": 16, "flac": 24}.get(audio_format)
    wave = tones(FREQUENCIES[layout])
    wave = np.rint(wave * 2.0**15) / 2**15
    form = (44_100, wave.shape[1], depth)
    with AudioWriter(path, *form, audio_format=audio_format, layout=layout) as writer:
        writer.write(wave)


@pytest.mark.parametrize(
    ("audio_format", "layout"), [(name, layout) for name in HELD for layout in HELD[name]]
)
def test_a_layout_survives_writing_and_reading(tmp_path, audio_format, layout):
    path = tmp_path / f"a.{audio_format}"
    write(path, layout, audio_format)
    with AudioReader(path) as reader:
        assert reader.layout == layout
    samples, notes = read_all(path)
    assert frequencies_of(samples[:44_100]) == list(FREQUENCIES[layout]) and not notes


@pytest.mark.parametrize("layout", STORED)
def test_vorbis_is_stored_in_its_own_order(tmp_path, layout):
    write(tmp_path / "a.ogg", layout, "ogg")
    stored, rate = soundfile.read(tmp_path / "a.ogg")
    assert frequencies_of(stored, rate) == list(STORED[layout])


@pytest.mark.parametrize("layout", STORED)
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_vorbis_and_opus_are_read_in_wav_order(tmp_path, layout, subtype):
    path = tmp_path / "a.ogg"
    soundfile.write(path, tones(STORED[layout], rate=48_000), 48_000, subtype, format="OGG")
    with AudioReader(path) as reader:
        assert reader.layout == layout
    samples, _ = read_all(path)
    assert len(samples) == 48_000
    assert frequencies_of(samples, 48_000) == list(FREQUENCIES[layout])


@pytest.mark.parametrize("layout", ["5.1", "5.1(side)", "7.1", "2.1"])
def test_another_program_finds_the_channel_mask_of_a_wav_file(tmp_path, layout):
    wave = tones([300] * av.AudioLayout(layout).nb_channels)
    with AudioWriter(tmp_path / "a.wav", 44_100, wave.shape[1], None, layout=layout) as writer:
        writer.write(wave)
    header = (tmp_path / "a.wav").read_bytes()
    mask = int.from_bytes(header[header.index(b"fmt ") + 28 :][:4], "little")
    masks = {"5.1": 0x3F, "5.1(side)": 0x60F, "7.1": 0x63F, "2.1": 0xB}
    assert mask == masks[layout]


def test_wav_without_a_mask_stays_without_one_and_is_read_as_usual_surround_elsewhere(tmp_path):
    soundfile.write(tmp_path / "six.wav", tones(FREQUENCIES["5.1"]), 44_100)
    with AudioReader(tmp_path / "six.wav") as song:
        assert song.layout == "6 channels"
        assert choose_format(song, "ogg", None) == ("ogg", None)
    assert layouts.stored_as("6 channels", "wav") == "6 channels"
    assert [layouts.stored_as("6 channels", name) for name in ("ogg", "flac", "m4a")] == ["5.1"] * 3
    assert layouts.stored_as("5.1(side)", "ogg") == "5.1"


@pytest.mark.parametrize(
    ("layout", "audio_format"),
    [("2.1", "ogg"), ("3.1", "m4a"), ("5.1", "mp3"), ("6.1", "m4a"), ("7.1(wide)", "ogg")],
)
def test_a_layout_that_a_format_cannot_hold_is_refused(tmp_path, layout, audio_format):
    wave = tones([300] * av.AudioLayout(layout).nb_channels)
    encode(tmp_path / "a.wav", wave, codec="pcm_f32le", layout=layout)
    with AudioReader(tmp_path / "a.wav") as song, pytest.raises(AudioError, match="--format=wav"):
        choose_format(song, audio_format, None)


def test_more_channels_than_layouts_have_names_for(tmp_path):
    soundfile.write(tmp_path / "a.wav", tones([300] * 20), 44_100)
    samples, _ = read_all(tmp_path / "a.wav")
    assert samples.shape == (44_100, 20)


def test_planar_frames_of_eight_channels_are_read(tmp_path):
    encode(tmp_path / "a.m4a", tones(FREQUENCIES["7.1"]), codec="aac", layout="7.1")
    samples, _ = read_all(tmp_path / "a.m4a")
    assert frequencies_of(samples[:44_100]) == list(FREQUENCIES["7.1"])
