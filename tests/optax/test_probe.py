"""The sweep and the races of a loss function in JAX, by value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cyclerate as cr
import cyclerate.optax as co
from tests.adapters.descent import SHORT, probe_by_hand
from tests.optax.problems import BATCHES, PARAMS, loss_fn

# Steep in one direction and flat in others: no short training comes to the end of it.
HARD = [(x * np.array([1.0, 0.3, 0.1, 0.03], dtype=np.float32), y) for x, y in BATCHES]
ALL = tuple(np.concatenate(parts) for parts in zip(*HARD, strict=True))


def probe(data=HARD, loss=loss_fn, make_optimizer=optax.sgd, params=PARAMS, **options):
    return co.range_test(loss, params, make_optimizer, data, **{**SHORT, **options})


def assert_same_answer(result, expected):
    assert_allclose(result.losses, expected.losses, rtol=1e-3)
    assert (result.steps, result.stop_reason) == (expected.steps, expected.stop_reason)
    assert len(result.races) == len(expected.races) > 1
    assert result.max_lr == pytest.approx(expected.max_lr, rel=0.01)


@pytest.mark.parametrize("policy", ["one_cycle", "constant"])
def test_it_is_the_probe_of_the_same_training_in_numpy(policy):
    result = probe(policy=policy)
    assert_same_answer(result, probe_by_hand(HARD, policy=policy))
    assert (result.method, result.metric, result.mode) == ("probe", "loss", "min")


def test_it_is_the_default_and_keeps_to_its_steps():
    result = co.range_test(loss_fn, PARAMS, optax.sgd, HARD, **SHORT)
    assert result.method == "probe"
    assert len(result.lrs) < result.steps <= 130


def test_repeats_go_on_in_the_data_each_with_all_its_runs_at_one_place():
    result = probe(repeats=2, stop_early=False)  # the sweep, of 40 steps, is the longest run
    assert_same_answer(result.runs[0], probe_by_hand(HARD, stop_early=False))
    assert_same_answer(result.runs[1], probe_by_hand(HARD, 40 % len(HARD), stop_early=False))


def test_arrays_are_drawn_alike_in_all_runs_of_a_repeat():
    twice = probe(ALL, batch_size=8, repeats=2, seed=3)
    alone = [probe(ALL, batch_size=8, seed=seed) for seed in (3, 4)]
    for run, single in zip(twice.runs, alone, strict=True):
        assert_array_equal(run.losses, single.losses)
        assert run.races == single.races
    assert alone[0].races != alone[1].races


def test_the_sample_is_weighted_by_rows_and_scored_with_the_same_key():
    uneven = [HARD[0], (HARD[1][0][:4], HARD[1][1][:4])]
    traced = []

    def noisy(params, batch, rng):
        traced.append(1)
        return loss_fn(params, batch) + 1e-3 * jax.random.normal(rng)

    result = probe(uneven, noisy, rng=jax.random.key(0))
    assert len(traced) < 10  # for each shape, by the step and by the score
    again = probe(uneven, noisy, rng=jax.random.key(0))
    assert result.races == again.races

    def rows(params, batch):
        return jnp.mean(params["w"] * 0.0) + len(batch[1])

    weighted = probe(uneven, score_fn=rows)
    assert {score for _, score in weighted.races} <= {None, (16 * 16 + 4 * 4) / 20}
    assert weighted.max_lr is None


def test_a_score_function_takes_the_place_of_the_loss_and_has_the_running_state():
    def with_dropout(params, batch, state, rng):
        x, y = batch
        kept = jax.random.bernoulli(rng, 0.5, x.shape) / 0.5
        new = {"mean": 0.9 * state["mean"] + 0.1 * jnp.mean(y)}
        return loss_fn(params, (x * kept, y)), new

    seen = []

    def score(params, batch, state):
        seen.append(jax.tree.map(jnp.shape, state))
        return loss_fn(params, batch) + 0.0 * state["mean"]

    options = {"model_state": {"mean": np.float32(0)}, "rng": jax.random.key(1)}
    result = probe(HARD, with_dropout, score_fn=score, **options)
    assert seen == [{"mean": ()}]
    without = probe(HARD, with_dropout, **options)
    assert_array_equal(result.losses, without.losses)
    assert result.races[0][1] != without.races[0][1]


def test_an_auxiliary_metric_is_raced_to_be_raised():
    def with_share(params, batch):
        loss = loss_fn(params, batch)
        return loss, {"accuracy": 1.0 / (1.0 + loss)}

    result = probe(HARD, with_share, has_aux=True, metric="accuracy")
    plain = probe()
    assert (result.metric, result.mode) == ("accuracy", "max")
    assert min(score for _, score in result.races if score is not None) > 0.0
    assert result.max_lr == pytest.approx(plain.max_lr, rel=3.0)


def test_a_race_may_diverge_although_the_user_debugs_nans():
    with jax.debug_nans(True):
        result = probe(HARD, end_lr=1e6, stop_early=False, steps=50, max_steps=140)
        assert jax.config.values["jax_debug_nans"]
    assert result.stop_reason is cr.StopReason.NON_FINITE


def test_multi_steps_make_one_step_of_several_batches():
    def make(rate):
        return optax.MultiSteps(optax.sgd(rate), every_k_schedule=3)

    result = probe(make_optimizer=make, accumulation_steps=3)
    whole = probe([ALL])
    assert result.steps == whole.steps
    assert result.max_lr == pytest.approx(whole.max_lr, rel=0.01)


def test_nothing_to_be_learned_is_no_clear_answer():
    def flat(params, batch):
        return jnp.mean(batch[1] ** 2) + 0.0 * jnp.sum(params["w"])

    result = probe(HARD, flat)
    assert (result.max_lr, result.base_lr, result.interval) == (None, None, None)
    assert result.verdict.startswith("No clear answer: none of ")


def test_an_iterator_is_refused_before_a_batch_is_drawn():
    data = iter(HARD)
    with pytest.raises(ValueError, match=r"data must be what every run can go through again"):
        probe(data)
    assert len(list(data)) == len(HARD)
