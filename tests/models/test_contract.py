"""What every masker promises; see `jaxsep.models.masker.Masker`. A new masker needs a row here."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import models
from jaxsep.models.masker import observe
from jaxsep.stft_config import StftConfig

BATCH, FRAMES, SHORT = 2, 12, 7  # SHORT: frames of a shorter example


class Row(NamedTuple):
    """A masker's name, its fields, and what not all maskers promise."""

    name: str
    fields: dict[str, Any]
    causal: bool = True
    knows_levels: bool = False  # so a quieter song may get other masks


OPENUNMIX = {"hidden_size": 8, "num_layers": 2, "low_bins": 50}
BSRNN = {"features": 8, "hidden_size": 6, "num_layers": 1, "mask_size": 8}
NETWORKS = {"drums": OPENUNMIX, "vocals": {**OPENUNMIX, "hidden_size": 6, "num_layers": 1}}
CAUSAL = {"name": "openunmix", "bidirectional": False}
CAUSAL_NETWORKS = {name: {**net, **CAUSAL} for name, net in NETWORKS.items()}
LSTM = {"name": "lstm", "hidden_size": 8, "dropout": 0.5}
TWO = ["vocals", "drums"]
ROWS = {
    "mlp": Row("mlp", {"hidden_size": 8, "targets": TWO}),
    "lstm": Row("lstm", {"hidden_size": 8, "num_layers": 2}),
    "lstm of bands": Row("lstm", {"hidden_size": 8, "fine_bins": 8, "targets": TWO}),
    "lstm, limited": Row(
        "lstm", {"hidden_size": 8, "cell_limit": 0.1, "mask_limit": 2.0, "dropout": 0.5}
    ),
    "lstm of square roots": Row("lstm", {"hidden_size": 8, "exponent": 0.5}),
    "lstm, both ways": Row("lstm", {"hidden_size": 8, "bidirectional": True}, causal=False),
    "bsrnn": Row("bsrnn", {**BSRNN, "targets": TWO}),
    "bsrnn of magnitudes": Row(
        "bsrnn", {**BSRNN, "sees": "magnitude", "answers": "real", "dropout": 0.5}
    ),
    "bsrnn, both ways": Row(
        "bsrnn",
        {**BSRNN, "bidirectional": True, "across": "lstm", "normalise": False},
        causal=False,
        knows_levels=True,
    ),
    "openunmix": Row("openunmix", {**OPENUNMIX, "targets": TWO}, causal=False, knows_levels=True),
    "openunmix, causal": Row("openunmix", {**OPENUNMIX, "bidirectional": False}, knows_levels=True),
    "openunmix_targets": Row(
        "openunmix_targets", {"networks": NETWORKS}, causal=False, knows_levels=True
    ),
    "one each, magnitudes": Row(
        "one_each",
        {"networks": {"vocals": LSTM, "drums": {"name": "mlp", "hidden_size": 6}}},
    ),
    "one each, spectra": Row(
        "one_each",
        {"networks": {name: {"name": "tiny_complex", "hidden_size": 6} for name in TWO}},
    ),
    "one each, batches": Row(
        "one_each", {"networks": {**CAUSAL_NETWORKS, "bass": LSTM}}, knows_levels=True
    ),
    "spleeter": Row(
        "spleeter",
        {"window_frames": 64, "low_bins": 64, "filters": 1},
        causal=False,
        knows_levels=True,
    ),
}
# Of `tests.helpers`: the way for others to answer complex masks.
ROWS["tiny_complex"] = Row("tiny_complex", {"hidden_size": 8, "targets": TWO})
ALL = pytest.mark.parametrize("kind", ROWS)


def stft_of(channels: int = 2) -> StftConfig:
    return StftConfig(sample_rate=8000, channels=channels, n_fft=128, hop_length=32)


class Made(NamedTuple):
    """A masker, what it sees of noise, and its compiled `apply`."""

    masker: models.Masker
    variables: dict[str, Any]
    mixture: jax.Array
    apply: Any

    def masks(self, mixture: jax.Array, **kwargs) -> jax.Array:
        """Returns the masks `[batch, targets, frames, channels, bins]`."""
        carry = self.masker.initial_carry(len(mixture))
        return self.apply(self.variables, mixture, carry, **kwargs)[0]

    def masks_in_training(self, variables, mixture: jax.Array, key: jax.Array) -> jax.Array:
        kwargs = {"mutable": ["statistics"], "rngs": {"dropout": key}}
        carry = self.masker.initial_carry(len(mixture))
        (masks, _), _ = self.masker.apply(variables, mixture, carry, **kwargs)
        return masks


@functools.cache
def make(kind: str) -> Made:
    """Makes a masker whose parameters are its initial ones and some noise."""
    name, fields, *_ = ROWS[kind]
    masker, rng = models.create(name, stft_of(), **fields), np.random.default_rng(0)
    names = ("mean", "std", "log_mean", "log_std")
    statistics = {name: rng.uniform(0.5, 2, masker.stft.bins).astype("f4") for name in names}
    fresh = jax.jit(functools.partial(models.init, masker))(jax.random.key(0))
    variables = masker.with_statistics(fresh, statistics)
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype("f4"), variables["params"]
    )
    real, imaginary = rng.normal(0, 2, (2, BATCH, FRAMES, 2, masker.stft.bins))
    mixture = observe(masker, jnp.asarray(real + 1j * imaginary, jnp.complex64))
    return Made(masker, {**variables, "params": params}, mixture, jax.jit(masker.apply))


