import numpy as np
import pytest
import soundfile

from jaxsep import audio_writer
from jaxsep.audio_reader import AudioError, AudioReader
from jaxsep.audio_writer import AudioWriter, split_exactly

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

    monkeypatch.setattr(soundfile, "SoundFile", interrupted)
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
        writer._file.close()
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


def test_a_long_file_becomes_rf64(tmp_path):
    write(tmp_path / "a.wav", pcm_noise(16), 16, num_samples=2**31)
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), pcm_noise(16))


def test_more_than_4_gib_of_unknown_length_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_writer, "_WAV_LIMIT", 20_000)
    with pytest.raises(AudioError, match="4 GiB"):
        write(tmp_path / "a.wav", pcm_noise(16), 16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
@pytest.mark.parametrize("loudness", [0.01, 1.0, 100.0])
def test_integer_stems_sum_to_the_mixture_and_can_be_stored(tmp_path, bit_depth, loudness):
    mixture = pcm_noise(bit_depth)
    estimate = np.random.default_rng(1).normal(size=mixture.shape).astype(np.float32) * loudness
    stems = split_exactly(mixture, estimate, bit_depth)
    np.testing.assert_array_equal(stems[0] + stems[1], mixture)
    for stem in stems:
        write(tmp_path / "stem.wav", stem, bit_depth)
        np.testing.assert_array_equal(read(tmp_path / "stem.wav"), stem)


def test_an_integer_stem_is_the_estimate_rounded_where_that_fits():
    mixture = pcm_noise(16) / 4
    mixture = np.rint(mixture * 2**15) / 2**15
    estimate = np.random.default_rng(1).uniform(-0.5, 0.5, size=mixture.shape)
    stem, _ = split_exactly(mixture, estimate, 16)
    assert np.abs(stem - estimate).max() <= 2.0**-16


def test_float_stems_sum_to_the_mixture_up_to_the_rounding_of_the_rest():
    generator = np.random.default_rng(0)
    mixture = generator.normal(size=(5_000, 2))
    estimate, rest = split_exactly(mixture, generator.normal(size=(5_000, 2)), None)
    assert np.array_equal(estimate, estimate.astype(np.float32))
    assert np.array_equal(rest, rest.astype(np.float32))
    assert (np.abs(estimate + rest - mixture) <= 2.0**-24 * np.abs(mixture - estimate)).all()
