import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jaxsep.collections.mir1k import STFT as MIR1K_STFT
from jaxsep.spectrogram import istft, stft
from jaxsep.stft_config import StftConfig

# Those of the recipes and of published models: MIR-1K's, Open-Unmix's, band-split models'.
SETTINGS = (
    StftConfig(),
    MIR1K_STFT,
    StftConfig(sample_rate=16000, channels=1, n_fft=1024, hop_length=512),
    StftConfig(n_fft=2048, hop_length=512),
    StftConfig(n_fft=2048, hop_length=441, padding="reflect"),
    StftConfig(n_fft=4096, hop_length=882, padding="reflect"),
    StftConfig(n_fft=2048, hop_length=300, win_length=1001),
)


def ids(config: StftConfig) -> str:
    return f"{config.n_fft}/{config.hop_length}"


def noise(samples: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return rng.uniform(-1, 1, (samples, channels)).astype(np.float32)


@pytest.mark.parametrize("config", SETTINGS, ids=ids)
@pytest.mark.parametrize("samples", [10_000, 30_011])
def test_stft_agrees_with_librosa_within_1e_6_of_full_scale(config, samples):
    waveform = noise(samples, config.channels)
    theirs = librosa.stft(
        waveform.T,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length,
        pad_mode="reflect" if config.padding == "reflect" else "constant",
    )
    ours = stft(jnp.asarray(waveform), config)
    assert ours.shape == (config.num_frames(samples), config.channels, config.bins)
    error = np.abs(np.asarray(ours) - theirs.transpose(2, 0, 1)).max()
    assert error < 1e-6 * config.full_scale


def test_a_full_scale_sine_has_the_magnitude_full_scale():
    config = StftConfig(sample_rate=8000, channels=1, n_fft=512, hop_length=128)
    sine = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)[:, None].astype(np.float32)
    magnitude = np.abs(np.asarray(stft(jnp.asarray(sine), config)))[5]
    np.testing.assert_allclose(magnitude.max(), config.full_scale, rtol=1e-3)


@pytest.mark.parametrize("samples", [1, 255, 1023, 1024, 4097, 10_007])
@pytest.mark.parametrize("config", SETTINGS, ids=ids)
def test_istft_inverts_stft_at_any_length(config, samples):
    if config.n_fft == 2 * config.hop_length:
        samples = -(-samples // config.hop_length) * config.hop_length
    waveform = noise(samples, config.channels)
    back = istft(stft(jnp.asarray(waveform), config), config, length=samples)
    np.testing.assert_allclose(back, waveform, atol=1e-6)


def test_frames_that_overlap_by_half_give_the_signal_back_up_to_a_whole_hop():
    config = StftConfig(sample_rate=16000, channels=1, n_fft=1024, hop_length=512)
    waveform = noise(9 * 512, 1)
    back = istft(stft(jnp.asarray(waveform), config), config, length=9 * 512)
    np.testing.assert_allclose(back, waveform, atol=2e-6)
    with pytest.raises(ValueError, match=r"length=4607 must be a multiple of hop_length=512"):
        istft(stft(jnp.asarray(waveform[:-1]), config), config, length=4607)


def test_istft_refuses_a_length_that_does_not_fit():
    config = StftConfig(sample_rate=8000, channels=1, n_fft=256, hop_length=64)
    with pytest.raises(ValueError, match="frames don't make"):
        istft(jnp.zeros((4, 1, 129)), config, length=1000)


@pytest.mark.parametrize(
    "fields",
    [
        {"hop_length": 2049},
        {"n_fft": 1024},
        {"channels": 0},
        {"win_length": 4097},
        {"win_length": 2047},
        {"padding": "wrap"},
        {"hop_length": 2048, "padding": "reflect"},
    ],
)
def test_config_refuses_what_cannot_be_inverted(fields):
    with pytest.raises(ValueError):
        StftConfig(**fields)
