"""The band-split masker's own: its bands, and what each sees of the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import models
from jaxsep.models.band_split import MOST_PADDING, BandMasks, Bands, BandSplit
from jaxsep.models.bsrnn import TABLES, make_bands
from jaxsep.stft_config import StftConfig

WIDTHS = (2, 3, 2, 8, 9, 30)
ROWS, PLANES = 4, 2


def starts(widths) -> np.ndarray:
    return np.cumsum([0, *widths])


@pytest.mark.parametrize(("table", "count"), [("vocals", 41), ("drums", 55), ("bass", 30)])
def test_the_published_tables_have_as_many_bands_as_published(table, count):
    assert len(make_bands(table, StftConfig(n_fft=2048, hop_length=512)).widths) == count


def test_bands_are_as_wide_as_their_table_says():
    widths = make_bands("vocals", StftConfig(n_fft=2048, hop_length=512)).widths
    assert widths[:10] == (5, 4, 5, 5, 4, 5, 5, 4, 5, 4)  # 100 Hz are 4.6 bins
    assert set(widths[10:22]) == {11, 12} and set(widths[22:30]) == {23, 24}
    assert set(widths[30:38]) == {46, 47} and widths[38:] == (93, 93, 96)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 96000])
@pytest.mark.parametrize("n_fft", [64, 1024, 4096])
def test_bands_fill_all_bins_at_any_rate(table, sample_rate, n_fft):
    stft = StftConfig(sample_rate=sample_rate, n_fft=n_fft, hop_length=n_fft // 4)
    widths = make_bands(table, stft).widths
    assert sum(widths) == stft.bins
    assert min(widths) >= 1


def test_groups_hold_neighbouring_bands_with_little_padding():
    groups = Bands(WIDTHS).groups
    assert [list(group.widths) for group in groups] == [[2, 3, 2], [8, 9], [30]]
    assert np.concatenate([group.lows for group in groups]).tolist() == list(starts(WIDTHS)[:-1])
    assert all(group.inside.mean() >= 1 - MOST_PADDING for group in groups)


@pytest.mark.parametrize("normalise", [False, True])
def test_a_bands_features_see_its_bins_alone(normalise):
    split = BandSplit(Bands(WIDTHS), 4, normalise)
    x = jax.random.normal(jax.random.key(0), (ROWS, PLANES, sum(WIDTHS)))
    variables = split.init(jax.random.key(1), x, jnp.ones(ROWS))
    edges = starts(WIDTHS)
    for band in range(len(WIDTHS)):

        def total(x, band=band):
            return jnp.abs(split.apply(variables, x, jnp.ones(ROWS))[:, band]).sum()

        seen = np.flatnonzero(np.abs(jax.grad(total)(x)).max(axis=(0, 1)))
        assert seen.tolist() == list(range(edges[band], edges[band + 1]))


def test_a_louder_band_has_the_same_shape_and_another_level():
    split = BandSplit(Bands(WIDTHS), 4, True)
    x = jax.random.normal(jax.random.key(0), (ROWS, PLANES, sum(WIDTHS)))
    variables = split.init(jax.random.key(1), x, jnp.ones(ROWS))
    apply = jax.jit(split.apply)
    params = variables["params"]
    levels = {name: jnp.ones_like(leaf) for name, leaf in params.items() if "level" in name}
    variables = {"params": {**params, **levels}}
    change = apply(variables, 8 * x, jnp.ones(ROWS)) - apply(variables, x, jnp.ones(ROWS))
    np.testing.assert_allclose(change, np.full(change.shape, np.log(8)), atol=1e-3)
    same = apply(variables, 8 * x, jnp.full(ROWS, 8.0))  # as the song is, too
    np.testing.assert_allclose(same, apply(variables, x, jnp.ones(ROWS)), atol=1e-4)


def test_a_bins_mask_is_its_own_bands():
    head = BandMasks(Bands(WIDTHS), 5, PLANES)
    x = jax.random.normal(jax.random.key(0), (ROWS, len(WIDTHS), 4))
    variables = head.init(jax.random.key(1), x)
    edges = starts(WIDTHS)
    for band in range(len(WIDTHS)):
        changed = head.apply(variables, x.at[:, band].add(1.0)) - head.apply(variables, x)
        touched = np.flatnonzero(np.abs(changed).max(axis=(0, 1)))
        assert touched.tolist() == list(range(edges[band], edges[band + 1]))


def test_magnitudes_say_nothing_about_phases():
    with pytest.raises(ValueError, match='"complex" needs sees="spectrum"'):
        models.create("bsrnn", StftConfig(), sees="magnitude")


@pytest.mark.parametrize("field", ["features", "hidden_size", "num_layers", "mask_size"])
def test_no_size_is_zero(field):
    with pytest.raises(ValueError, match=f"{field}=0 must be"):
        models.create("bsrnn", StftConfig(), **{field: 0})
