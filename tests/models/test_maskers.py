import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxsep import models
from jaxsep.models.layers import Normalise, from_bands, num_bands, to_bands
from jaxsep.models.lstm_scan import lstm_scan
from jaxsep.stft_config import StftConfig

MONO = StftConfig(sample_rate=8000, channels=1, n_fft=64, hop_length=16)
STEREO = StftConfig(sample_rate=8000, channels=2, n_fft=128, hop_length=32)


def magnitudes(stft: StftConfig, frames: int = 12, batch: int = 2) -> jax.Array:
    shape = (batch, frames, stft.channels, stft.bins)
    return jnp.asarray(np.random.default_rng(1).gamma(1.0, 2.0, shape), jnp.float32)


def predict(masker, variables, magnitude, **kwargs):
    return masker.apply(variables, magnitude, masker.initial_carry(len(magnitude)), **kwargs)[0]


@pytest.mark.parametrize("limit", [1.0, 2.0])
def test_masks_lie_within_limits(limit):
    masker = models.create("lstm", STEREO, hidden_size=8, mask_limit=limit)
    mask = predict(masker, models.init(masker, jax.random.key(0)), magnitudes(STEREO))
    assert 0 <= mask.min() < limit / 2 < mask.max() <= limit


def test_the_first_of_several_targets_gets_the_mask_of_its_share_of_the_weights():
    """The head has its outputs in the order of the targets, then channels, then bins."""
    both = models.create("lstm", STEREO, hidden_size=8, targets=("vocals", "drums"))
    one = models.create("lstm", STEREO, hidden_size=8, targets=("drums",))
    variables = models.init(both, jax.random.key(0))
    head = variables["params"]["mask"]["dense"]
    half = {name: leaf[..., leaf.shape[-1] // 2 :] for name, leaf in head.items()}
    params = {**variables["params"], "mask": {"dense": half}}
    masks = predict(both, variables, magnitudes(STEREO))
    alone = predict(one, {**variables, "params": params}, magnitudes(STEREO))
    np.testing.assert_allclose(masks[:, 1:], alone, atol=1e-6)


def test_bands_average_bins_and_give_each_bin_its_bands_value():
    bins = jnp.arange(33.0)
    bands = to_bands(bins, 8)
    octave_1, octave_2 = [8.5, 10.5, 12.5, 14.5], [17.5, 21.5, 25.5, 29.5]
    expected = [*range(8), *octave_1, *octave_2, 32]
    np.testing.assert_allclose(bands, expected)
    assert len(bands) == num_bands(33, 8)
    again = from_bands(bands, 8, 33)
    np.testing.assert_allclose(again[8:12], [8.5, 8.5, 10.5, 10.5])
    np.testing.assert_allclose(to_bands(again, 8), bands)


@pytest.mark.parametrize("fine_bins", [7, 12, 128])
def test_bands_that_do_not_fill_the_bins_are_refused(fine_bins):
    with pytest.raises(ValueError, match="power of two, be 64"):
        models.create("lstm", STEREO, fine_bins=fine_bins)


def test_a_song_behind_silence_looks_like_the_song_alone():
    normalise, song = Normalise(STEREO, level_seconds=1.0), magnitudes(STEREO)
    statistics = normalise.init(jax.random.key(0), song, jnp.zeros((2, 2)))
    alone, _ = normalise.apply(statistics, song, jnp.zeros((2, 2)))
    late, _ = normalise.apply(
        statistics, jnp.pad(song, ((0, 0), (500, 0), (0, 0), (0, 0))), jnp.zeros((2, 2))
    )
    np.testing.assert_allclose(late[:, 500:], alone, atol=1e-4)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_powers_of_magnitudes_are_relative_to_each_bins_mean(exponent):
    normalise = Normalise(STEREO, level_seconds=0.0, exponent=exponent)
    profile = jnp.linspace(0.1, 4, STEREO.bins)
    silence = jnp.zeros(STEREO.bins)
    song = jnp.stack([profile, 16 * profile, silence])[None, :, None].repeat(2, axis=2)
    variables = normalise.init(jax.random.key(0), song, jnp.zeros((1, 2)))
    variables["statistics"]["mean"] = profile
    features, _ = normalise.apply(variables, song.at[..., 5].multiply(9), jnp.zeros((1, 2)))
    features = features.reshape(3, 2, -1)
    np.testing.assert_allclose(features[0], features[1], rtol=1e-4)
    np.testing.assert_allclose(features[0, :, 5] / features[0, :, 4], 9**exponent, rtol=1e-4)
    assert features[2].max() == 0


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_scan_equals_flax(reverse):
    key = jax.random.key(0)
    x = jax.random.normal(key, (3, 7, 5))
    rnn = nn.RNN(nn.OptimizedLSTMCell(4), reverse=reverse, keep_order=True)
    variables = rnn.init(key, x)
    cell = variables["params"]["cell"]
    w_ih = jnp.concatenate([cell[f"i{gate}"]["kernel"] for gate in "ifgo"], axis=1)
    w_hh = jnp.concatenate([cell[f"h{gate}"]["kernel"] for gate in "ifgo"], axis=1)
    bias = jnp.concatenate([cell[f"h{gate}"]["bias"] for gate in "ifgo"])
    zero = (jnp.zeros((3, 4)), jnp.zeros((3, 4)))
    ours, _, _ = lstm_scan(x, zero, w_ih, w_hh, bias, reverse=reverse, unroll=2)
    np.testing.assert_allclose(ours, rnn.apply(variables, x), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [math.inf, 0.5])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradients_of_lstm_scan_are_those_that_jax_derives(recompute, reverse, limit):
    keys = jax.random.split(jax.random.key(0), 6)
    shapes = [(3, 7, 5), (5, 16), (4, 16), (16,), (3, 4), (3, 4)]
    arguments = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    valid = jnp.arange(7)[None] < jnp.array([[7], [4], [0]])
    weights = jax.random.normal(jax.random.key(1), (3, 7, 4))

    def derived(x, w_ih, w_hh, bias, h, c):
        """Runs frame by frame, in the plainest way."""
        outputs = [None] * 7
        for t in reversed(range(7)) if reverse else range(7):
            i, f, g, o = jnp.split(x[:, t] @ w_ih + h @ w_hh + bias[None], 4, axis=-1)
            new_c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            new_c = jnp.clip(new_c, -limit, limit)
            new_h = nn.sigmoid(o) * jnp.tanh(new_c)
            is_valid = valid[:, t, None]
            h, c = jnp.where(is_valid, new_h, h), jnp.where(is_valid, new_c, c)
            outputs[t] = h
        return jnp.sum(weights * jnp.stack(outputs, axis=1)) + jnp.sum(h * c)

    def ours(x, w_ih, w_hh, bias, *carry):
        kwargs = {"reverse": reverse, "valid": valid, "cell_limit": limit, "recompute": recompute}
        outputs, (h, c), _ = lstm_scan(x, carry, w_ih, w_hh, bias, **kwargs)
        return jnp.sum(weights * outputs) + jnp.sum(h * c)

    found, expected = (
        jax.value_and_grad(function, argnums=range(6))(*arguments) for function in (ours, derived)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


def test_the_cell_limit_holds_and_changes_nothing_before_it_can_be_reached():
    x, w_ih, w_hh = jnp.ones((1, 40, 1)), jnp.zeros((1, 8)), jnp.zeros((2, 8))
    bias = jnp.full(8, 20.0)  # all gates stand open
    zero = (jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    free, (_, far), _ = lstm_scan(x, zero, w_ih, w_hh, bias)
    limited, (_, near), seen = lstm_scan(x, zero, w_ih, w_hh, bias, cell_limit=8.0, watch=True)
    assert near.max() == seen["cell_max"] == 8 < 39 < far.max() <= 40
    np.testing.assert_array_equal(limited[:, :8], free[:, :8])


def test_dropout_is_drawn_in_training_alone():
    certain = models.create("lstm", STEREO, hidden_size=8)
    variables = models.init(certain, jax.random.key(0))
    masker = models.create("lstm", STEREO, hidden_size=8, dropout=0.5)
    magnitude = magnitudes(STEREO)
    drawn = [
        predict(masker, variables, magnitude, rngs={"dropout": jax.random.key(seed)})
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 1e-3
    expected = predict(certain, variables, magnitude)
    np.testing.assert_array_equal(predict(masker, variables, magnitude), expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "gru"},
        {"name": "mlp", "layers": 3},
        {"name": "lstm", "num_layers": 0},
        {"name": "lstm", "dropout": 1.0},
        {"name": "mlp", "hidden_size": 0},
        {"name": "mlp", "targets": ()},
        {"name": "lstm", "targets": ["vocals", "drums", "vocals"]},
        {"name": "lstm", "mask_limit": 0.0},
        {"name": "lstm", "unroll": 0},
        {"name": "lstm", "num_layers": 10**6},
        {"name": "lstm", "level_seconds": math.nan},
        {"name": "lstm", "parent": None},
        {"name": "mlp", "hidden_size": 1.5},
        {"name": "mlp", "hidden_size": -1},
        {"name": "mlp", "normalise": 1},
        {"name": "openunmix_targets", "networks": []},
        {"name": "openunmix_targets", "networks": {"vocals": []}},
        {"name": "openunmix_targets", "networks": {"../../vocals": {}}},
        {"name": "openunmix_targets", "networks": {"vocals": {"hidden_size": "x"}}},
        {"name": "openunmix_targets", "networks": {"vocals": {"low_bins": 10, "dtype": "f4"}}},
    ],
)
def test_unknown_models_and_fields_are_refused(fields):
    with pytest.raises(ValueError):
        models.create(stft=MONO, **fields)
