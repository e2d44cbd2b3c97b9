import av
import numpy as np
import pytest
import soundfile

from jaxsep.audio import writer
from jaxsep.audio.reader import AudioError, AudioReader
from jaxsep.audio.writer import AudioWriter, bytes_needed, choose_format
from jaxsep.cli import separate

BIT_DEPTHS = [8, 16, 24, 32]
SUBTYPES = {8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}


def pcm_noise(bit_depth, num_samples=5_001, channels=2, seed=0):
    """Noise over the whole range of integer samples, both ends included, as float64."""
    low, high = -(2 ** (bit_depth - 1)), 2 ** (bit_depth - 1) - 1
    integers = np.random.default_rng(seed).integers(low, high + 1, size=(num_samples, channels))
    integers[0], integers[-1] = low, high
    return integers / 2.0 ** (bit_depth - 1)


def write(path, waveform, bit_depth, **options):
    with AudioWriter(path, 44_100, waveform.shape[1], bit_depth, **options) as writer:
        for start in range(0, len(waveform), 777):
            writer.write(waveform[start : start + 777])


def read(path):
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks(1_000)))


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
def test_integer_samples_survive_writing_and_reading(tmp_path, bit_depth):
    noise = pcm_noise(bit_depth)
    write(tmp_path / "a.wav", noise, bit_depth)
    assert soundfile.info(tmp_path / "a.wav").subtype == SUBTYPES[bit_depth]
    with AudioReader(tmp_path / "a.wav") as reader:
        assert (reader.bit_depth, reader.num_samples) == (bit_depth, len(noise))
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(1_000))), noise)


def test_float_samples_survive_writing_and_reading(tmp_path):
    noise = np.random.default_rng(0).normal(size=(5_001, 2)).astype(np.float32)
    write(tmp_path / "a.wav", noise, None)
    with AudioReader(tmp_path / "a.wav") as reader:
        assert reader.bit_depth is None
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(1_000))), noise)


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_no_file(tmp_path, interruption):
    with pytest.raises(interruption), AudioWriter(tmp_path / "a.wav", 44_100, 2, 16) as writer:
        writer.write(pcm_noise(16))
        raise interruption
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_the_file_is_opened_leaves_none(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(av, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.wav", pcm_noise(16), 16)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_keeps_the_file_that_was_there(tmp_path):
    write(tmp_path / "a.wav", pcm_noise(16, seed=1), 16)
    with pytest.raises(ValueError), AudioWriter(tmp_path / "a.wav", 44_100, 2, 16) as writer:
        writer.write(pcm_noise(16, seed=2))
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), pcm_noise(16, seed=1))


def test_a_file_that_is_cut_short_never_gets_its_name(tmp_path):
    writer = AudioWriter(tmp_path / "a.wav", 44_100, 2, 16)
    with pytest.raises(AudioError, match=r"a\.wav: .*samples were stored"), writer:
        writer.write(pcm_noise(16))
        writer._encoder.close()
        (temporary,) = tmp_path.iterdir()
        temporary.write_bytes(temporary.read_bytes()[:-400])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"missing/a\.wav: .*No such file or directory"):
        write(tmp_path / "missing" / "a.wav", pcm_noise(16), 16)


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
@pytest.mark.parametrize("problem", ["too high", "too low", "between two integers", "nan"])
def test_samples_that_do_not_fit_are_refused(tmp_path, bit_depth, problem):
    step = 2.0 ** (1 - bit_depth)
    sample = {"too high": 1.0, "too low": -1.0 - step, "nan": np.nan}.get(problem, step / 2)
    with pytest.raises(ValueError), AudioWriter(tmp_path / "a.wav", 44_100, 1, bit_depth) as writer:
        writer.write(np.array([[sample]]))


