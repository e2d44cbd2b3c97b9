import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsep import models, sharding
from jaxsep.training import optimizer
from jaxsep.training.losses import LOSSES
from jaxsep.training.state import create_state
from jaxsep.training.step import make_train_step
from tests.helpers import TINY_STFT, batch_of


def make(*, dtype="float32", with_ema=False, learning_rate=1e-3, **fields):
    masker = models.create(stft=TINY_STFT, name="lstm", hidden_size=8, dtype=dtype)
    adam = optimizer.make_optimizer(grad_clip_norm=0.1)
    mesh = sharding.make_mesh()
    step = make_train_step(
        masker,
        adam,
        optax.constant_schedule(learning_rate),
        example_loss=LOSSES["phase_sensitive"],
        grad_clip_norm=0.1,
        mesh=mesh,
        **fields,
    )
    variables = models.init(masker, jax.random.key(0))
    return step, sharding.replicate(create_state(variables, adam, with_ema=with_ema), mesh)


def test_a_batch_in_parts_gives_the_same_update():
    results = []
    for parts in (1, 2, 4):
        step, state = make(grad_accum_steps=parts)
        state, metrics = step(state, batch_of(), 1.0)
        results.append((metrics["loss"], metrics["grad_norm"]))
    np.testing.assert_allclose(results[1:], [results[0]] * 2, rtol=1e-5)


def test_bfloat16_computes_roughly_the_same_and_keeps_float32():
    step, state = make()
    _, exact = step(state, batch_of(), 1.0)
    step, state = make(dtype="bfloat16")
    state, rough = step(state, batch_of(), 1.0)
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, rough["loss"]))} == {
        jnp.dtype("float32")
    }
    assert rough["loss"] != exact["loss"]
    np.testing.assert_allclose(rough["loss"], exact["loss"], rtol=0.02)
    np.testing.assert_allclose(rough["grad_norm"], exact["grad_norm"], rtol=0.05)


def test_the_average_follows_the_parameters():
    step, state = make(with_ema=True, ema_decay=0.999)
    expected = state.params
    for number in range(3):
        state, _ = step(state, batch_of(), 1.0)
        decay = (1 + number) / (10 + number)
        expected = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, expected, state.params)
    equal = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    jax.tree.map(equal, state.ema_params, expected)
    assert state.variables["params"] is state.ema_params


def test_the_factor_scales_the_learning_rate():
    step, state = make()
    whole, metrics = step(state, batch_of(), 1.0)
    tenth, less = step(state, batch_of(), 0.1)
    assert less["learning_rate"] == pytest.approx(0.1 * metrics["learning_rate"])
    moved = [optax.tree.norm(optax.tree.sub(s.params, state.params)) for s in (whole, tenth)]
    np.testing.assert_allclose(moved[1], 0.1 * moved[0], rtol=1e-3)


@pytest.mark.parametrize("kind", optimizer.SCHEDULES)
def test_the_rate_rises_and_falls_as_asked(kind):
    schedule = optimizer.make_schedule(kind, 0.5, warmup_steps=10, num_train_steps=100)
    rates = [float(schedule(step)) for step in (0, 5, 10, 55, 100)]
    half, end = {"cosine": (0.2525, 0.005), "linear": (0.2525, 0.005), "constant": (0.5, 0.5)}[kind]
    np.testing.assert_allclose(rates, [0, 0.25, 0.5, half, end], rtol=1e-5)


def test_a_plateau_lowers_the_rate_again_and_again():
    scores = [1.0, 2.0, 2.0, 1.5, 3.0, 2.9, 2.8, 2.7, 2.6]
    scales = [optimizer.plateau_scale(scores[:n], patience=2, factor=0.5) for n in range(10)]
    assert scales == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert optimizer.plateau_scale(scores, patience=0, factor=0.5) == 1
    assert optimizer.validations_since_best(scores) == 4
    assert optimizer.validations_since_best([]) == 0
