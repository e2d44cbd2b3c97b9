import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep.training.losses import LOG_FLOOR, LOSSES, error_energy, relative_errors


def spectrograms(seed: int = 0):
    rng = np.random.default_rng(seed)
    shape = (2, 5, 2, 9)
    vocals, accompaniment = (rng.normal(size=(*shape, 2)) @ [1, 1j] for _ in range(2))
    mask = rng.uniform(size=shape).astype(np.float32)
    return vocals, accompaniment, mask


def batch_of(vocals, accompaniment):
    stems = {"mixture": vocals + accompaniment, "vocals": vocals, "accompaniment": accompaniment}
    return {name: jnp.asarray(np.abs(value), jnp.float32) for name, value in stems.items()}


def test_error_energy_from_magnitudes_is_the_complex_error():
    vocals, accompaniment, mask = spectrograms()
    expected = np.abs(mask * (vocals + accompaniment) - vocals) ** 2
    np.testing.assert_allclose(
        error_energy(mask, **batch_of(vocals, accompaniment)), expected, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("example_loss", LOSSES.values(), ids=LOSSES)
def test_padding_does_not_count(example_loss):
    vocals, accompaniment, mask = spectrograms()
    valid = jnp.ones((2, 5), bool)
    whole = example_loss(mask, batch_of(vocals, accompaniment), valid)
    pad = ((0, 0), (0, 3), (0, 0), (0, 0))
    padded = {k: jnp.pad(v, pad) + 7 * (k == "vocals") for k, v in
              batch_of(vocals, accompaniment).items()}  # fmt: skip
    padded["vocals"] = padded["vocals"].at[:, :5].add(-7)
    ours = example_loss(jnp.pad(mask, pad), padded, jnp.pad(valid, ((0, 0), (0, 3))))
    np.testing.assert_allclose(ours, whole, rtol=1e-6)


def test_a_perfect_mask_of_a_mixture_without_phase_differences_loses_nothing():
    vocals, accompaniment, _ = (np.abs(value) for value in spectrograms())
    batch = batch_of(vocals, accompaniment)
    valid = jnp.ones((2, 5), bool)
    for example_loss in LOSSES.values():
        loss = example_loss(batch["vocals"] / batch["mixture"], batch, valid)
        np.testing.assert_allclose(loss, 0, atol=1e-5)


def test_louder_examples_weigh_no_more():
    vocals, accompaniment, mask = spectrograms()
    valid = jnp.ones((2, 5), bool)
    plain = relative_errors(error_energy, mask, batch_of(vocals, accompaniment), valid)
    gain = np.array([1.0, 50.0])[:, None, None, None]
    louder = batch_of(gain * vocals, gain * accompaniment)
    np.testing.assert_allclose(relative_errors(error_energy, mask, louder, valid), plain, rtol=2e-2)


def test_half_the_error_is_the_same_gain_for_loud_voices_and_quiet_ones():
    vocals, accompaniment, _ = spectrograms()
    valid, log_loss = jnp.ones((2, 5), bool), LOSSES["log_phase_sensitive"]
    for level in (1.0, 0.5):
        batch = batch_of(level * vocals, accompaniment)
        share = relative_errors(error_energy, jnp.zeros(vocals.shape), batch, valid)
        np.testing.assert_allclose(
            log_loss(jnp.zeros(vocals.shape), batch, valid),
            np.log(share / LOG_FLOOR + 1),
            rtol=1e-5,
        )


def test_the_absolute_loss_is_the_share_of_the_magnitudes_that_is_wrong():
    vocals, accompaniment, mask = spectrograms()
    batch = batch_of(vocals, accompaniment)
    wrong = np.abs(mask * np.asarray(batch["mixture"]) - batch["vocals"]).sum(axis=(1, 2, 3))
    expected = wrong / np.asarray(batch["mixture"]).sum(axis=(1, 2, 3))
    loss = LOSSES["absolute"](mask, batch, jnp.ones((2, 5), bool))
    np.testing.assert_allclose(loss, expected, rtol=2e-3)


@pytest.mark.parametrize("example_loss", LOSSES.values(), ids=LOSSES)
def test_silence_has_a_gradient(example_loss):
    shape = (1, 3, 2, 9)
    batch = {name: jnp.zeros(shape) for name in ("mixture", "vocals", "accompaniment")}
    valid = jnp.ones((1, 3), bool)
    slope = jax.grad(lambda mask: example_loss(mask, batch, valid).sum())(jnp.zeros(shape))
    assert np.isfinite(slope).all()
