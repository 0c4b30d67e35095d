"""The cycle that finds its own top: its steps, marks, repairs and rates, by value."""

from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cyclerate as cr
import cyclerate.optax as co
from cyclerate.finder._prior import prior_lr
from cyclerate.finder._warmup import FindingCycle
from tests.optax.problems import BATCHES, FEATURES, PARAMS, X, Y, loss_fn, sgd_losses

STEPS = 200
MOMENTUM = (0.85, 0.95)


def started(total_steps=STEPS, make_optimizer=optax.sgd, loss=loss_fn, **options):
    return co.CycleTraining(loss, PARAMS, make_optimizer, total_steps, **options)


def train(training, until=None, batches=BATCHES):
    """Trains until a step, on batches that follow from the step's number."""
    while not training.done and training.step_number != until:
        training.step(batches[training.step_number % len(batches)])
    return training


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


class TestWarmup:
    def test_it_takes_exactly_its_steps_and_learns(self):
        training = train(started())
        assert training.step_number == STEPS
        assert {name: len(values) for name, values in training.history.items()} == {
            "loss": STEPS,
            "learning_rate": STEPS,
        }
        found = training.found
        assert found["source"] == "sweep and prior"
        assert training.verdict.startswith("max_lr ")
        assert float(loss_fn(training.params, (X, Y))) < 0.02
        up = len(found["sweep"]["lrs"])
        assert_array_equal(training.history["learning_rate"][:up], found["sweep"]["lrs"])
        down = training.history["learning_rate"][up:]
        assert down[0] == pytest.approx(found["top"])
        assert_allclose(np.diff(down), -down[0] / (STEPS - up), rtol=1e-6)

    def test_the_rates_of_the_history_were_used(self):
        training = train(started(), until=15)
        expected = sgd_losses(training.history["learning_rate"], BATCHES)
        assert_allclose(training.history["loss"], expected, rtol=1e-4)

    def test_the_mark_comes_back_bit_for_bit(self):
        training = started(make_optimizer=lambda rate: optax.sgd(rate, momentum=0.9))
        mark, returned = None, 0
        while not training.done:
            if training.cycle.keep:
                mark = bits((training.params, training.opt_state))
            training.step(BATCHES[training.step_number % 3])
            if training.cycle.go_back:
                returned += 1
                assert bits((training.params, training.opt_state)) == mark
        assert returned >= 1

    def test_a_loss_that_is_not_a_number_later_is_repaired(self):
        poisoned = (np.full_like(X, np.nan), Y)
        training = train(started(), until=150)
        training.step(poisoned)
        (repair,) = training.found["repairs"]
        assert (repair["step"], repair["why"]) == (151, "not finite")
        assert repair["top"] == pytest.approx(training.found["top"] / 3)
        assert np.isfinite(training.params["w"]).all()
        train(training)
        assert math.isnan(training.history["loss"][150])
        assert float(loss_fn(training.params, (X, Y))) < 0.05

    def test_gradients_are_clipped_at_a_multiple_of_their_median(self):
        training = train(started(), until=60)
        before, clipped = training.params, training.found["clipped_steps"]
        limit = training.cycle.clip_norm
        assert math.isfinite(limit)
        training.step((100 * X, 100 * Y))
        moved = jax.tree.map(jnp.subtract, before, training.params)
        rate = training.history["learning_rate"][-1]
        assert optax.tree.norm(moved) == pytest.approx(rate * limit, rel=1e-4)
        assert training.found["clipped_steps"] == clipped + 1

    def test_what_was_learned_is_never_lost(self):
        def spoiled(params, batch):
            x, y, scale = batch
            return loss_fn(params, (x, y)) * scale[0]

        training = started(loss=spoiled)
        while not training.done:
            late = training.step_number >= STEPS - 5
            training.step((*BATCHES[0], np.array([np.nan if late else 1.0], np.float32)))
        assert training.found["given_back"]
        assert float(loss_fn(training.params, (X, Y))) < float(loss_fn(PARAMS, (X, Y)))

    def test_a_training_that_ends_above_its_start_ends_as_its_last_mark(self):
        def drifting(params, batch):
            x, y, drift = batch
            return loss_fn(params, (x, y)) + drift[0]

        training, mark = started(loss=drifting, fine_tuned=True), None
        while not training.done:
            if training.cycle.keep:
                mark = bits(training.params)
            drift = np.array([0.5 * training.step_number], np.float32)
            training.step((*BATCHES[training.step_number % len(BATCHES)], drift))
        assert training.found["given_back"]
        assert bits(training.params) == mark

    def test_the_driver_says_that_a_training_ended_as_its_last_mark(self):
        harder = [(X, Y + np.float32(i) ** 2) for i in range(100)]
        told = co.fit_one_cycle(
            loss_fn, PARAMS, optax.sgd, lambda: iter(harder), total_steps=100, fine_tuned=True
        )
        assert told.found["given_back"]
        assert "the last good state was put in its place" in told.verdict

    def test_what_is_passed_in_stays_as_it_was(self):
        params = jax.tree.map(jnp.asarray, PARAMS)
        before = bits(params)
        training = train(co.CycleTraining(loss_fn, params, optax.adam, 40))
        assert bits(params) == before
        assert bits(training.params) != before

    def test_debugging_nans_does_not_end_the_way_up(self):
        with jax.debug_nans(True):
            training = started()
            training.step((np.full_like(X, np.nan), Y))
            assert jax.config.values["jax_debug_nans"]


