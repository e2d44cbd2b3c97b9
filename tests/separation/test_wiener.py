"""Multichannel Wiener filtering keeps the sum, knows places, and is that of Open-Unmix."""

import sys
import types
import warnings

import jax
import numpy as np
import pytest

from jaxsep import models
from jaxsep.cli.main import main
from jaxsep.separation import wiener
from jaxsep.separation.separator import Separator
from jaxsep.stft_config import StftConfig

SHAPE = (40, 2, 9)  # frames, channels, bins

refine = jax.jit(wiener.refine, static_argnums=2)
refine_targets = jax.jit(wiener.refine_targets, static_argnums=2, static_argnames="residual")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("c8")


def split(mixture: np.ndarray, sources: int) -> np.ndarray:
    shares = np.random.default_rng(1).dirichlet(np.ones(sources), mixture.shape).astype("f4")
    return np.moveaxis(shares, -1, 0) * mixture


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("level", [1.0, 1000.0])
def test_refined_estimates_add_up_to_the_mixture(channels, level):
    mixture = level * noise(40, channels, 9)
    refined = refine(split(mixture, 3), mixture, 2)
    assert refined.shape == (3, *mixture.shape)
    np.testing.assert_allclose(refined.sum(axis=0), mixture, atol=0.02 * level)


def test_sources_at_different_places_come_apart():
    """One on the left, one on the right, and a mask that confuses them by a fifth."""
    sources = np.stack([noise(*SHAPE), noise(*SHAPE, seed=1)])
    sources[0, :, 1] = sources[1, :, 0] = 0
    mixture = sources.sum(axis=0)
    estimates = np.stack([0.8 * sources[0] + 0.2 * sources[1], 0.2 * sources[0] + 0.8 * sources[1]])
    before, after = (
        np.sum(np.abs(found - sources) ** 2) for found in (estimates, refine(estimates, mixture, 2))
    )
    assert after < 0.1 * before


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0, 1e4])
def test_channels_that_are_the_same_stay_so(level):
    mixture = level * np.repeat(noise(40, 1, 9), 2, axis=1)
    refined = refine(split(mixture[:, :1], 2).repeat(2, axis=2), mixture, 1)
    assert np.isfinite(refined).all()
    np.testing.assert_allclose(refined[:, :, 0], refined[:, :, 1], atol=1e-4 * level)
    np.testing.assert_allclose(refined.sum(axis=0), mixture, atol=0.01 * level)


@pytest.mark.parametrize("residual", [False, True])
def test_targets_are_refined_in_windows(residual):
    mixture = noise(600, 2, 3)
    sources = split(mixture, 3)  # the last one is the residual
    targets = sources[:2]
    halves = [
        refine(part if residual else part[:2], whole, 1)[:2]
        for part, whole in zip(np.split(sources, 2, 1), np.split(mixture, 2), strict=True)
    ]
    found = refine_targets(targets, mixture, 1, residual=residual)
    np.testing.assert_allclose(found, np.concatenate(halves, axis=1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_separator_refines_and_stems_add_up(bidirectional):
    config = StftConfig(sample_rate=8000, channels=2, n_fft=256, hop_length=64)
    masker = models.create("lstm", config, hidden_size=4, bidirectional=bidirectional)
    variables = models.init(masker, jax.random.key(0))
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (30_000, 2)).astype("f4")
    masked, refined = (
        Separator(masker, variables, wiener_iterations=n)(waveform, 8000) for n in (0, 1)
    )
    np.testing.assert_allclose(sum(refined.values()), waveform, atol=1e-6)
    difference = np.abs(refined["vocals"] - masked["vocals"]).max()
    assert 1e-3 < difference < 0.5
    assert not Separator(masker, variables, wiener_iterations=1).is_causal


def test_iterations_have_limits(capsys):
    with pytest.raises(ValueError, match="wiener_iterations=-1 must be from 0 to 50"):
        Separator(models.create("mlp", StftConfig()), {}, wiener_iterations=-1)
    assert main(["separate", "song.wav", "--wiener_iterations=-1"]) == 2
    assert capsys.readouterr().err == "jaxsep: --wiener_iterations=-1 must be from 0 to 50\n"


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("iterations", [1, 3])
def test_it_filters_as_open_unmix(monkeypatch, channels, residual, iterations):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    # The package imports it for reading files.
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filtering = pytest.importorskip("openunmix.filtering", reason="openunmix is not installed")
    mixture = 20 * noise(250, channels, 9)
    estimates = 0.9 * split(mixture, 3)
    magnitudes = torch.from_numpy(np.abs(estimates).transpose(1, 3, 2, 0).copy())
    theirs = filtering.wiener(
        magnitudes,
        torch.view_as_real(torch.from_numpy(mixture.swapaxes(1, 2).copy())),
        iterations,
        residual=residual,
    )
    expected = torch.view_as_complex(theirs.movedim(-2, -1).contiguous()).numpy()
    if residual:
        rest = mixture - estimates.sum(axis=0)
        estimates = np.concatenate([estimates, rest[None]])
    found = refine(estimates, mixture, iterations)
    expected = expected.transpose(3, 0, 2, 1)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
