"""Damaged files: what is there is read at its place, and what isn't is noted, by time."""

import io
import struct

import numpy as np
import pytest
import soundfile

from jaxsep.audio.reader import AudioError, AudioReader, read_audio
from tests.helpers import read_all, tones

RATE = 44_100


def noise(seconds: float = 4.0) -> np.ndarray:
    samples = np.random.default_rng(0).integers(-8_000, 8_000, (int(seconds * RATE), 2))
    return samples / 2.0**15


def file_bytes(wave: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, **options)
    return file.getvalue()


def wav_claiming(size: int | None, container: str = "WAV") -> bytes:
    """Returns a WAV file of 2 seconds whose header claims another size of its data, in bytes."""
    data = bytearray(file_bytes(noise(2), format=container, subtype="PCM_16"))
    if size is not None and container == "RF64":
        start = data.index(b"ds64")
        data[start + 16 : start + 24] = struct.pack("<Q", size)
    elif size is not None:
        start = data.index(b"data")
        data[start + 4 : start + 8] = struct.pack("<I", size)
    return bytes(data)


@pytest.mark.parametrize("container", ["WAV", "RF64"])
@pytest.mark.parametrize("size", [0, 2**32 - 1, 100_000, 352_796, 2**31])
def test_all_sound_of_a_wav_file_with_a_wrong_length_is_read(tmp_path, size, container):
    path = tmp_path / "crash.wav"
    path.write_bytes(wav_claiming(size, container))
    samples, notes = read_all(path)
    if size == 352_796:  # short of a sample or two: nothing to speak of
        assert len(samples) >= 2 * RATE - 1
    else:
        np.testing.assert_array_equal(samples, noise(2))
    if size == 100_000:
        assert notes == ["its header claims 0.57 s; all 2.00 s were read"]


@pytest.mark.parametrize(
    "tail",
    [
        b"LIST" + struct.pack("<I", 9_000) + bytes(9_000),
        b"LIST" + struct.pack("<I", 9_000) + bytes(5_000),
        b"TAG" + b" " * 125,
        b"ID3\3\0\0\0\0\x46\x28" + b"x" * 9_000,
        bytes(20_000),
        b"abcd" + struct.pack("<I", 9_000) + b"x" * 9_000,
        b"LIST"
        + struct.pack("<I", 5)
        + b"odd\0\0\0"
        + b"abcd"
        + struct.pack("<I", 9_000)
        + bytes(9_000),
    ],
)
def test_what_programs_put_behind_the_sound_is_no_sound(tmp_path, tail):
    path = tmp_path / "tagged.wav"
    path.write_bytes(wav_claiming(None) + tail)
    samples, notes = read_all(path)
    np.testing.assert_array_equal(samples, noise(2))
    assert not notes


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.mp3", "a.au"])
def test_a_file_that_was_cut_off_is_read_up_to_there_and_noted(tmp_path, name):
    soundfile.write(tmp_path / name, noise(), RATE)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    samples, [note] = read_all(tmp_path / name)
    assert len(samples) == pytest.approx(2 * RATE, rel=0.05)
    assert note.startswith("cut off: ends at ") and note.endswith(" s of 4.00 s")
    with pytest.raises(AudioError, match="cut off"):
        read_audio(tmp_path / name)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("links", [1, 2])
def test_an_ogg_file_that_was_cut_off_is_noted(tmp_path, subtype, links):
    rate = 48_000
    file = io.BytesIO()
    soundfile.write(file, noise(), rate, subtype, format="OGG")
    content = file.getvalue()
    path = tmp_path / "a.ogg"
    path.write_bytes(content * links)
    assert not read_all(path)[1]
    path.write_bytes(content * (links - 1) + content[: len(content) // 2])
    samples, [note] = read_all(path)
    assert note == f"cut off: ends at {len(samples) / rate:.2f} s"
    assert 0.2 < len(samples) / rate / (len(noise()) / rate) - (links - 1) < 0.6


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.opus"])
@pytest.mark.parametrize("kind", ["zeros", "one byte", "missing"])
def test_damage_in_the_middle_becomes_silence_at_its_place(tmp_path, name, kind):
    rate = 48_000 if name == "a.opus" else RATE
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, (8 * rate, 2))
    soundfile.write(tmp_path / name, wave, rate, **options)
    intact, _ = read_all(tmp_path / name)
    data = bytearray((tmp_path / name).read_bytes())
    middle = len(data) // 2
    if kind == "missing":
        del data[middle : middle + 2_000]
    elif kind == "zeros":
        data[middle : middle + 2_000] = bytes(2_000)
    else:
        data[middle] ^= 0x55
    (tmp_path / name).write_bytes(data)
    samples, [note] = read_all(tmp_path / name)
    assert len(samples) == pytest.approx(len(intact), abs=rate // 50)
    at = float(note.removeprefix("damaged or without sound at ").split()[0])
    assert 2.9 < at < 4.1  # a page of Opus lasts a second
    assert "silence" in note
    for part in (slice(0, 2 * rate), slice(6 * rate, 7 * rate)):
        np.testing.assert_allclose(samples[part], intact[part], atol=1e-5)


@pytest.mark.parametrize("length", [1, 3_000])
def test_damage_inside_an_mp3_is_noted_by_time(tmp_path, length):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(), RATE)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if length == 1:  # a frame's first byte
        middle = data.index(data[-2_000:][data[-2_000:].index(b"\xff\xfb") :][:3], middle)
    data[middle : middle + length] = bytes(length)
    path.write_bytes(data)
    samples, notes = read_all(path)
    assert notes and notes[0].startswith(
        ("damaged or without sound at 1.9", "damaged or without sound at 2.")
    )
    assert 3.5 * RATE < len(samples) <= 4.05 * RATE
    with pytest.raises(AudioError, match="damaged or without sound"):
        read_audio(path)


def test_mp3s_put_together_with_their_tags_are_read_whole(tmp_path):
    tag = b"ID3\4\0\0\0\0\0\x27TIT2\0\0\0\x02\0\0\3x" + bytes(27)
    soundfile.write(tmp_path / "one.mp3", tones([300, 300], 2.0), RATE)
    one = (tmp_path / "one.mp3").read_bytes()
    both = tmp_path / "both.mp3"
    both.write_bytes(tag + one + tag + one)
    samples, notes = read_all(both)
    assert 4.0 * RATE <= len(samples) < 4.1 * RATE
    loud = np.abs(samples).max(axis=1) > 0.05
    assert loud[: int(1.9 * RATE)].any() and loud[int(3.9 * RATE) : 4 * RATE].any()
    assert all("at 2.0" in note or "at 1.9" in note for note in notes)


def test_nothing_is_noted_of_files_without_faults(tmp_path):
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.w64", "a.caf", "a.au"):
        soundfile.write(tmp_path / name, noise(), RATE)
        with AudioReader(tmp_path / name) as reader:
            assert sum(len(block) for block in reader.blocks(5_000)) == reader.num_samples
            assert (reader.num_samples, reader.notes) == (4 * RATE, [])
