"""What isn't sound is refused, made silent or reported, before it spoils what follows."""

import copy
import logging
import multiprocessing
import pickle

import jax
import numpy as np
import pytest

import jaxsep
from jaxsep import models
from jaxsep.models.files import ModelError
from jaxsep.separation.separator import Separator
from jaxsep.separation.waveforms import check_format, check_waveform, make_finite
from tests.helpers import TINY_STFT

RATE = TINY_STFT.sample_rate


@pytest.fixture(scope="module")
def separator() -> Separator:
    return make()


def make() -> Separator:
    masker = models.create("lstm", TINY_STFT, hidden_size=8)
    return Separator(masker, models.init(masker, jax.random.key(0)))


def noise(samples: int, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return rng.uniform(-0.1, 0.1, (samples, channels)).astype(np.float32)


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (np.zeros((2, 1_323_000), np.float32), "transpose"),
        (np.zeros((2, 65), np.float32), "at most 64"),
        (np.zeros((100, 2), np.int16), "int16.*divide by 32768"),
        (np.zeros((100, 2), np.int32), "divide by 2147483648"),
        (np.zeros((100, 2), np.uint8), "uint8"),
        (np.zeros((100, 2), bool), "bool"),
        (np.zeros((100, 2), complex), "complex128"),
        (np.zeros((100, 2), object), "object"),
        (np.array([["a", "b"]]), "isn't float"),
        (np.zeros(100, np.float32), r"\(100,\)"),
        (np.zeros((1, 100, 2), np.float32), r"\(1, 100, 2\)"),
        (np.zeros((100, 0), np.float32), r"\(100, 0\)"),
        (np.zeros((0, 2), np.float32), "no samples"),
        (np.float32(0), r"\(\)"),
        (None, "object"),
    ],
)
def test_arrays_that_are_no_waveform_are_refused_at_once(separator, waveform, words):
    with pytest.raises(ValueError, match=words):
        separator(waveform, RATE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_of_any_size_are_taken(separator, dtype):
    stems = separator(noise(500).astype(dtype), RATE)
    assert stems["vocals"].dtype == np.float32 and stems["vocals"].shape == (500, 2)


@pytest.mark.parametrize(
    "rate", [0, -1, 1, 1e9, float("nan"), float("inf"), 44100.5, "44100", None]
)
def test_rates_that_cannot_be_are_refused(separator, rate):
    with pytest.raises(ValueError, match="sample_rate="):
        separator(noise(10), rate)


def test_a_whole_rate_may_be_a_float(separator):
    stems = separator(noise(500), 7919.0)
    np.testing.assert_array_equal(stems["vocals"], separator(noise(500), 7919)["vocals"])


@pytest.mark.parametrize(
    "changes",
    [{"channels": 0}, {"channels": 10_000}, {"block_frames": 0}, {"block_frames": 10**9}],
)
def test_streams_have_limits(separator, changes):
    fields = {"sample_rate": RATE, "channels": 2, "block_frames": 1, **changes}
    (name,) = changes
    with pytest.raises(ValueError, match=f"{name}={changes[name]} must be a whole number"):
        jaxsep.Streamer(separator, **fields)
    check_format(sample_rate=np.int64(44100), channels=64, block_frames=1024)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e6, -1e30])
def test_a_bad_sample_is_silence_and_the_rest_is_as_if_it_were(separator, bad, caplog):
    waveform = noise(20_000)
    waveform[4000:4003, 1] = 0
    expected = separator(waveform, RATE)
    spoilt = waveform.copy()
    spoilt[4000:4003, 1] = bad
    with caplog.at_level(logging.WARNING):
        stems = separator(spoilt, RATE)
    assert "3 samples were NaN" in caplog.text
    for stem, samples in expected.items():
        np.testing.assert_array_equal(stems[stem], samples)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e6, 101, 1e300])
def test_a_bad_sample_does_not_spoil_a_stream(separator, bad):
    waveform = noise(20_000).astype(np.float64)
    waveform[4000, 0] = 0
    streams = [jaxsep.Streamer(separator, RATE, 2) for _ in range(2)]
    spoilt = waveform.copy()
    spoilt[4000, 0] = bad
    for samples in (waveform, spoilt):
        streamer = streams.pop(0)
        parts = [streamer.push(part) for part in np.split(samples, 10)] + [streamer.finish()]
        stems = {stem: np.concatenate([part[stem] for part in parts]) for stem in parts[0]}
        if samples is waveform:
            expected = stems
    assert streamer.num_silenced == 1
    for stem, samples in expected.items():
        np.testing.assert_array_equal(stems[stem], samples)


def test_loud_sound_stays():
    block = np.array([[99.0, -99.0]], np.float32)
    assert make_finite(block, 100) == (block, 0) or make_finite(block, 100)[0] is block


def test_a_model_that_answers_nan_is_named():
    separator = make()
    streamer = jaxsep.Streamer(separator, RATE, 2)
    kernel = separator._variables["params"]["mask"]["dense"]["kernel"]
    separator._variables["params"]["mask"]["dense"]["kernel"] = np.full_like(kernel, np.inf)
    with pytest.raises(ModelError, match="vocals are NaN or infinite"):
        separator(noise(1000), RATE)
    with pytest.raises(ModelError, match="weights are damaged"):
        streamer.push(noise(1000))


def test_other_channels_than_the_streams_are_refused(separator):
    streamer = jaxsep.Streamer(separator, RATE, 2)
    for samples in (noise(10, 1), noise(10, 3), np.zeros(10), np.zeros((10, 2), np.int16)):
        with pytest.raises(ValueError, match="waveform"):
            streamer.push(samples)
    assert len(streamer.push(np.zeros((0, 2)))["vocals"]) == 0
    assert check_waveform(noise(3), 2).shape == (3, 2)


def test_pickling_and_copying_are_one_clear_error(separator):
    for thing in (separator, jaxsep.Streamer(separator, RATE, 2)):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="can't be pickled or copied"):
                attempt(thing)


def _use(separator: Separator, results) -> None:
    def construct():
        Separator(separator._masker, separator._variables)

    for attempt in (lambda: separator(noise(100), RATE), construct, Separator.restore):
        try:
            attempt()
        except RuntimeError as error:
            results.put(str(error))


@pytest.mark.skipif(not hasattr(multiprocessing, "get_context"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_a_forked_process_says_that_jax_would_hang(separator):
    separator(noise(100), RATE)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=_use, args=(separator, results), daemon=True)
    process.start()
    process.join(30)
    process.kill()
    assert process.exitcode == 0
    assert all("spawn" in results.get() for _ in range(3))
