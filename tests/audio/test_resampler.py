"""Block by block, another rate is what it is for the whole signal."""

import numpy as np
import pytest
import soxr

from jaxsep.audio.resampler import Resampler, worst_delay

RATES = [(8_000, 11_025), (11_025, 8_000), (8_000, 8_000)]


def signal(rate: int, seconds: float = 3.3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(int(seconds * rate), 2)).astype(np.float32)


def pushed(resampler: Resampler, wave: np.ndarray, size: int = 777) -> np.ndarray:
    blocks = [wave[start : start + size] for start in range(0, len(wave), size)]
    return np.concatenate([resampler.push(block) for block in blocks])


@pytest.mark.parametrize("rates", RATES)
def test_blocks_become_what_the_whole_becomes(rates):
    wave, resampler = signal(rates[0]), Resampler(*rates, channels=2)
    found = np.concatenate([pushed(resampler, wave), resampler.finish()])
    np.testing.assert_allclose(found, soxr.resample(wave, *rates), atol=1e-6)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("at", [0, 100, 9_000, 20_000])
def test_another_goes_on_where_one_was(rates, at):
    wave, whole, first, second = signal(rates[0]), *(Resampler(*rates, 2) for _ in range(3))
    begun = pushed(first, wave[:at]) if at else np.zeros((0, 2), np.float32)
    second.load(first.save())
    found = np.concatenate([begun, pushed(second, wave[at:]), second.finish()])
    expected = np.concatenate([pushed(whole, wave), whole.finish()])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("rates", RATES)
def test_the_output_lags_no_more_than_the_worst_delay_and_at_times_about_as_much(rates):
    resampler, wave = Resampler(*rates, 2), signal(rates[0], 1.5)
    lags, num_out = [], 0
    for number, sample in enumerate(wave[:, None]):
        lags.append(number / rates[0] - num_out / rates[1])
        num_out += len(resampler.push(sample))
    allowed = worst_delay(*rates)
    assert 0.9 * allowed - 1e-3 < max(lags) <= allowed + 1 / rates[0]
