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
KINDS = {
    "mlp": {"name": "mlp", "hidden_size": 8},
    "lstm": {"name": "lstm", "hidden_size": 8, "num_layers": 2},
    "lstm of bands": {"name": "lstm", "hidden_size": 8, "fine_bins": 8},
    "bidirectional": {"name": "lstm", "hidden_size": 8, "num_layers": 2, "bidirectional": True},
    "limited": {"name": "lstm", "hidden_size": 8, "cell_limit": 0.1, "mask_limit": 2.0},
}


def make(kind: str, stft: StftConfig = STEREO):
    masker = models.create(stft=stft, **KINDS[kind])
    variables = models.init(masker, jax.random.key(0))
    rng = np.random.default_rng(0)
    statistics = {name: rng.uniform(0.5, 2, stft.bins) for name in ("mean", "log_mean", "log_std")}
    return masker, models.with_statistics(variables, statistics)


def magnitudes(stft: StftConfig, frames: int = 12, batch: int = 2) -> jax.Array:
    shape = (batch, frames, stft.channels, stft.bins)
    return jnp.asarray(np.random.default_rng(1).gamma(1.0, 2.0, shape), jnp.float32)


def predict(masker, variables, magnitude, **kwargs):
    carry = masker.initial_carry(magnitude.shape[0])
    return masker.apply(variables, magnitude, carry, **kwargs)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stft", [MONO, STEREO], ids=["mono", "stereo"])
def test_masks_have_the_magnitudes_shape_and_lie_within_limits(kind, stft):
    masker, variables = make(kind, stft)
    mask = predict(masker, variables, magnitudes(stft))
    assert mask.shape == magnitudes(stft).shape
    limit = KINDS[kind].get("mask_limit", 1)
    assert 0 <= mask.min() < mask.max() <= limit
    assert mask.max() > limit / 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_quieter_song_gets_the_same_masks(kind):
    masker, variables = make(kind)
    loud = predict(masker, variables, magnitudes(STEREO))
    quiet = predict(masker, variables, 0.25 * magnitudes(STEREO))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)


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
    _, variables = make("lstm")
    normalise = Normalise(STEREO, level_seconds=1.0)
    statistics = {"statistics": variables["statistics"]["normalise"]}
    song = magnitudes(STEREO)
    alone, _ = normalise.apply(statistics, song, jnp.zeros((2, 2)))
    late, _ = normalise.apply(
        statistics, jnp.pad(song, ((0, 0), (500, 0), (0, 0), (0, 0))), jnp.zeros((2, 2))
    )
    np.testing.assert_allclose(late[:, 500:], alone, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_gives_finite_masks_and_gradients(kind):
    masker, variables = make(kind)

    def total(params):
        silence = jnp.zeros_like(magnitudes(STEREO))
        return predict(masker, {**variables, "params": params}, silence).sum()

    value, grads = jax.value_and_grad(total)(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, grads)))


@pytest.mark.parametrize("kind", KINDS)
def test_is_causal_tells_whether_later_frames_matter(kind):
    masker, variables = make(kind)

    def early(magnitude):
        return predict(masker, variables, magnitude)[:, :6].sum()

    gradient = jax.grad(early)(magnitudes(STEREO))
    assert bool(jnp.abs(gradient[:, 6:]).max() == 0) == masker.is_causal


@pytest.mark.parametrize("kind", ["mlp", "lstm", "limited"])
def test_the_carry_joins_pieces_to_the_whole(kind):
    masker, variables = make(kind)
    magnitude = magnitudes(STEREO)
    carry, pieces = masker.initial_carry(2), []
    for piece in (magnitude[:, :1], magnitude[:, 1:8], magnitude[:, 8:]):
        mask, carry = masker.apply(variables, piece, carry)
        pieces.append(mask)
    whole = predict(masker, variables, magnitude)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_change_the_masks_before_it(kind):
    masker, variables = make(kind)
    magnitude = magnitudes(STEREO)
    padded = jnp.pad(magnitude, ((0, 0), (0, 5), (0, 0), (0, 0)))
    valid = jnp.broadcast_to(jnp.arange(17) < 12, (2, 17))
    masks = predict(masker, variables, padded, valid=valid)[:, :12]
    np.testing.assert_allclose(masks, predict(masker, variables, magnitude), atol=1e-6)


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


@pytest.mark.parametrize("limit", [math.inf, 0.5])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_gradients_of_lstm_scan_are_those_that_jax_derives(reverse, limit):
    keys = jax.random.split(jax.random.key(0), 6)
    shapes = [(3, 7, 5), (5, 16), (4, 16), (16,), (3, 4), (3, 4)]
    arguments = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    valid = jnp.arange(7) < jnp.array([[7], [4], [0]])
    weights = jax.random.normal(jax.random.key(1), (3, 7, 4))

    def derived(x, w_ih, w_hh, bias, h, c):
        """Runs frame by frame, in the plainest way."""
        outputs = [None] * 7
        for t in reversed(range(7)) if reverse else range(7):
            i, f, g, o = jnp.split(x[:, t] @ w_ih + h @ w_hh + bias, 4, axis=-1)
            new_c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            new_c = jnp.clip(new_c, -limit, limit)
            new_h = nn.sigmoid(o) * jnp.tanh(new_c)
            is_valid = valid[:, t, None]
            h, c = jnp.where(is_valid, new_h, h), jnp.where(is_valid, new_c, c)
            outputs[t] = h
        return jnp.sum(weights * jnp.stack(outputs, axis=1)) + jnp.sum(h * c)

    def ours(x, w_ih, w_hh, bias, *carry):
        weights_and_bias = w_ih, w_hh, bias
        outputs, (h, c), _ = lstm_scan(
            x, carry, *weights_and_bias, reverse=reverse, valid=valid, cell_limit=limit
        )
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
    certain, variables = make("lstm")
    masker = models.create(stft=STEREO, **KINDS["lstm"], dropout=0.5)
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
        {"name": "lstm", "mask_limit": 0.0},
    ],
)
def test_unknown_models_and_fields_are_refused(fields):
    with pytest.raises(ValueError):
        models.create(stft=MONO, **fields)
