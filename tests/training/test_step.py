import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsep import models, sharding
from jaxsep.training import health, optimizer
from jaxsep.training.losses import Loss
from jaxsep.training.state import create_state
from jaxsep.training.step import make_train_step
from tests.helpers import TINY_STFT, batch_of


def make(*, dtype="float32", with_ema=False, schedule=lambda step: 1e-3, **fields):
    masker = models.create(stft=TINY_STFT, name="lstm", hidden_size=8, dtype=dtype)
    adam = optimizer.make_optimizer(schedule, grad_clip_norm=0.1)
    mesh = sharding.make_mesh()
    settings = {"grad_accum_steps": 1, "ema_decay": 0.0, "seed": 0, **fields}
    step = make_train_step(
        masker,
        adam,
        loss=Loss("phase_sensitive"),
        grad_clip_norm=0.1,
        mesh=mesh,
        **settings,
    )
    variables = models.init(masker, jax.random.key(0))
    return step, sharding.replicate(create_state(variables, adam, with_ema=with_ema), mesh)


def test_a_batch_in_parts_gives_the_same_update():
    results = []
    for parts in (1, 2, 4):
        step, state = make(grad_accum_steps=parts)
        state, metrics = step(state, batch_of(), 0)
        moments = state.opt_state.inner_state  # linear in the gradient, unlike Adam's first update
        results.append(kept((metrics["loss"], metrics["grad_norm"], moments)))
        assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-8)
        jax.tree.map(assert_close, results[-1], results[0])


def test_parts_of_a_batch_drop_units_of_their_own_and_the_same_ones_again():
    twins = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4, axis=0), batch_of())
    losses = []
    for seed in (0, 0, 1):
        masker = models.create(stft=TINY_STFT, name="lstm", hidden_size=8, dropout=0.5)
        variables = models.init(masker, jax.random.key(0))
        fields = {"loss": Loss("phase_sensitive"), "mesh": sharding.make_mesh()}
        examine = health.make_examine(masker, **fields, grad_accum_steps=2, seed=seed)
        params = variables["params"]
        found = examine(params, params, variables["statistics"], twins, 0)
        losses.append(np.asarray(found["examples"]["loss"]))
    np.testing.assert_array_equal(losses[0], losses[1])
    assert len({*losses[0].tolist(), *losses[2].tolist()}) == 8


def test_adamw_shrinks_matrices_alone_and_adam_by_its_gradient():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    grads = jax.tree.map(jnp.zeros_like, params)
    moved = {}
    for name in optimizer.OPTIMIZERS:
        made = optimizer.make_optimizer(
            lambda step: 0.5, grad_clip_norm=1.0, name=name, weight_decay=0.1
        )
        updates, _ = made.update(grads, made.init(params), params)
        moved[name] = {leaf: float(update.ravel()[0]) for leaf, update in updates.items()}
    assert moved["adamw"] == {"kernel": pytest.approx(-0.05), "bias": 0.0}
    assert moved["adam"] == {"kernel": pytest.approx(-0.5, 1e-4), "bias": pytest.approx(-0.5, 1e-4)}
    with pytest.raises(ValueError, match="optimizer='lion' is unknown; use one of adam, adamw"):
        optimizer.make_optimizer(lambda step: 0.5, grad_clip_norm=1.0, name="lion")


def test_bfloat16_computes_roughly_the_same_and_keeps_float32():
    step, state = make()
    _, exact = step(state, batch_of(), 0)
    step, state = make(dtype="bfloat16")
    state, rough = step(state, batch_of(), 0)
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, rough["loss"]))} == {
        jnp.dtype("float32")
    }
    assert rough["loss"] != exact["loss"]
    np.testing.assert_allclose(rough["loss"], exact["loss"], rtol=0.02)
    np.testing.assert_allclose(rough["grad_norm"], exact["grad_norm"], rtol=0.05)


def kept(tree):
    """Copies arrays off the device, before a step that donates them."""
    return jax.tree.map(np.array, tree)


def test_the_average_follows_the_parameters():
    step, state = make(with_ema=True, ema_decay=0.999)
    expected = kept(state.params)
    for number in range(3):
        state, _ = step(state, batch_of(), 0)
        decay = (1 + number) / (10 + number)
        expected = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, expected, state.params)
    equal = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    jax.tree.map(equal, state.ema_params, expected)
    assert state.variables["params"] is state.ema_params