def test_every_masker_has_a_row():
    assert {row.name for row in ROWS.values()} == set(models.MASKERS)


@ALL
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_there_is_a_mask_for_each_target_channel_and_bin(kind, channels):
    name, fields, *_ = ROWS[kind]
    masker = models.create(name, stft_of(channels), **fields)
    spectrum = jnp.zeros((BATCH, FRAMES, channels, masker.stft.bins), jnp.complex64)

    def run():
        mixture, carry = observe(masker, spectrum), masker.initial_carry(BATCH)
        masks, after = masker.apply(models.init(masker, jax.random.key(0)), mixture, carry)
        return masks, carry, after

    masks, carry, after = jax.eval_shape(run)
    assert masks.shape == (BATCH, len(masker.targets), FRAMES, channels, masker.stft.bins)
    assert masks.dtype == masker.traits.mask_dtype
    assert carry == after  # in shapes
    assert hash(masker) == hash(models.create(name, stft_of(channels), **fields))


@pytest.mark.slow
@ALL
def test_masks_are_finite_and_each_targets_own(kind):
    made = make(kind)
    masks = np.asarray(made.masks(made.mixture))
    assert np.isfinite(masks).all()
    assert all(np.std(mask) > 0 for mask in masks.swapaxes(0, 1))
    for index in range(1, masks.shape[1]):
        assert np.abs(masks[:, 0] - masks[:, index]).max() > 1e-3


@ALL
def test_a_target_alone_gets_the_mask_that_it_gets_among_all(kind):
    made = make(kind)
    masks = made.masks(made.mixture)
    for index, target in enumerate(made.masker.targets):
        masker = made.masker.only([target])
        apply = made.apply if masker == made.masker else jax.jit(masker.apply)
        alone = made._replace(masker=masker, apply=apply).masks(made.mixture)
        found = alone[:, masker.targets.index(target)]
        np.testing.assert_allclose(found, masks[:, index], atol=1e-6)


@ALL
def test_gradients_reach_later_frames_only_in_windows_and_other_examples_never(kind):
    made = make(kind)
    assert (made.masker.traits.windows is None) == ROWS[kind].causal

    def early(mixture):
        return jnp.abs(made.masks(mixture)[0, :, :SHORT]).sum()

    gradient = np.abs(jax.jit(jax.grad(early))(made.mixture))
    assert gradient[0, :SHORT].max() > 0 == gradient[1].max()
    assert (gradient[0, SHORT:].max() == 0) == ROWS[kind].causal


@pytest.mark.slow
@ALL
def test_what_happens_in_training_alone_is_said(kind):
    made = make(kind)

    def first(mixture, key):
        return jnp.abs(made.masks_in_training(made.variables, mixture, key)[0]).sum()

    grad = jax.jit(jax.value_and_grad(first))
    (one, gradient), (same, _), (other, _) = (
        grad(made.mixture, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    assert bool(np.abs(gradient[1]).max() > 0) == made.masker.traits.mixes_examples
    assert one == same
    assert bool(one != other) == (made.masker.traits.dropout > 0)


@ALL
def test_the_carry_joins_pieces_to_the_whole(kind):
    made, pieces = make(kind), []
    if not ROWS[kind].causal:
        pytest.skip("goes in windows")
    carry = made.masker.initial_carry(BATCH)
    for piece in jnp.split(made.mixture, 3, axis=1):
        masks, carry = made.apply(made.variables, piece, carry)
        pieces.append(masks)
    found = jnp.concatenate(pieces, axis=2)
    np.testing.assert_allclose(found, made.masks(made.mixture), atol=1e-5)


@ALL
def test_a_quieter_song_gets_the_same_masks_unless_the_network_knows_levels(kind):
    made = make(kind)
    loud, quiet = made.masks(made.mixture), made.masks(0.25 * made.mixture)
    assert bool(np.abs(loud - quiet).max() > 1e-3) == ROWS[kind].knows_levels


@pytest.mark.slow
@ALL
def test_padding_does_not_change_the_masks_before_it(kind):
    made = make(kind)
    padded = made.mixture.at[0, SHORT:].set(9)
    valid = jnp.arange(FRAMES)[None] < jnp.array([[SHORT], [FRAMES]])
    masks = made.masks(padded, valid=valid)
    alone = made.masks(made.mixture[:, :SHORT])
    np.testing.assert_allclose(masks[0, :, :SHORT], alone[0], atol=1e-5)
    np.testing.assert_allclose(masks[1], made.masks(made.mixture)[1], atol=1e-5)


@pytest.mark.slow
@ALL
def test_silence_has_finite_masks_and_gradients(kind):
    made = make(kind)

    def total(params):
        variables, silence = {**made.variables, "params": params}, jnp.zeros_like(made.mixture)
        return jnp.abs(made.masks_in_training(variables, silence, jax.random.key(0))).sum()

    found = jax.jit(jax.value_and_grad(total))(made.variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.slow
@ALL
def test_bfloat16_gives_about_the_same_masks(kind):
    made = make(kind)
    rough = models.create(ROWS[kind].name, stft_of(), dtype="bfloat16", **ROWS[kind].fields)
    found = made._replace(masker=rough, apply=jax.jit(rough.apply)).masks(made.mixture)
    exact = made.masks(made.mixture)
    assert found.dtype == rough.traits.mask_dtype
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
