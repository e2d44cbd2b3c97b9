import av
import numpy as np
import pytest
import soundfile

from jaxsep.audio.reader import AudioError, AudioReader, read_audio
from tests.helpers import read_all


def pcm_noise(bit_depth, num_samples=5_001, channels=2, seed=0):
    """Noise over the whole range of integer samples, both ends included, as float64."""
    low, high = -(2 ** (bit_depth - 1)), 2 ** (bit_depth - 1) - 1
    integers = np.random.default_rng(seed).integers(low, high + 1, size=(num_samples, channels))
    integers[0], integers[-1] = low, high
    return integers / 2.0 ** (bit_depth - 1)


def tone(num_samples=50_017, channels=2):
    """A sine wave as float32 [samples, channels]."""
    wave = 0.3 * np.sin(np.arange(num_samples) * 0.05)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def encode(path, waveform, codec, sample_format, sample_rate=44_100):
    """Writes float32 [samples, 2] with FFmpeg's libraries; integer formats are left-justified."""
    if sample_format.startswith("s"):
        bits = int(sample_format[1:3])
        waveform = (waveform * 2.0 ** (bits - 1)).astype(f"int{bits}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sample_rate, layout="stereo")
        stream.codec_context.format = sample_format
        frame_size = 1024
        for start in range(0, len(waveform), frame_size):
            block = waveform[start : start + frame_size]
            block = block.T if sample_format.endswith("p") else block.reshape(1, -1)
            block = np.ascontiguousarray(block)
            frame = av.AudioFrame.from_ndarray(block, format=sample_format, layout="stereo")
            frame.sample_rate, frame.pts = sample_rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_blocks(path, block_size=1_000):
    with AudioReader(path) as reader:
        return list(reader.blocks(block_size))


@pytest.mark.parametrize("name, subtype", [("a.flac", "PCM_16"), ("a.aiff", "PCM_24")])
def test_lossless_files_are_read_exactly(tmp_path, name, subtype):
    bit_depth = int(subtype[-2:])
    noise = pcm_noise(bit_depth)
    soundfile.write(tmp_path / name, (noise * 2.0**31).astype(np.int32), 44_100, subtype)
    with AudioReader(tmp_path / name) as reader:
        assert reader.bit_depth == bit_depth
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(1_000))), noise)


@pytest.mark.parametrize(
    "codec, sample_format, bit_depth",
    [
        ("alac", "s16p", 16),
        ("alac", "s32p", 24),
        ("pcm_s16le", "s16", 16),
        ("pcm_s24le", "s32", 24),
    ],
)
def test_lossless_files_are_read_exactly_through_ffmpeg(tmp_path, codec, sample_format, bit_depth):
    path = tmp_path / ("a.m4a" if codec == "alac" else "a.mkv")
    noise = pcm_noise(bit_depth, num_samples=5_000)
    encode(path, noise, codec, sample_format)
    with AudioReader(path) as reader:
        assert reader.bit_depth == bit_depth
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(1_000))), noise)


@pytest.mark.parametrize("block_size", [1, 7, 1_024, 5_001, 10**6])
def test_every_block_but_the_last_is_full(tmp_path, block_size):
    noise = pcm_noise(16)
    soundfile.write(tmp_path / "a.wav", noise, 44_100, "DOUBLE")
    *full, last = read_blocks(tmp_path / "a.wav", block_size)
    assert all(block.shape == (block_size, 2) for block in full)
    assert 1 <= len(last) <= block_size
    np.testing.assert_array_equal(np.concatenate([*full, last]), noise)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_mp3_and_vorbis_keep_their_length(tmp_path, name):
    wave = tone()
    soundfile.write(tmp_path / name, wave, 44_100)
    with AudioReader(tmp_path / name) as reader:
        assert reader.bit_depth is None
        assert (reader.sample_rate, reader.channels) == (44_100, 2)
    decoded, _ = read_audio(tmp_path / name)
    assert decoded.shape == wave.shape
    np.testing.assert_allclose(decoded, wave, atol=0.05)


def test_aac_is_read_without_the_delay_of_its_encoder(tmp_path):
    wave = tone()
    encode(tmp_path / "a.m4a", wave, "aac", "fltp")
    decoded, sample_rate = read_audio(tmp_path / "a.m4a")
    assert decoded.dtype == np.float32 and sample_rate == 44_100
    assert len(wave) <= len(decoded) < len(wave) + 1_024
    np.testing.assert_allclose(decoded[: len(wave)], wave, atol=0.05)


def test_a_colon_in_a_file_name_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "Live: part 2.m4a", tone(), "aac", "fltp")
    assert len(read_audio("Live: part 2.m4a")[0])


def test_padding_after_an_mp3_is_ignored(tmp_path):
    soundfile.write(tmp_path / "a.mp3", tone(), 44_100)
    padded = tmp_path / "padded.mp3"
    padded.write_bytes((tmp_path / "a.mp3").read_bytes() + bytes(150))
    np.testing.assert_array_equal(read_audio(padded)[0], read_audio(tmp_path / "a.mp3")[0])


def bad_file(tmp_path, kind):
    path = tmp_path / "bad.wav"
    if kind == "text":
        path.write_text("La la la\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    elif kind == "no samples":
        soundfile.write(path, np.zeros((0, 2)), 44_100)
    elif kind == "video only":
        with av.open(str(path), "w", format="matroska") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame(64, 64, "yuv420p")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "kind", ["text", "empty", "directory", "missing", "no samples", "video only"]
)
def test_a_file_without_audio_gives_one_line_that_names_it(tmp_path, kind):
    path = bad_file(tmp_path, kind)
    with pytest.raises(AudioError) as error:
        AudioReader(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound_become_silence_and_are_counted(tmp_path, value):
    wave = tone(100_000)
    wave[88_200, 1] = wave[90_000, 0] = value
    soundfile.write(tmp_path / "a.wav", wave, 44_100, "FLOAT")
    samples, notes = read_all(tmp_path / "a.wav")
    wave[88_200, 1] = wave[90_000, 0] = 0
    np.testing.assert_array_equal(samples, wave)
    [note] = notes
    assert note.startswith("2 samples are NaN") and "2.000 s" in note
    with pytest.raises(AudioError, match="2 samples are NaN"):
        read_audio(tmp_path / "a.wav")


def test_a_change_of_format_part_way_is_converted_and_noted(tmp_path):
    encode(tmp_path / "a.aac", tone(), "aac", "fltp", sample_rate=44_100)
    encode(tmp_path / "b.aac", tone(), "aac", "fltp", sample_rate=22_050)
    both = tmp_path / "both.aac"
    both.write_bytes((tmp_path / "a.aac").read_bytes() + (tmp_path / "b.aac").read_bytes())
    samples, notes = read_all(both)
    assert abs(len(samples) - 3 * 50_017) < 6 * 1_024
    assert notes == ["changes part-way to 22050 Hz stereo; converted to 44100 Hz stereo"]
