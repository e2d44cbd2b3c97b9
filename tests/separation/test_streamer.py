"""Sound that comes bit by bit is separated as the whole would be."""

import io
import threading

import jax
import numpy as np
import pytest

import jaxsep
from jaxsep import models
from jaxsep.separation.separator import Separator
from jaxsep.stft_config import StftConfig

STEMS = ("vocals", "accompaniment")


@pytest.fixture(scope="module")
def stereo() -> Separator:
    return make(2)


def make(channels: int, **fields) -> Separator:
    stft = StftConfig(sample_rate=8000, channels=channels, n_fft=256, hop_length=64)
    masker = models.create("lstm", stft, **{"hidden_size": 8, **fields})
    return Separator(masker, models.init(masker, jax.random.key(0)))


def noise(samples: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return rng.uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def cut(waveform: np.ndarray, seed: int, longest: int = 700) -> list[np.ndarray]:
    """Cuts a waveform into pieces of random lengths, some of them empty."""
    lengths = np.random.default_rng(seed).integers(0, longest, len(waveform))
    return np.split(waveform, np.cumsum(lengths)[np.cumsum(lengths) < len(waveform)])


def run(streamer: jaxsep.Streamer, pieces: list[np.ndarray]) -> dict[str, np.ndarray]:
    parts = [*map(streamer.push, pieces), streamer.finish()]
    return {stem: np.concatenate([part[stem] for part in parts]) for stem in STEMS}


@pytest.mark.parametrize("rate", [8000, 11_025])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("block_frames", [1, 7])
@pytest.mark.parametrize("samples", [0, 1, 255, 12_345])
def test_hop_by_hop_gives_what_the_file_gives(stereo, rate, channels, block_frames, samples):
    waveform = noise(samples, channels)
    streamer = jaxsep.Streamer(stereo, rate, channels, block_frames=block_frames)
    streamed = run(streamer, cut(waveform, samples))
    whole = stereo(waveform, rate) if samples else dict.fromkeys(STEMS, waveform)
    for stem in STEMS:
        np.testing.assert_allclose(streamed[stem], whole[stem], atol=1e-5)
    np.testing.assert_allclose(sum(streamed.values()), waveform, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 7999, 11_025, 44_100])
@pytest.mark.parametrize("block_frames", [1, 5])
def test_no_sample_comes_later_than_the_latency(stereo, rate, block_frames):
    streamer = jaxsep.Streamer(stereo, rate, 2, block_frames=block_frames)
    pushed = out = latest = 0
    for piece in cut(noise(2 * rate, 2), 1, longest=50):
        pushed, out = pushed + len(piece), out + len(streamer.push(piece)["vocals"])
        latest = max(latest, pushed - out)
    assert latest <= streamer.latency
    if rate == 8000:
        assert streamer.latency == 255 + (block_frames - 1) * 64


@pytest.mark.parametrize("rate", [8000, 11_025, 7999])
def test_a_saved_stream_goes_on_elsewhere(stereo, rate):
    pieces = cut(noise(5 * rate, 2), 2)
    expected = run(jaxsep.Streamer(stereo, rate, 2), pieces)
    half = len(pieces) // 2
    first, file = jaxsep.Streamer(stereo, rate, 2), io.BytesIO()
    begun = [first.push(piece) for piece in pieces[:half]]
    np.savez(file, allow_pickle=False, **first.state())
    file.seek(0)
    second = jaxsep.Streamer(stereo, rate, 2)
    second.restore(np.load(file))
    rest = run(second, pieces[half:])
    for stem in STEMS:
        whole = np.concatenate([*(part[stem] for part in begun), rest[stem]])
        np.testing.assert_allclose(whole, expected[stem], atol=1e-5)


@pytest.mark.parametrize("difference", ["rate", "channels", "block_frames", "layers", "size"])
def test_the_state_of_another_kind_of_stream_is_refused(stereo, difference):
    fields = {"rate": 8000, "channels": 2, "block_frames": 1}

    def stream(separator=stereo, *, rate, channels, block_frames):
        return jaxsep.Streamer(separator, rate, channels, block_frames=block_frames)

    state = stream(**fields).state()
    models = {"layers": {"num_layers": 2}, "size": {"hidden_size": 6}}
    if difference in models:
        other = stream(make(2, **models[difference]), **fields)
    else:
        other = stream(**{**fields, difference: fields[difference] + 1})
    with pytest.raises(ValueError, match="the state is one of"):
        other.restore(state)


def test_streams_of_one_separator_run_in_threads(stereo):
    waves = [noise(9000 + number, 2) for number in range(3)]
    results: dict[int, dict[str, np.ndarray]] = {}

    def work(number: int) -> None:
        streamer = jaxsep.Streamer(stereo, 8000, 2)
        results[number] = run(streamer, cut(waves[number], number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, waveform in enumerate(waves):
        expected = stereo(waveform, 8000)["vocals"]
        np.testing.assert_allclose(results[number]["vocals"], expected, atol=1e-5)


def test_a_model_that_looks_ahead_is_refused():
    with pytest.raises(ValueError, match="causal"):
        jaxsep.Streamer(make(2, bidirectional=True), 8000, 2)


def test_samples_of_other_channels_are_refused(stereo):
    with pytest.raises(ValueError, match="2 channels"):
        jaxsep.Streamer(stereo, 8000, 2).push(noise(10, 1))