def poisoned():
    batch = batch_of()
    return {**batch, "mixture": batch["mixture"].at[1].set(jnp.inf)}


def test_a_failed_update_changes_nothing_but_the_counts():
    step, state = make(with_ema=True, ema_decay=0.5, schedule=lambda step: 0.1 / (1 + step))
    state, _ = step(state, batch_of(), 0)
    before = kept(state)
    state, metrics = step(state, poisoned(), 0)
    assert metrics["skipped"] == 1 and metrics["failed_in_row"] == 1 and state.step == 2
    for name in ("params", "ema_params", "statistics"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(state, name))
    jax.tree.map(
        np.testing.assert_array_equal, before.opt_state.inner_state, state.opt_state.inner_state
    )
    state, metrics = step(state, batch_of(), 1)
    assert metrics["learning_rate"] == pytest.approx(0.1 / 3)  # the schedule counts failed steps
    assert metrics["failed_in_row"] == 0


def test_a_gradient_of_exactly_zero_fails():
    step, state = make()
    silent = {name: leaf * 0 for name, leaf in batch_of().items()}
    state, metrics = step(state, {**silent, "num_frames": batch_of()["num_frames"]}, 0)
    assert metrics["grad_norm"] == 0 and metrics["skipped"] == 1


def test_a_state_waits_until_its_failure_is_seen():
    step, state = make()
    state, _ = step(state, poisoned(), 0)
    failed = kept(state)
    state, _ = step(state, batch_of(), 0)
    jax.tree.map(np.testing.assert_array_equal, failed, kept(state))
    state, metrics = step(state, batch_of(), 1)
    assert state.step == 2 and metrics["skipped"] == 0
    # What was seen before doesn't hold up a state that is sound again.
    state, metrics = step(state, batch_of(), 1)
    assert state.step == 3 and metrics["skipped"] == 0


def test_the_state_is_donated():
    step, state = make()
    following, _ = step(state, batch_of(), 0)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(following))


def test_a_plateau_scales_the_learning_rate():
    step, state = make()
    before, others = kept(state.params), kept(state)
    whole, metrics = step(state, batch_of(), 0)
    scaled = optimizer.with_plateau_scale(others.opt_state, np.float32(0.1))
    tenth, less = step(others.replace(opt_state=scaled), batch_of(), 0)
    assert less["learning_rate"] == pytest.approx(0.1 * metrics["learning_rate"])
    moved = [optax.tree.norm(optax.tree.sub(s.params, before)) for s in (whole, tenth)]
    np.testing.assert_allclose(moved[1], 0.1 * moved[0], rtol=1e-3)


@pytest.mark.parametrize("kind", optimizer.SCHEDULES)
def test_the_rate_rises_and_falls_as_asked(kind):
    schedule = optimizer.make_schedule(kind, 0.5, warmup_steps=10, num_train_steps=100)
    rates = [float(schedule(step)) for step in (0, 5, 10, 55, 100)]
    half, end = {"cosine": (0.2525, 0.005), "linear": (0.2525, 0.005), "constant": (0.5, 0.5)}[kind]
    np.testing.assert_allclose(rates, [0, 0.25, 0.5, half, end], rtol=1e-5)


def test_the_rise_takes_no_more_than_half_of_a_training():
    schedule = optimizer.make_schedule("linear", 1.0, warmup_steps=100, num_train_steps=10)
    rates = [float(schedule(step)) for step in (0, 5, 10)]
    np.testing.assert_allclose(rates, [0, 1, 0.01], rtol=1e-5)


def test_a_plateau_lowers_the_rate_again_and_again():
    scores = [1.0, 2.0, 2.0, 1.5, 3.0, 2.9, 2.8, 2.7, 2.6]
    scales = [optimizer.plateau_scale(scores[:n], patience=2, factor=0.5) for n in range(10)]
    assert scales == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert optimizer.plateau_scale(scores, patience=0, factor=0.5) == 1
    assert optimizer.validations_since_best(scores) == 4
    assert optimizer.validations_since_best([]) == 0
