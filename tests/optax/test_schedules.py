"""Schedules are Optax schedules as they are: what an optimizer uses is what the schedule says."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import cyclerate as cr
from tests.schedules.policies import EXAMPLES

STEPS = 120
PARAMS = {"w": jnp.zeros(3), "b": jnp.zeros(())}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)
CYCLE = cr.Triangular(0.01, 0.1, step_size=20)

# Equal to the plain Python values up to float32; near zero up to an absolute difference.
CLOSE: dict[str, Any] = {"rtol": 2e-6, "atol": 1e-9}


def moves(optimizer, steps=STEPS, grads=GRADS, params=PARAMS):
    """What `optimizer` subtracts from the parameter `b` at each step, compiled as one loop."""

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), -updates["b"]

    @jax.jit
    def loop(params, state):
        return jax.lax.scan(step, (params, state), None, length=steps)[1]

    return np.asarray(loop(params, optimizer.init(params)))


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_sgd_moves_by_the_rates_of_every_policy(schedule):
    # With a gradient of one, what is subtracted is the rate itself.
    assert_allclose(moves(optax.sgd(schedule)), schedule(np.arange(STEPS)), **CLOSE)


def test_adamw_with_one_cycle_under_jit():
    schedule = cr.OneCycle(max_lr=0.1, total_steps=STEPS)
    optimizer = optax.adamw(learning_rate=schedule, weight_decay=0.0, eps=0.0)
    # Of a constant gradient, Adam's normalised step is one (up to its running powers in float32).
    assert_allclose(moves(optimizer), schedule(np.arange(STEPS)), rtol=1e-4)


def test_adamw_scales_its_weight_decay_by_the_schedule():
    optimizer = optax.adamw(learning_rate=CYCLE, weight_decay=0.5)
    params, grads = {"b": jnp.float32(1.0)}, {"b": jnp.float32(0.0)}
    kept = np.cumprod(np.concatenate([[1.0], 1.0 - 0.5 * CYCLE(np.arange(40))]))
    decays = moves(optimizer, steps=40, grads=grads, params=params)
    assert_allclose(decays, -np.diff(kept), rtol=1e-5)


def test_mirrored_momentum_by_inject_hyperparams():
    momentum = CYCLE.mirrored(0.85, 0.95)
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=CYCLE, momentum=momentum)
    velocity, expected = 0.0, []
    for t in range(STEPS):
        velocity = momentum(t) * velocity + 1.0
        expected.append(CYCLE(t) * velocity)
    assert_allclose(moves(optimizer), expected, rtol=1e-5)


def test_inject_hyperparams_shows_the_values_in_use():
    schedules = {
        "learning_rate": CYCLE,
        "b1": CYCLE.mirrored(0.85, 0.95),
        "weight_decay": cr.Cosine(1e-2, 1e-4, 30),
    }
    optimizer = optax.inject_hyperparams(optax.adamw)(**schedules)
    update, state = jax.jit(optimizer.update), optimizer.init(PARAMS)
    used = []
    for _ in range(50):
        _, state = update(GRADS, state, PARAMS)
        used.append({name: float(state.hyperparams[name]) for name in schedules})
    for name, schedule in schedules.items():
        assert_allclose([values[name] for values in used], schedule(np.arange(50)), rtol=2e-6)


def test_multi_steps_counts_updates_not_batches():
    optimizer = optax.MultiSteps(optax.sgd(CYCLE), every_k_schedule=4)
    subtracted = moves(optimizer, steps=160)
    assert_allclose(subtracted[3::4], CYCLE(np.arange(40)), rtol=2e-6)
    assert not subtracted.reshape(40, 4)[:, :3].any()


def test_each_part_of_a_partition_has_its_own_schedule():
    slow = cr.WarmRestarts(0.01, 10, cycle_mult=2)
    optimizer = optax.partition(
        {"fast": optax.sgd(CYCLE), "slow": optax.sgd(slow)}, {"w": "fast", "b": "slow"}
    )
    assert_allclose(moves(optimizer), slow(np.arange(STEPS)), **CLOSE)


def test_optax_joins_them_with_its_own():
    joined = optax.join_schedules(
        [cr.Linear(0.0, 0.1, 10), optax.constant_schedule(0.1), cr.Cosine(0.1, 0.0, 50)], [10, 40]
    )
    expected = cr.Sequence(
        [cr.Linear(0.0, 0.1, 10), cr.Constant(0.1), cr.Cosine(0.1, 0.0, 50)], [10, 40]
    )
    assert_allclose(moves(optax.sgd(joined)), expected(np.arange(STEPS)), rtol=2e-6, atol=1e-7)


def test_schedule_free_takes_them():
    ours = optax.contrib.schedule_free_sgd(cr.Linear(0.01, 0.1, 10))
    theirs = optax.contrib.schedule_free_sgd(optax.linear_schedule(0.01, 0.1, 10))
    assert_allclose(moves(ours, steps=30), moves(theirs, steps=30), rtol=1e-5)


def test_a_restored_state_goes_on_in_its_cycle():
    optimizer = optax.sgd(CYCLE)
    restored = optax.tree.set(optimizer.init(PARAMS), count=np.int32(27))
    updates, state = jax.jit(optimizer.update)(GRADS, restored, PARAMS)
    assert_allclose(-updates["b"], CYCLE(27), rtol=2e-6)
    assert int(optax.tree.get(state, "count")) == 28


def test_one_compilation_serves_all_steps():
    optimizer = optax.sgd(cr.OneCycle(0.1, 1000))
    update: Any = jax.jit(optimizer.update)
    state = optimizer.init(PARAMS)
    for _ in range(5):
        _, state = update(GRADS, state, PARAMS)
    assert update._cache_size() == 1
