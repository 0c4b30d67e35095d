"""A schedule inside a compiled function gives what it gives outside, to float32's last digits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import cyclerate as cr
from tests.schedules.policies import EXAMPLES, far_policies

STEPS = np.array([0, 1, 2, 3, 10, 39, 40, 41, 79, 80, 99, 100, 250, 499, 500, 599, 601, 700, 12345])
RELATIVE = 1e-6  # float32 has 24 bits: 6e-8 per operation

every_example = pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)


def close(schedule, values, steps=STEPS):
    values = np.asarray(values)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, schedule(steps), rtol=RELATIVE, atol=0)


@every_example
def test_jax(schedule):
    jax = pytest.importorskip("jax")
    compiled = jax.jit(schedule)
    close(schedule, compiled(STEPS.astype(np.int32)))
    one = compiled(jax.numpy.int32(41))
    assert one.shape == ()
    close(schedule, one, np.array(41))
    close(schedule, jax.vmap(schedule)(jax.numpy.asarray(STEPS)))


@every_example
def test_tensorflow(schedule):
    tf = pytest.importorskip("tensorflow")
    compiled = tf.function(schedule.__call__)
    close(schedule, compiled(tf.constant(STEPS, tf.int64)))
    one = compiled(tf.Variable(41, dtype=tf.int32))
    assert one.shape == ()
    close(schedule, one, np.array(41))
    close(schedule, tf.function(schedule.__call__, jit_compile=True)(tf.constant(STEPS)))


@every_example
def test_torch(schedule):
    torch = pytest.importorskip("torch")
    torch.compiler.reset()

    def step_to_rate(step):
        return schedule(step)

    # The eager backend needs no C++ compiler; fullgraph refuses to fall back to Python.
    compiled = torch.compile(step_to_rate, backend="eager", fullgraph=True)
    close(schedule, compiled(torch.as_tensor(STEPS)))
    close(schedule, schedule(torch.tensor(41)), np.array(41))


@pytest.mark.keras_backend
@every_example
def test_keras_tensors_and_variables(schedule):
    keras = pytest.importorskip("keras")
    values = schedule(keras.ops.convert_to_tensor(STEPS.astype("int32")))
    close(schedule, keras.ops.convert_to_numpy(values))
    variable = keras.Variable(41, dtype="int32", trainable=False)
    close(schedule, keras.ops.convert_to_numpy(schedule(variable)), np.array(41))


def test_far_steps_are_exact_where_integers_reach_them():
    tf, torch = pytest.importorskip("tensorflow"), pytest.importorskip("torch")
    far = 2**40 + np.array([0, 1, 7, 39])
    for schedule in (cr.Triangular(1e-4, 1e-2, 40), cr.WarmRestarts(0.1, 100)):
        close(schedule, schedule(tf.constant(far)).numpy(), far)
        close(schedule, schedule(torch.as_tensor(far)).numpy(), far)


def _traced(kind):
    """A schedule and steps -> its values where they are traced; what such a count may hold."""
    if kind.startswith("jax"):
        jax, dtype = pytest.importorskip("jax"), np.dtype(kind.removeprefix("jax "))
        return lambda s, n: jax.jit(s)(n.astype(dtype)), np.iinfo(dtype).max
    if kind == "tensorflow":
        tf = pytest.importorskip("tensorflow")
        return lambda s, n: s(tf.constant(n)), 2**62
    torch = pytest.importorskip("torch")
    return lambda s, n: s(torch.as_tensor(n)), 2**62


@pytest.mark.parametrize("kind", ["jax int32", "jax uint32", "tensorflow", "torch"])
@settings(max_examples=12)
@given(data=st.data(), schedule=far_policies, far=st.integers(0, 2**62 - 1))
def test_far_and_long_is_the_same_where_it_is_traced(kind, data, schedule, far):
    values_of, highest = _traced(kind)
    near_lengths = [n + d for n in _lengths(schedule) for d in (-1, 0, 1) if n + d <= highest]
    steps = np.array([0, 1, min(far, highest), highest - 1, *near_lengths])
    values = np.asarray(values_of(schedule, steps), np.float64)
    top = schedule.bounds[1]
    np.testing.assert_allclose(values, schedule(steps), rtol=3e-6, atol=3e-6 * top)


def _lengths(schedule):
    whole = (getattr(schedule, field.name) for field in dataclasses.fields(schedule))
    return [value for value in whole if type(value) is int]


def test_a_step_that_no_whole_number_of_64_bits_holds_is_as_far_as_it_gets():
    jax, tf = pytest.importorskip("jax"), pytest.importorskip("tensorflow")
    torch = pytest.importorskip("torch")
    schedule = cr.Linear(0.0, 1.0, 10**10)
    far = np.array([2**32, 2**40, 1e30, np.inf], np.float32)
    assert np.asarray(jax.jit(schedule)(far)).tolist() == pytest.approx([2**32 / 1e10, 1, 1, 1])
    for tensor in (tf.constant, torch.tensor):
        assert np.asarray(schedule(tensor(far))).tolist() == pytest.approx([2**32 / 1e10, 1, 1, 1])
        assert np.asarray(schedule(tensor(np.array([3, 2**64 - 1], np.uint64))))[1] == 1
    with jax.enable_x64(True):
        assert float(schedule(jax.numpy.uint64(2**64 - 1))) == 1


def test_a_long_exponential_keeps_its_digits():
    jax = pytest.importorskip("jax")
    schedule = cr.ExpRange(0.0, 1.0, 2000, gamma=0.99994)
    steps = np.arange(1, 200_000, 997)
    close(schedule, jax.jit(schedule)(steps.astype(np.int32)), steps)


def test_x64_is_used_where_it_is_enabled():
    jax = pytest.importorskip("jax")
    schedule = cr.OneCycle(0.1, 500)
    with jax.enable_x64(True):
        values = jax.jit(schedule)(jax.numpy.asarray(STEPS))
        assert values.dtype == np.float64
        np.testing.assert_allclose(np.asarray(values), schedule(STEPS), rtol=1e-13)


def test_a_traced_step_below_zero_counts_as_zero():
    torch = pytest.importorskip("torch")
    assert cr.Linear(0.5, 1.0, 10)(torch.tensor([-3, 0])).tolist() == [0.5, 0.5]


def test_your_own_scale_function_is_traced():
    jax = pytest.importorskip("jax")
    schedule = cr.Cyclic(0.0, 1.0, 10, scale_fn=lambda cycle: 1 / cycle)
    close(schedule, jax.jit(schedule)(STEPS.astype(np.int32)))
