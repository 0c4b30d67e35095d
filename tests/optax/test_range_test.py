"""The range test of a loss function: the curve it records, by value, and what it reads from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cyclerate as cr
import cyclerate.optax as co
from tests.optax.problems import BATCHES, FEATURES, PARAMS, X, Y, loss_fn, sgd_losses

# A sweep below the rates at which anything diverges: its whole curve can be compared.
CALM = {"method": "range", "start_lr": 1e-3, "end_lr": 0.1, "steps": 30}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("spacing", ["exponential", "linear"])
def test_the_curve_is_that_of_training_by_hand(momentum, spacing):
    def make_optimizer(rate):
        return optax.sgd(rate, momentum=momentum)

    result = co.range_test(loss_fn, PARAMS, make_optimizer, BATCHES, spacing=spacing, **CALM)
    lrs = cr.Sweep(1e-3, 0.1, 30, spacing).lrs()
    assert_array_equal(result.lrs, lrs)
    assert_allclose(result.losses, sgd_losses(lrs, BATCHES, momentum), rtol=1e-4)
    assert (result.steps, result.stop_reason) == (30, cr.StopReason.END_OF_RANGE)


@pytest.mark.parametrize(
    "make_optimizer",
    [
        optax.adam,
        lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate)),
        lambda rate: optax.inject_hyperparams(optax.adam)(learning_rate=rate),
        lambda rate: optax.adam(lambda step: rate),
        lambda rate: optax.partition(
            {"own": optax.inject_hyperparams(optax.sgd)(3.0 * rate), "adam": optax.adam(rate)},
            {"w": "own", "b": "adam"},
        ),
        lambda rate: optax.chain(optax.sgd(rate), optax.contrib.reduce_on_plateau()),
    ],
    ids=["adam", "chain", "injected", "schedule", "partition", "plateau"],
)
def test_any_optimizer_is_stepped_at_the_rate_of_the_sweep(make_optimizer):
    result = co.range_test(loss_fn, PARAMS, make_optimizer, BATCHES, **CALM)
    assert_allclose(result.losses, by_hand(make_optimizer, result.lrs), rtol=1e-4)


def by_hand(make_optimizer, lrs):
    """The losses of a loop that builds a new optimizer for each rate and hands on the moments."""

    @jax.jit
    def step(lr, params, state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        state = jax.tree_util.tree_map_with_path(
            lambda path, old, new: new if "learning_rate" in jax.tree_util.keystr(path) else old,
            state,
            make_optimizer(lr).init(params),
        )
        optimizer = optax.with_extra_args_support(make_optimizer(lr))
        updates, state = optimizer.update(grads, state, params, value=loss)
        return loss, optax.apply_updates(params, updates), state

    params, losses = jax.tree.map(jnp.asarray, PARAMS), []
    state = make_optimizer(1.0).init(params)
    for i, lr in enumerate(lrs):
        loss, params, state = step(lr, params, state, BATCHES[i % 3])
        losses.append(float(loss))
    return losses


def test_max_lr_lies_below_the_rate_at_which_descent_diverges():
    curvature = np.linalg.eigvalsh(2 * X.T @ X / len(X)).max()
    result = co.range_test(
        lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2),
        np.zeros(FEATURES, np.float32),
        optax.sgd,
        (X, Y),
        batch_size=len(X),
        method="range",
    )
    assert result.stop_reason in (cr.StopReason.DIVERGED, cr.StopReason.NON_FINITE)
    assert 0.1 * 2 / curvature < result.max_lr < 1.5 * 2 / curvature


def test_all_steps_are_one_compiled_function():
    traces = []

    def counted(params, batch):
        traces.append(1)
        return loss_fn(params, batch)

    co.range_test(counted, PARAMS, optax.adam, BATCHES, repeats=2, **CALM)
    assert len(traces) == 1


def test_nothing_is_told_after_the_step_that_ends_the_sweep():
    def until_ten(params, batch, state):
        return jnp.where(state == 10, jnp.nan, 1.0) + 0.0 * params, state + 1

    result = co.range_test(
        until_ten,
        np.float32(0.0),
        optax.sgd,
        [np.zeros(1)],
        model_state=np.int32(0),
        method="range",
    )
    assert (result.steps, result.stop_reason) == (11, cr.StopReason.NON_FINITE)
    assert_array_equal(np.isnan(result.losses), [False] * 10 + [True])
    assert result.max_lr is None


def test_a_sweep_may_diverge_although_the_user_debugs_nans():
    sweep = {"method": "range", "stop_early": False}
    with jax.debug_nans(True):
        result = co.range_test(loss_fn, PARAMS, optax.sgd, BATCHES, end_lr=1e6, **sweep)
        assert jax.config.values["jax_debug_nans"]
    assert result.stop_reason is cr.StopReason.NON_FINITE


def test_an_auxiliary_metric_is_recorded_instead_of_the_loss():
    def with_accuracy(params, batch):
        loss = loss_fn(params, batch)
        return loss, {"r2_score": 1.0 - loss / jnp.var(batch[1]), "other": batch[0]}

    options = {"metric": "r2_score", "has_aux": True}
    result = co.range_test(with_accuracy, PARAMS, optax.sgd, BATCHES, **options, **CALM)
    losses = sgd_losses(result.lrs, BATCHES)
    variances = np.array([np.var(BATCHES[i % 3][1]) for i in range(30)])
    assert_allclose(result.losses, 1 - losses / variances, rtol=1e-3, atol=1e-5)
    assert (result.metric, result.mode) == ("r2_score", "max")


@pytest.mark.parametrize("has_aux", [False, True])
def test_the_model_state_goes_from_step_to_step(has_aux):
    def counting(params, batch, state):
        loss = loss_fn(params, batch) + state["steps"]
        new = {"steps": state["steps"] + 1.0}
        return loss, ((new, {"loss": loss}) if has_aux else new)

    state = {"steps": np.float32(5.0)}
    result = co.range_test(
        counting, PARAMS, optax.sgd, BATCHES, model_state=state, has_aux=has_aux, **CALM
    )
    expected = sgd_losses(result.lrs, BATCHES) + 5.0 + np.arange(30)
    assert_allclose(result.losses, expected, rtol=1e-4)
    assert state == {"steps": 5.0}


@pytest.mark.parametrize("key", [jax.random.key(3), jax.random.PRNGKey(3)], ids=["new", "old"])
def test_every_step_has_its_own_key_and_the_same_rng_gives_the_same_curve(key):
    def noisy(params, batch, rng):
        return jax.random.uniform(rng) + 0.0 * params

    def curve(rng):
        result = co.range_test(
            noisy, np.float32(0), optax.sgd, [np.zeros(1)], rng=rng, **CALM, stop_early=False
        )
        return result.losses

    values = curve(key)
    assert len(np.unique(values)) == 30
    assert_array_equal(curve(key), values)
    assert len(np.intersect1d(curve(jax.random.fold_in(key, 9)), values)) == 0


def test_model_state_and_rng_together():
    def loss(params, batch, state, rng):
        return loss_fn(params, batch) + 0.0 * jax.random.normal(rng) + state, state + 1.0

    result = co.range_test(
        loss, PARAMS, optax.sgd, BATCHES, model_state=0.0, rng=jax.random.key(0), **CALM
    )
    assert_allclose(result.losses, sgd_losses(result.lrs, BATCHES) + np.arange(30), rtol=1e-4)


def test_accumulated_gradients_are_one_update_at_one_rate():
    accumulated = co.range_test(
        loss_fn,
        PARAMS,
        lambda rate: optax.MultiSteps(optax.sgd(rate, momentum=0.9), every_k_schedule=3),
        BATCHES,
        accumulation_steps=3,
        **CALM,
    )
    whole = co.range_test(loss_fn, PARAMS, lambda rate: optax.sgd(rate, 0.9), [(X, Y)], **CALM)
    assert_array_equal(accumulated.lrs, whole.lrs)
    assert_allclose(accumulated.losses, whole.losses, rtol=1e-4)
    assert accumulated.steps == 30


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda rate: optax.inject_hyperparams(optax.sgd)(rate, momentum=0.9),
        optax.inject_hyperparams(optax.adam),
        lambda rate: optax.sgd(rate, momentum=0.9),
    ],
)
def test_an_optimizer_of_compiled_functions_keeps_its_moments(make_optimizer):
    def compiled(rate):
        optimizer = make_optimizer(rate)
        return optax.GradientTransformation(jax.jit(optimizer.init), jax.jit(optimizer.update))

    plain = co.range_test(loss_fn, PARAMS, make_optimizer, BATCHES, **CALM)
    result = co.range_test(loss_fn, PARAMS, compiled, BATCHES, **CALM)
    assert_allclose(result.losses, plain.losses, rtol=1e-6)


def test_what_an_update_takes_is_passed():
    taken = []

    def with_value_fn(rate):
        def update(updates, state, params, *, value_fn, value=None):
            taken.append((jnp.shape(value_fn(params)), jnp.ndim(0.0 if value is None else value)))
            return optax.sgd(rate).update(updates, state, params)

        return optax.GradientTransformationExtraArgs(optax.sgd(rate).init, update)

    result = co.range_test(loss_fn, PARAMS, with_value_fn, BATCHES, **CALM)
    assert set(taken) == {((), 0)}
    assert_allclose(result.losses, sgd_losses(result.lrs, BATCHES), rtol=1e-4)


def test_what_would_scale_the_rate_beside_it_is_held():
    def make_optimizer(rate):
        plateau = optax.contrib.reduce_on_plateau(patience=1, rtol=0.9)
        return optax.chain(optax.sgd(rate), plateau)

    result = co.range_test(loss_fn, PARAMS, make_optimizer, BATCHES, **CALM)
    assert_allclose(result.losses, sgd_losses(result.lrs, BATCHES), rtol=1e-4)


def test_a_loss_in_half_precision_is_raced_and_recommended():
    def half(params, batch):
        return loss_fn(params, batch).astype(jnp.bfloat16)

    options = {"method": "probe", "steps": 20, "max_steps": 60}
    assert co.range_test(half, PARAMS, optax.sgd, BATCHES, **options).max_lr
    assert co.recommend(half, PARAMS, optax.sgd, BATCHES, budget_steps=100).steps <= 60


def test_half_precision_parameters_stay_half_precision():
    seen = set()

    def watched(params, batch):
        seen.add(params["w"].dtype)
        return loss_fn(params, batch)

    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), PARAMS)
    result = co.range_test(watched, params, optax.adam, BATCHES, **CALM)
    assert seen == {jnp.dtype(jnp.bfloat16)}
    assert result.losses[-1] < 0.5 * result.losses[0]


def test_repeats_go_on_through_an_iterable_and_are_combined():
    batches = [*BATCHES, BATCHES[0]]
    result = co.range_test(loss_fn, PARAMS, optax.sgd, batches, repeats=3, **CALM)
    assert (result.steps, len(result.runs)) == (90, 3)
    for k, run in enumerate(result.runs):
        rolled = batches[30 * k % 4 :] + batches[: 30 * k % 4]
        assert_allclose(run.losses, sgd_losses(run.lrs, rolled), rtol=1e-4)


def test_the_seed_decides_the_order_of_arrays_and_repeats_count_on_from_it():
    def run(**options):
        return co.range_test(loss_fn, PARAMS, optax.sgd, (X, Y), batch_size=8, **options, **CALM)

    both = run(repeats=2, seed=None)
    assert_array_equal(run(seed=0).losses, both.runs[0].losses)
    assert_array_equal(run(seed=1).losses, both.runs[1].losses)
    assert not np.array_equal(both.runs[0].losses, both.runs[1].losses)


def test_progress_goes_to_standard_error_and_is_cleared(capsys):
    co.range_test(loss_fn, PARAMS, optax.sgd, BATCHES, verbose=1, **CALM)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "range test: step 1/30, rate 0.001, loss" in shown.err
    assert shown.err.endswith(" \r")


def with_more_arguments(optimizer):
    def update(updates, state, params=None, *, curvature):
        return optimizer.update(updates, state, params)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


WRONG = [
    ({"loss_fn": 3}, "loss_fn"),
    ({"loss_fn": lambda params, batch: batch[0] @ params["w"]}, "the loss"),
    ({"loss_fn": lambda params, batch: (loss_fn(params, batch), {})}, "the output of loss_fn"),
    ({"has_aux": True}, "the output of loss_fn"),
    ({"metric": "accuracy"}, "metric"),
    (
        {"metric": "r2", "has_aux": True, "loss_fn": lambda p, b: (loss_fn(p, b), {"r1": 1.0})},
        "metric",
    ),
    ({"metric": "stretch"}, "mode"),
    ({"mode": "best"}, "mode"),
    ({"model_state": 1.0, "loss_fn": lambda p, b, s: loss_fn(p, b)}, "the output of loss_fn"),
    (
        {"model_state": {"a": 1.0}, "loss_fn": lambda p, b, s: (loss_fn(p, b), {})},
        "the state that loss_fn returns",
    ),
    ({"make_optimizer": optax.adam(0.1)}, "make_optimizer"),
    ({"make_optimizer": lambda rate: optax.adam(0.1)}, "make_optimizer"),
    ({"make_optimizer": lambda rate: optax.adam(rate if rate > 0 else 1)}, "make_optimizer"),
    ({"make_optimizer": lambda rate: rate}, "make_optimizer"),
    ({"opt_state": optax.sgd(0.1, momentum=0.9).init(PARAMS)}, "opt_state"),
    ({"opt_state": 0}, "opt_state"),
    ({"data": []}, "data"),
    ({"data": ()}, "data"),
    ({"data": {}}, "data"),
    ({"data": 5}, "data"),
    ({"data": lambda: 5}, "data"),
    ({"data": (X, Y[:-1])}, "data"),
    ({"data": (X[:0], Y[:0])}, "data"),
    ({"data": ([1.0], [2.0])}, "data"),
    ({"data": iter(BATCHES)}, "data"),
    ({"data": (X, Y), "batch_size": 0}, "batch_size"),
    ({"batch_size": 8}, "batch_size"),
    ({"accumulation_steps": 0}, "accumulation_steps"),
    ({"accumulation_steps": 2}, "accumulation_steps"),
    ({"make_optimizer": lambda rate: optax.MultiSteps(optax.sgd(rate), 2)}, "accumulation_steps"),
    ({"start_lr": 0.0}, "start_lr"),
    ({"end_lr": 1e-9}, "end_lr"),
    ({"steps": 3}, "steps"),
    ({"spacing": "square"}, "spacing"),
    ({"method": "races"}, "method"),
    ({"policy": "sawtooth"}, "policy"),
    ({"max_steps": 50}, "max_steps"),
    ({"score_fn": 3}, "score_fn"),
    ({"data": iter(BATCHES)}, "data"),
    ({"data": [("text", X, Y)]}, "data"),
    ({"params": {**PARAMS, "steps": 3}}, "params"),
    ({"params": {**PARAMS, "rng": jax.random.key(0)}}, "params"),
    ({"params": {**PARAMS, "activation": jax.nn.relu}}, "params"),
    ({"score_fn": lambda p, b: (loss_fn(p, b), 1), "method": "probe"}, "the output of score_fn"),
    ({"score_fn": lambda p, b: b[1], "method": "probe"}, "the output of score_fn"),
    (
        {
            "make_optimizer": lambda rate: optax.MultiSteps(optax.sgd(rate), 4),
            "accumulation_steps": 2,
        },
        "accumulation_steps",
    ),
    (
        {"make_optimizer": lambda rate: with_more_arguments(optax.sgd(rate))},
        "make_optimizer",
    ),
    ({"method": "guess"}, "method"),
    ({"horizon_steps": 0}, "horizon_steps"),
    ({"seed": -1}, "seed"),
    ({"repeats": 0}, "repeats"),
    ({"stop_early": "no"}, "stop_early"),
    ({"verbose": 7}, "verbose"),
]


@pytest.mark.parametrize(
    ("wrong", "named"), WRONG, ids=[f"{n}-{i}" for i, (_, n) in enumerate(WRONG)]
)
def test_a_wrong_argument_is_named(wrong, named):
    arguments = {
        "loss_fn": loss_fn,
        "params": PARAMS,
        "make_optimizer": optax.sgd,
        "data": BATCHES,
        "metric": "loss",
        **wrong,
    }
    with pytest.raises(ValueError, match=f"^{named} must be .*Received: "):
        co.range_test(**arguments)
