"""Open-Unmix's network in training: batch normalisation, dropout, and PyTorch's own numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.trial import begin
from configs import openunmix as recipe
from jaxsep import models, sharding
from jaxsep.models.layers import BatchNorm
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.separation.separator import Separator
from jaxsep.training import config_checks, health, optimizer, setup
from jaxsep.training.loop import train_and_evaluate
from jaxsep.training.losses import Loss
from jaxsep.training.step import step_key
from tests.helpers import TINY_OPENUNMIX, TINY_STFT, batch_of, raise_at_step, restored, tiny_config

FIELDS = {"name": "openunmix", **TINY_OPENUNMIX}


def config_of(dataset, **changes):
    small = {"model.low_bins": 100, "model.num_layers": 2, "crop_frames": 8}
    return tiny_config(dataset, "openunmix", **{**small, **changes})


def make(seed: int = 0):
    """Makes a masker, its training step and the first state."""
    masker = models.create(stft=TINY_STFT, **FIELDS)
    adam = optimizer.make_optimizer(lambda step: 1e-3, grad_clip_norm=float("inf"))
    return masker, *begin(masker, models.init(masker, jax.random.key(0)), adam, seed=seed)


def test_batches_are_normalised_by_their_own_statistics_which_the_running_ones_follow():
    x = np.random.default_rng(0).normal(3, 2, (2, 6, 4)).astype("f4")
    valid = np.arange(6) < np.array([[6], [4]])
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), jnp.asarray(x))
    arrays = jnp.asarray(x), jnp.asarray(valid)
    found, changed = norm.apply(variables, *arrays, mutable=["statistics"])
    rows = x[valid]
    expected = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    running = jax.tree.map(np.asarray, changed["statistics"])
    np.testing.assert_allclose(running["mean"], 0.1 * rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * rows.var(0, ddof=1), rtol=1e-5)
    separating = norm.apply({**variables, **changed}, *arrays)
    expected = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5)
    np.testing.assert_allclose(separating, expected, atol=1e-5)


def test_dropout_depends_on_seed_and_step_alone_and_separation_has_none():
    masker, _, state = make()
    mixture = jnp.asarray(batch_of()["mixture"], jnp.float32)
    predict = functools.partial(
        masker.apply, state.variables, mixture, masker.initial_carry(len(mixture))
    )
    keys = [step_key(0, 3), step_key(0, 3), step_key(0, 4), step_key(1, 3)]
    one, same, later, other = (predict(rngs={"dropout": key})[0] for key in keys)
    np.testing.assert_array_equal(one, same)
    assert all(np.abs(one - mask).max() > 1e-3 for mask in (later, other, predict()[0]))


def test_dropout_lies_between_recurrent_layers_alone():
    masker = models.create(stft=TINY_STFT, **{**FIELDS, "num_layers": 1, "dropout": 0.5})
    mixture = jnp.asarray(batch_of()["mixture"], jnp.float32)
    variables = models.init(masker, jax.random.key(0))
    predict = functools.partial(masker.apply, variables, mixture, masker.initial_carry(4))
    certain, drawn = predict()[0], predict(rngs={"dropout": jax.random.key(1)})[0]
    np.testing.assert_array_equal(certain, drawn)


def test_the_input_is_scaled_by_the_data_sets_statistics_at_first():
    masker, _, state = make()
    statistics = {"mean": np.arange(129.0) + 2, "std": np.arange(129.0) + 5}
    variables = masker.with_statistics(state.variables, statistics)
    np.testing.assert_allclose(variables["params"]["input"]["mean"], -np.arange(100.0) - 2)
    np.testing.assert_allclose(variables["params"]["input"]["scale"], 1 / (np.arange(100.0) + 5))


def test_a_step_moves_the_statistics_and_a_failed_one_does_not():
    _, step, state = make()
    before = jax.tree.map(np.array, state.statistics)
    state, _ = step(state, batch_of(), 0)
    after = jax.tree.map(np.array, state.statistics)
    moved = optax.tree.sub(after, before)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(moved))
    bad = {**batch_of(), "mixture": batch_of()["mixture"].at[1].set(jnp.inf)}
    state, metrics = step(state, bad, 0)
    assert metrics["skipped"] == 1
    jax.tree.map(np.testing.assert_array_equal, state.statistics, after)


def test_a_look_into_the_layers_sees_the_step_itself():
    masker, step, state = make(seed=5)
    state, _ = step(state, batch_of(), 0)
    examine = health.make_examine(
        masker,
        loss=Loss("mean_square"),
        mesh=sharding.make_mesh(),
        grad_accum_steps=1,
        seed=5,
    )
    before = jax.tree.map(np.array, state)
    after, metrics = step(state, batch_of(), 0)
    seen = examine(before.params, after.params, before.statistics, batch_of(), before.step)
    np.testing.assert_allclose(seen["loss"], metrics["loss"], rtol=1e-6)
    assert "dropout_1" in health.layer_names(masker)


def test_decay_is_added_to_the_gradient_behind_the_clipping():
    params, grads = jnp.array([2.0, -3.0]), jnp.array([30.0, 40.0])
    rate = optimizer.make_schedule("constant", 1e-3, 0, 10)
    decaying = optimizer.make_optimizer(rate, grad_clip_norm=5.0, weight_decay=0.1)
    plain = optimizer.make_optimizer(rate, grad_clip_norm=float("inf"))
    states = decaying.init(params), plain.init(params)
    for _ in range(3):
        ours, first = decaying.update(grads, states[0], params)
        expected, second = plain.update(grads / 10 + 0.1 * params, states[1], params)
        states, grads = (first, second), -grads
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights_and_statistics(
    tiny_dataset, tmp_path, monkeypatch
):
    config = config_of(tiny_dataset, ema_decay=0.9)
    train_and_evaluate(config, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(sharding, "to_global_batch", raise_at_step(6))
        train_and_evaluate(config, tmp_path / "crashed")
    train_and_evaluate(config, tmp_path / "crashed")
    whole, crashed = (restored(tmp_path / name, 6) for name in ("whole", "crashed"))
    jax.tree.map(np.testing.assert_array_equal, whole, crashed)
    assert np.abs(whole["statistics"]["norm_1"]["mean"]).max() > 0
    separator = Separator.restore(tmp_path / "whole")
    assert separator(np.zeros((800, 2), np.float32), 8000)["vocals"].shape == (800, 2)


def test_a_batch_in_parts_is_refused(tiny_dataset):
    config = config_of(tiny_dataset, grad_accum_steps=2)
    with pytest.raises(config_checks.ConfigError, match="grad_accum_steps=2 must be 1 for"):
        setup.set_up(config)


def test_the_recipe_has_three_sizes():
    sizes = [recipe.get_config(name).model for name in ("full", "unidirectional", "large")]
    assert [(size.hidden_size, size.bidirectional) for size in sizes] == [
        (512, True), (512, False), (1024, True)
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"openunmix.py:huge is unknown"):
        recipe.get_config("huge")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_losses_equal_the_packages(openunmix_package, bidirectional):
    from benchmarks.open_unmix.training import compare_losses

    masker = OpenUnmixMasker(TINY_STFT, **TINY_OPENUNMIX, bidirectional=bidirectional, dropout=0.0)
    ours, theirs = compare_losses(masker, (4, 16), steps=20)
    assert ours[-1] < ours[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
