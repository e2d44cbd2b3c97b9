import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep.stft_config import StftConfig
from jaxsep.training.losses import (
    LOSSES,
    WITH_PHASE,
    Loss,
    Parts,
    error_energy,
    negative_sdr,
    relative_errors,
)

STFT = StftConfig(sample_rate=8000, channels=2, n_fft=16, hop_length=4)
FRAMES = 40
MAGNITUDE_LOSSES = [name for name in LOSSES if name not in WITH_PHASE]


def spectra(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns two targets with their rests, and masks."""
    rng = np.random.default_rng(seed)
    shape = (2, 2, FRAMES, STFT.channels, STFT.bins)
    targets, rests = (rng.normal(size=(*shape, 2)) @ [1, 1j] for _ in range(2))
    rests[:, 1] = targets[:, 0] + rests[:, 0] - targets[:, 1]  # of the same mixture
    return targets, rests, rng.uniform(size=shape).astype(np.float32)


def parts_of(targets: np.ndarray, rests: np.ndarray) -> Parts:
    mixture = targets[:, :1] + rests[:, :1]
    values = (jnp.asarray(x, jnp.complex64) for x in (mixture, targets, rests))
    return Parts(*values, jnp.ones(targets.shape[::2][:2], bool), STFT)


def padded(parts: Parts, junk: float) -> Parts:
    """Appends frames that aren't valid."""
    pad = ((0, 0), (0, 0), (0, 9), (0, 0), (0, 0))
    values = {name: getattr(parts, name) for name in ("mixture", "targets", "rests")}
    values = {name: jnp.pad(x, pad, constant_values=junk) for name, x in values.items()}
    return parts.replace(**values, valid=jnp.pad(parts.valid, ((0, 0), (0, 9))))


def test_error_energy_from_magnitudes_is_the_complex_error():
    targets, rests, masks = spectra()
    parts = parts_of(targets, rests)
    expected = np.abs(masks * parts.mixture - targets) ** 2
    for seen in (parts, parts.magnitudes):
        found = error_energy(masks, seen)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", MAGNITUDE_LOSSES)
def test_losses_of_magnitudes_are_the_same_of_complex_spectra(name):
    targets, rests, masks = spectra()
    parts = parts_of(targets, rests)
    expected = LOSSES[name](masks, parts.magnitudes)
    np.testing.assert_allclose(LOSSES[name](masks, parts), expected, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_does_not_count(name):
    targets, rests, masks = spectra()
    parts = parts_of(targets, rests)
    pad = ((0, 0), (0, 0), (0, 9), (0, 0), (0, 0))
    more = jnp.pad(masks, pad, constant_values=0.5)
    found = [LOSSES[name](more, padded(parts, junk)) for junk in (0, 7)]
    np.testing.assert_allclose(*found, rtol=1e-6)
    if name not in WITH_PHASE[1:]:  # of these, the last frames' sound counts only where more follow
        np.testing.assert_allclose(found[0], LOSSES[name](masks, parts), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_mask_loses_nothing_and_each_target_counts_alone(name):
    targets, rests, _ = spectra()
    if name not in WITH_PHASE:  # these forgive a wrong phase, or need a mask without
        targets, rests = np.abs(targets), np.abs(rests)
        rests[:, 1] = targets[:, 0] + rests[:, 0]
        targets[:, 1] = 0
        rests[:, 1] -= targets[:, 1]
    parts = parts_of(targets, rests)
    perfect = parts.targets / parts.mixture
    perfect = perfect if name in WITH_PHASE else perfect.real
    best = LOSSES[name](perfect, parts)
    worse = LOSSES[name](perfect.at[:, 0].multiply(0.5), parts)
    assert (worse[:, 0] > best[:, 0]).all()
    np.testing.assert_allclose(worse[:, 1], best[:, 1], rtol=1e-5)
    if name == "negative_sdr":
        assert (best < -25).all()
    else:
        np.testing.assert_allclose(best, 0, atol=1e-4)


def test_louder_examples_weigh_no_more():
    targets, rests, masks = spectra()
    plain = relative_errors(error_energy, masks, parts_of(targets, rests))
    gain = np.array([1.0, 50.0])[:, None, None, None, None]
    louder = parts_of(gain * targets, gain * rests)
    np.testing.assert_allclose(relative_errors(error_energy, masks, louder), plain, rtol=2e-2)


def test_half_the_error_is_the_same_gain_for_loud_voices_and_quiet_ones():
    """Far above the floor, halving the error takes as much off the loss whatever the level."""
    targets, rests, _ = spectra()
    gains = []
    for level in (1.0, 0.5):
        parts = parts_of(level * targets, rests)
        perfect = parts.targets / parts.mixture
        far, near = (perfect + error for error in (2.0, np.sqrt(2.0)))
        loss = LOSSES["log_phase_sensitive"]
        gains.append(loss(far, parts) - loss(near, parts))
    np.testing.assert_allclose(gains, np.log(2), rtol=0.02)
    almost, nearer = (loss(perfect + error, parts) for error in (0.03, 0.02))
    assert (almost - nearer < 0.03).all()  # nobody hears that


def test_the_absolute_loss_is_the_share_of_the_magnitudes_that_is_wrong():
    targets, rests, masks = spectra()
    parts = parts_of(targets, rests).magnitudes
    mixture = np.asarray(parts.mixture)
    wrong = np.abs(masks * mixture - parts.targets).sum(axis=(2, 3, 4))
    found = LOSSES["absolute"](masks, parts)
    np.testing.assert_allclose(found, wrong / mixture.sum(axis=(2, 3, 4)), rtol=2e-3)


@pytest.mark.parametrize(("gain", "decibels"), [(0.9, -20.0), (0.5, -6.02), (0.0, 0.0), (2.0, 0.0)])
def test_negative_sdr_is_in_decibels(gain, decibels):
    targets, _, _ = spectra()
    parts = parts_of(targets, 0 * targets)
    parts = parts.replace(mixture=parts.targets, targets=parts.targets)
    found = negative_sdr(jnp.full(targets.shape, gain), parts)
    np.testing.assert_allclose(found, decibels, atol=0.5)


def test_losses_of_waveforms_grow_with_the_error_and_not_with_its_sign():
    targets, rests, _ = spectra()
    parts = parts_of(targets, rests)
    perfect = parts.targets / parts.mixture
    for name in ("waveform_l1", "spectrum_l1", "multi_resolution"):
        one, two, other = (LOSSES[name](perfect * gain, parts) for gain in (1.1, 1.2, 0.9))
        np.testing.assert_allclose(two, 2 * one, rtol=2e-2)
        np.testing.assert_allclose(other, one, rtol=1e-3)


def test_losses_can_be_added():
    targets, rests, masks = spectra()
    parts = parts_of(targets, rests)
    total = Loss("spectrum_l1 + waveform_l1")(masks, parts)
    expected = LOSSES["spectrum_l1"](masks, parts) + LOSSES["waveform_l1"](masks, parts)
    np.testing.assert_allclose(total, expected)
    assert Loss("spectrum_l1+waveform_l1").needs_phase and not Loss("absolute").needs_phase
    with pytest.raises(ValueError, match="loss='sdr' is unknown; use one of phase_sensitive, "):
        Loss("absolute+sdr")


@pytest.mark.parametrize("name", LOSSES)
def test_silence_has_a_gradient(name):
    shape = (1, 1, FRAMES, STFT.channels, STFT.bins)
    parts = parts_of(np.zeros(shape), np.zeros(shape))
    slope = jax.grad(lambda masks: LOSSES[name](masks, parts).sum())(jnp.zeros(shape))
    assert np.isfinite(slope).all()