@pytest.mark.parametrize("audio_format", ["mp3", "ogg", "m4a", "flac"])
@pytest.mark.parametrize("num_samples", [500, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_other_formats_come_back_at_their_length_and_in_place(
    tmp_path, audio_format, num_samples, channels
):
    path, depth = tmp_path / f"a.{audio_format}", 24 if audio_format == "flac" else None
    phase = np.linspace(0, 440 * 2 * np.pi * num_samples / 44_100, num_samples)
    tone = np.rint(np.sin(phase) * 2**22)[:, None].repeat(channels, axis=1) / 2**23
    write(path, tone, depth, audio_format=audio_format)
    with AudioReader(path) as reader:
        assert (reader.sample_rate, reader.channels) == (44_100, channels)
        stored = np.concatenate(list(reader.blocks(1_000)))
    filling = len(stored) - num_samples
    assert 0 <= filling < 1024 if audio_format == "m4a" else filling == 0
    middle = slice(2_000, 40_000)
    np.testing.assert_allclose(stored[middle], tone[middle], atol=0 if depth else 0.1)


@pytest.mark.parametrize(("audio_format", "loudest"), [("mp3", 100), ("ogg", 1e5), ("m4a", 1e5)])
def test_absurdly_loud_samples_do_not_end_the_process(tmp_path, audio_format, loudest):
    samples = 1e5 * (-1.0) ** np.arange(44_100)[:, None].repeat(2, axis=1)
    path = tmp_path / f"a.{audio_format}"
    with AudioWriter(path, 44_100, 2, None, audio_format=audio_format) as writer:
        writer.write(samples)
    assert writer.num_limited == (samples.size if loudest < 1e5 else 0)
    assert np.abs(read(path)).max() < 10 * loudest


@pytest.fixture
def make_song(tmp_path):
    def make(name="song.wav", sample_rate=44_100, channels=2, subtype="PCM_16"):
        path = tmp_path / name
        with open(path, "wb") as file:
            soundfile.write(file, np.zeros((10, channels)), sample_rate, subtype, format="WAV")
        return AudioReader(path)

    return make


@pytest.mark.parametrize(
    ("subtype", "audio_format", "bit_depth", "expected"),
    [
        ("PCM_16", "wav", None, ("wav", 16)),
        ("FLOAT", "wav", None, ("wav", None)),
        ("PCM_24", "wav", "16", ("wav", 16)),
        ("PCM_16", "wav", "32f", ("wav", None)),
        ("PCM_16", "same", None, ("wav", 16)),
        ("PCM_16", "flac", None, ("flac", 16)),
        ("FLOAT", "flac", None, ("flac", 24)),
        ("PCM_32", "flac", None, ("flac", 24)),
        ("PCM_16", "mp3", None, ("mp3", None)),
        ("PCM_16", "m4a", None, ("m4a", None)),
    ],
)
def test_the_format_follows_the_song_unless_told_otherwise(
    make_song, subtype, audio_format, bit_depth, expected
):
    with make_song(subtype=subtype) as song:
        assert choose_format(song, audio_format, bit_depth) == expected


def test_wav_takes_more_channels_than_others(make_song):
    with make_song(channels=12) as song:
        assert choose_format(song, "wav", None) == ("wav", 16)
        with pytest.raises(AudioError, match=r"flac can't hold 12 channels .*--format=wav"):
            choose_format(song, "flac", None)


@pytest.mark.parametrize(
    ("song", "audio_format", "bit_depth", "way_out"),
    [
        ({}, "mp3", "16", "leave it out"),
        ({}, "flac", "32f", "leave it out"),
        ({"channels": 6}, "mp3", None, "--format=wav"),
        ({"sample_rate": 96_000}, "mp3", None, "--format=wav"),
        ({"sample_rate": 192_000}, "m4a", None, "--format=wav"),
        ({"name": "song.aiff"}, "same", None, "one of wav, flac"),
    ],
)
def test_what_a_format_cannot_hold_is_said(make_song, song, audio_format, bit_depth, way_out):
    with make_song(**song) as reader, pytest.raises(AudioError, match=way_out):
        choose_format(reader, audio_format, bit_depth)


@pytest.mark.parametrize(
    ("audio_format", "bit_depth", "per_second"),
    [
        ("wav", 16, 176_400),
        ("wav", 24, 264_600),
        ("wav", None, 352_800),
        ("flac", 16, 88_200),
        ("mp3", None, 32_000),
        ("ogg", None, 32_000),
        ("m4a", None, 40_000),
    ],
)
def test_the_size_of_stems_is_foreseen(tmp_path, audio_format, bit_depth, per_second):
    path = tmp_path / "song.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(3 * 44_100, 2)), 44_100)
    with AudioReader(path) as song:
        assert bytes_needed(song, audio_format, bit_depth) == 3 * per_second
        song.num_samples = None
        assert bytes_needed(song, audio_format, bit_depth) == 0


@pytest.mark.parametrize("audio_format", ["wav", "flac", "m4a"])
def test_a_file_does_not_say_what_wrote_it_and_may_grow(tmp_path, audio_format):
    depth = None if audio_format == "m4a" else 16
    write(tmp_path / "a", pcm_noise(16), depth, audio_format=audio_format)
    content = (tmp_path / "a").read_bytes()
    assert b"Lavf" not in content
    # Room for the header of RF64, should the file exceed 4 GiB.
    assert (b"JUNK" in content) == (audio_format == "wav")


def test_the_command_names_the_formats_that_can_be_written():
    assert separate.FORMATS == writer.FORMATS