class TestMomentum:
    @pytest.mark.parametrize("max_lr", [None, 0.01])
    def test_it_is_low_where_the_rate_is_high_and_was_used(self, max_lr):
        steps = 60
        training = started(steps, max_lr=max_lr, momentum=MOMENTUM, loss=slope)
        positions = []
        while not training.done:
            training.step(np.float32(0.0))
            positions.append(float(training.params["b"]))
        rates, momenta = (np.array(training.history[k]) for k in ("learning_rate", "momentum"))
        assert momenta.min() == pytest.approx(0.85, abs=0.01)
        assert momenta.max() == pytest.approx(0.95, abs=0.01)
        velocity = position = 0.0
        if max_lr is not None:
            assert_allclose(momenta, cr.OneCycle(0.01, steps).mirrored(*MOMENTUM)(range(steps)))
            for rate, momentum, seen in zip(rates, momenta, positions, strict=True):
                velocity = momentum * velocity + 1.0
                position -= rate * velocity
                assert seen == pytest.approx(position, rel=1e-4)

    def test_an_injected_momentum_is_set_too(self):
        injected = optax.inject_hyperparams(optax.sgd)
        one = train(started(60, injected, momentum=MOMENTUM, max_lr=0.01))
        other = train(started(60, optax.sgd, momentum=MOMENTUM, max_lr=0.01))
        assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-5)
        assert float(one.opt_state.hyperparams["momentum"]) == pytest.approx(
            one.history["momentum"][-1]
        )


def slope(params, batch):
    return params["b"] + 0.0 * jnp.sum(params["w"]) + batch


class TestResume:
    @pytest.mark.parametrize("at", [1, 17, 41, 120, 160])
    @pytest.mark.parametrize("max_lr", [None, 0.02])
    def test_through_files_it_goes_on_bit_for_bit(self, at, max_lr, tmp_path):
        options = {"momentum": MOMENTUM, "max_lr": max_lr, "rng": jax.random.key(3)}

        def noisy(params, batch, rng):
            return loss_fn(params, batch) + 0.01 * jax.random.normal(rng) * params["b"]

        def new():
            return started(160 + (at == 160), optax.adam, noisy, **options)

        whole = train(new())
        begun = train(new(), until=at)
        state = begun.state()
        leaves, structure = jax.tree.flatten(state["arrays"])
        np.savez(tmp_path / "arrays", *[jax.random.key_data(x) if is_key(x) else x for x in leaves])
        (tmp_path / "plain.json").write_text(json.dumps(state["plain"]))
        with np.load(tmp_path / "arrays.npz") as saved:
            arrays = [saved[name] for name in saved.files]
        read = [
            jax.random.wrap_key_data(array) if is_key(x) else array
            for x, array in zip(leaves, arrays, strict=True)
        ]
        plain = json.loads((tmp_path / "plain.json").read_text())
        resumed = new()
        resumed.load_state({"arrays": structure.unflatten(read), "plain": plain})
        train(resumed)
        assert bits(resumed.params) == bits(whole.params)
        assert resumed.history == whole.history
        assert resumed.found == whole.found

    def test_the_state_of_another_training_is_refused(self):
        with pytest.raises(ValueError, match="state must be of 100 steps"):
            started(100).load_state(started(200).state())
        with pytest.raises(ValueError, match="state must be of 100 steps"):
            started(100, max_lr=0.1).load_state(started(100).state())


