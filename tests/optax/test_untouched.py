"""Nothing that the range test is given changes, whether it ends well or not."""

from __future__ import annotations

import gc
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

import cyclerate.optax as co
from tests.optax.problems import BATCHES, FEATURES, PARAMS, loss_fn

CALM = {"method": "range", "start_lr": 1e-3, "end_lr": 0.1, "steps": 20}


def momentum(rate):
    return optax.sgd(rate, momentum=0.9)


def stateful(params, batch, state, rng):
    return loss_fn(params, batch) + 0.01 * jax.random.normal(rng), {"mean": state["mean"] + 1.0}


class Failure(Exception):
    pass


def failing_with(error):
    def batches():
        yield from BATCHES[:2]
        np.random.random()  # noqa: NPY002 - the data use the global generators before they fail
        random.random()
        raise error

    return batches


def everything():
    """What a caller holds: arrays on the device and in NumPy, and the global generators."""
    params = {"w": jnp.ones(FEATURES), "b": np.ones((), np.float32)}
    state = momentum(0.1).init(params)
    _, state = momentum(0.1).update(jax.tree.map(jnp.ones_like, params), state, params)
    return {
        "params": params,
        "opt_state": state,
        "model_state": {"mean": jnp.float32(3.0)},
        "rng": jax.random.key(1),
    }


@pytest.mark.parametrize("error", [None, Failure(), KeyboardInterrupt()], ids=repr)
def test_arrays_and_generators_are_as_they_were(error):
    held = everything()
    leaves = jax.tree.leaves(held)
    values = [np.array(jax.random.key_data(x) if x is held["rng"] else x) for x in leaves]
    generators = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    data = BATCHES if error is None else failing_with(error)

    def run():
        return co.range_test(stateful, make_optimizer=momentum, data=data, **held, **CALM)

    if error is None:
        first = run()
        assert_array_equal(run().losses, first.losses)
    else:
        with pytest.raises(type(error)):
            run()
    assert all(a is b for a, b in zip(jax.tree.leaves(held), leaves, strict=True))
    for leaf, value in zip(leaves, values, strict=True):
        now = np.array(jax.random.key_data(leaf) if leaf is held["rng"] else leaf)
        assert_array_equal(now, value)
    assert random.getstate() == generators[0]
    assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], generators[1])  # noqa: NPY002


def test_it_holds_one_copy_while_it_runs_and_nothing_afterwards():
    params = jnp.ones((256, 256))
    held_bytes = []

    def live_bytes():
        gc.collect()
        return sum(array.nbytes for array in jax.live_arrays())

    def batches():
        for _ in range(4):
            yield np.ones(1, np.float32)
        held_bytes.append(live_bytes() - before)

    before = live_bytes()
    co.range_test(lambda p, b: jnp.mean(p * b), params, momentum, batches, **CALM)
    copy = 2 * params.nbytes  # the parameters and the momentum
    assert copy <= min(held_bytes) <= max(held_bytes) < 1.01 * copy
    assert live_bytes() - before < 1000


def test_a_half_trained_optimizer_goes_on_with_its_moments():
    params, state = PARAMS, momentum(0.05).init(PARAMS)
    for batch in BATCHES:
        grads = jax.grad(loss_fn)(params, batch)
        updates, state = momentum(0.05).update(grads, state, params)
        params = optax.apply_updates(params, updates)
    fresh = co.range_test(loss_fn, params, momentum, BATCHES, **CALM)
    going_on = co.range_test(loss_fn, params, momentum, BATCHES, opt_state=state, **CALM)
    assert going_on.losses[0] == fresh.losses[0]
    grads = jax.grad(loss_fn)(params, BATCHES[0])
    updates, _ = momentum(1e-3).update(grads, state, params)
    second = loss_fn(optax.apply_updates(params, updates), BATCHES[1])
    np.testing.assert_allclose(going_on.losses[1], second, rtol=1e-5)
    assert abs(fresh.losses[1] - float(second)) > 1e-3 * float(second)


def test_an_injected_state_is_swept_with_what_its_user_set_in_it():
    def make_optimizer(rate):
        return optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=0.9)

    state = make_optimizer(0.3).init(PARAMS)
    set_by_hand = optax.tree.set(state, momentum=jnp.float32(0.2))
    swept = co.range_test(loss_fn, PARAMS, make_optimizer, BATCHES, opt_state=set_by_hand, **CALM)
    by_hand = co.range_test(loss_fn, PARAMS, lambda r: optax.sgd(r, 0.2), BATCHES, **CALM)
    np.testing.assert_allclose(swept.losses, by_hand.losses, rtol=1e-5)
    assert float(set_by_hand.hyperparams["learning_rate"]) == np.float32(0.3)


def test_a_state_trained_with_a_schedule_is_refused_with_the_remedy():
    schedule = optax.cosine_decay_schedule(0.1, 100)
    state = optax.adam(schedule).init(PARAMS)
    with pytest.raises(ValueError, match=r"lambda step: rate.*\[1\]\.count is int32\[\]"):
        co.range_test(loss_fn, PARAMS, optax.adam, BATCHES, opt_state=state, **CALM)
    remedy = co.range_test(
        loss_fn, PARAMS, lambda r: optax.adam(lambda step: r), BATCHES, opt_state=state, **CALM
    )
    assert remedy.steps == 20