def is_key(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def fit(data=(X, Y), make_optimizer=optax.sgd, **options):
    return co.fit_one_cycle(loss_fn, PARAMS, make_optimizer, data, **options)


class TestFitOneCycle:
    def test_epochs_are_counted_in_updates(self):
        done = fit(epochs=50, batch_size=BATCHES[0][1].size)
        assert len(done.history["loss"]) == 150
        assert (done.found["source"], done.range_test) == ("sweep and prior", None)
        assert done.max_lr == done.found["top"]

    def test_a_folder_is_told_every_step_while_it_trains(self, tmp_path):
        firsts = []

        class Noting(cr.Tracker):
            def steps(self, group, columns, first_step):
                firsts.append((group, first_step, len(columns["loss"])))

            def found(self, group, values, curve, picture):
                firsts.append((group, values["max_lr"]))

        with cr.tracking(Noting(), tmp_path):
            done = fit(total_steps=230)
        assert firsts == [
            *(("training", first, steps) for first, steps in ((0, 100), (100, 100), (200, 30))),
            ("cycle", done.max_lr),
        ]
        told = json.loads((tmp_path / "progress.json").read_text())
        assert told["lines"]["training: loss"]["y"] == done.history["loss"]
        assert told["found"]["cycle: max_lr"] == f"{done.max_lr:.6g}"

    def test_equal_seeds_give_equal_results(self):
        one, same, other = (fit(total_steps=60, seed=seed) for seed in (None, 0, 1))
        assert bits(one.params) == bits(same.params) != bits(other.params)
        assert one.history == same.history

    @pytest.mark.parametrize(("find", "method"), [("probe", "probe"), ("sweep", "range")])
    def test_a_range_test_before_it_is_part_of_the_steps(self, find, method):
        done = fit(total_steps=200, find=find, momentum=MOMENTUM)
        assert done.range_test.method == method
        assert done.range_test.steps + len(done.history["loss"]) == 200
        assert done.range_test.max_lr in (None, done.max_lr)
        assert float(loss_fn(done.params, (X, Y))) < 0.02
        beside = fit(epochs=40, find=find, range_test_options={"steps": 20, "method": "range"})
        assert (len(beside.history["loss"]), beside.range_test.steps <= 20) == (80, True)

    def test_with_the_rate_given_it_is_the_one_cycle_policy(self):
        done = fit(BATCHES, epochs=20, max_lr=0.05)
        policy = cr.OneCycle(0.05, 60)
        assert done.history["learning_rate"] == policy(range(60)).tolist()
        assert_allclose(
            done.history["loss"], sgd_losses(policy(range(60)), BATCHES), rtol=1e-3, atol=1e-6
        )
        assert (done.found, done.verdict) == (None, "max_lr 0.05, as it was given.")

    def test_several_batches_are_an_update(self):
        def make(rate):
            return optax.MultiSteps(optax.sgd(rate), every_k_schedule=3)

        done = fit(BATCHES, make, epochs=90, accumulation_steps=3)
        whole = co.fit_one_cycle(loss_fn, PARAMS, optax.sgd, [(X, Y)], epochs=90)
        assert len(done.history["loss"]) == 90
        assert_allclose(done.history["loss"][:20], whole.history["loss"][:20], rtol=1e-3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "epochs and total_steps must be one given"),
            ({"epochs": 1, "total_steps": 5}, "epochs and total_steps must be one given"),
            ({"total_steps": 0}, "total_steps must be"),
            ({"epochs": 0}, "epochs must be"),
            ({"total_steps": 90, "find": "guess"}, "find must be one of"),
            ({"total_steps": 60, "find": "probe"}, 'total_steps must be at least 80 with "probe"'),
            ({"total_steps": 90, "max_lr": 0.0}, "max_lr must be"),
            ({"total_steps": 90, "momentum": 0.9}, "momentum must be"),
            ({"total_steps": 90, "momentum": (0.9, 0.8)}, "momentum must be"),
            ({"total_steps": 90, "fine_tuned": "yes"}, "fine_tuned must be one of"),
            ({"total_steps": 90, "seed": -1}, "seed must be"),
            ({"total_steps": 90, "verbose": 7}, "verbose must be one of"),
            ({"total_steps": 90, "opt_state": 1}, "opt_state must be"),
            ({"epochs": 2, "data": iter(BATCHES)}, "epochs must be None, and total_steps given"),
        ],
        ids=lambda part: str(list(part)) if isinstance(part, dict) else "",
    )
    def test_a_wrong_argument_is_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            fit(**options)


@pytest.mark.parametrize(
    ("make_optimizer", "kind"),
    [
        (optax.adam, "adam"),
        (optax.adamw, "adam"),
        (optax.sgd, "sgd"),
        (lambda rate: optax.sgd(rate, 0.9), "momentum"),
        (lambda rate: optax.inject_hyperparams(optax.sgd)(rate, momentum=0.9), "momentum"),
        (optax.rmsprop, "rmsprop"),
        (optax.adagrad, "adagrad"),
        (optax.lion, "lion"),
        (optax.adafactor, "adam"),
        (lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate)), "sgd"),
    ],
)
def test_the_kind_of_optimizer_is_seen_in_its_state(make_optimizer, kind):
    from cyclerate.optax._step import RatedOptimizer

    params = {"w": np.zeros((FEATURES, 300), np.float32)}
    optimizer = RatedOptimizer(make_optimizer, params)
    found = optimizer.prior(params, 32, 900, fine_tuned=False)
    size = FEATURES * 300
    assert found == prior_lr(kind, batch_size=32, total_steps=900, parameters=size)


def test_the_cycle_is_that_of_the_finder():
    training = started()
    assert isinstance(training.cycle, FindingCycle)
    assert training.cycle.total_steps == STEPS
