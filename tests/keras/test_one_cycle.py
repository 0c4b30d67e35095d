"""fit_one_cycle: OneCycle through the callback, with the rate found where none is given."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate.finder._prior import prior_lr
from cyclerate.keras._state import seed_all_randomness
from tests.keras.toys import ONES, ZEROS, one_weight, value

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")


def linear_model(optimizer: Any = None) -> Any:
    seed_all_randomness(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(momentum=0.9), "mse")
    return model


def test_rate_and_momentum_are_those_of_the_policy():
    history = ck.fit_one_cycle(linear_model(), X, Y, 2, 0.1, batch_size=8, verbose=0)
    policy = cr.OneCycle(0.1, total_steps=12)
    assert history.steps == {
        "learning_rate": policy(range(12)).tolist(),
        "momentum": policy.mirrored(0.85, 0.95)(range(12)).tolist(),
    }
    assert history.range_test is None


@pytest.mark.parametrize("options", [{"max_lr": 0.1}, {}], ids=["given", "found"])
def test_a_beta_1_of_0_is_no_momentum_and_is_left_alone(options):
    model = linear_model(keras.optimizers.Adam(beta_1=0.0))
    history = ck.fit_one_cycle(model, X, Y, 2, batch_size=8, verbose=0, **options)
    assert "momentum" not in history.steps
    assert model.optimizer.beta_1 == 0.0


def test_an_optimizer_without_momentum_cycles_its_rate_alone():
    model = linear_model(keras.optimizers.Adagrad())
    history = ck.fit_one_cycle(model, X, Y, 1, 0.1, batch_size=8, verbose=0)
    assert list(history.steps) == ["learning_rate"]


def test_the_form_of_the_cycle_can_be_chosen():
    options = {"up_frac": 0.5, "start_div": 4.0, "end_div": 10.0, "shape": "linear"}
    history = ck.fit_one_cycle(
        linear_model(), X, Y, 2, 0.1, batch_size=8, verbose=0, momentum=None, **options
    )
    assert history.steps == {"learning_rate": cr.OneCycle(0.1, 12, **options)(range(12)).tolist()}


def test_without_a_rate_the_training_is_that_with_the_rate_found():
    found_by_itself, given = linear_model(), linear_model()
    options: dict[str, Any] = {"batch_size": 8, "verbose": 0}
    history = ck.fit_one_cycle(
        found_by_itself, X, Y, 2, **options, range_test_options={"steps": 60}
    )
    max_lr = history.range_test.max_lr
    seed_all_randomness(1)
    given = linear_model()
    ck.fit_one_cycle(given, X, Y, 2, max_lr, **options)
    assert max(history.steps["learning_rate"]) == max_lr
    np.testing.assert_array_equal(value(found_by_itself.weights[0]), value(given.weights[0]))


def test_without_a_clear_answer_it_trains_at_the_rate_to_expect():
    model = one_weight(keras.optimizers.SGD())
    options = {"method": "range", "steps": 20, "end_lr": 1e-3}
    history = ck.fit_one_cycle(
        model, 0 * ONES, ZEROS, total_steps=200, verbose=0, range_test_options=options
    )
    found, rates = history.range_test, history.steps["learning_rate"]
    expected = prior_lr("sgd", batch_size=32, total_steps=140, parameters=1).lr
    assert (found.max_lr, found.fallback_lr) == (None, pytest.approx(expected))
    assert max(rates) == pytest.approx(expected, rel=1e-6)
    assert int(model.optimizer.iterations) == len(rates) == 180


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return ONES, ZEROS


def test_updates_are_counted_where_gradients_accumulate():
    model = one_weight(keras.optimizers.SGD(gradient_accumulation_steps=2))
    history = ck.fit_one_cycle(model, Batches(), epochs=2, max_lr=0.1, verbose=0)
    assert history.steps["learning_rate"] == cr.OneCycle(0.1, 3)(range(3)).tolist()


def test_other_callbacks_run_too_and_validation_data_are_looked_at():
    epochs: list[int] = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    history = ck.fit_one_cycle(
        linear_model(), X, Y, 2, 0.1, callbacks=note, validation_data=(X, Y), verbose=0
    )
    assert epochs == [0, 1]
    assert len(history.history["val_loss"]) == 2


@pytest.mark.parametrize("find", ["warmup", "probe", "sweep", "given"])
def test_total_steps_are_all_there_are_with_those_of_finding(find: str):
    model = linear_model()
    how = {"max_lr": 0.1} if find == "given" else {"find": find}
    options: dict[str, Any] = {"batch_size": 8, "verbose": 0, **how}
    history = ck.fit_one_cycle(model, X, Y, total_steps=100, **options)
    found = history.range_test
    rates = history.steps["learning_rate"]
    assert (found is not None) == (find in ("probe", "sweep"))
    assert (history.finding is not None) == (find == "warmup")
    assert len(rates) + (0 if found is None else found.steps) == 100
    if find == "warmup":
        assert rates[-1] == pytest.approx(history.finding["top"] / 100, rel=0.01)
    else:
        assert rates[-1] == pytest.approx(cr.OneCycle(max(rates), len(rates))(len(rates) - 1))
        assert int(model.optimizer.iterations) == len(rates)


def test_the_cycle_finds_its_own_top_unless_only_the_policy_has_what_is_given():
    options: dict[str, Any] = {"batch_size": 8, "verbose": 0}
    warmup = ck.fit_one_cycle(linear_model(), X, Y, 4, **options)
    assert len(warmup.steps["learning_rate"]) == 24
    assert warmup.finding["source"] == "prior"  # 24 steps are too few for a way up
    assert warmup.range_test is None
    probed = ck.fit_one_cycle(
        linear_model(), X, Y, 4, **options, shape="linear", range_test_options={"steps": 40}
    )
    assert (probed.finding, probed.range_test.method) == (None, "probe")


def test_validation_split_sets_the_last_rows_aside_as_fit_does():
    ours, theirs = linear_model(), linear_model()
    weights = np.linspace(0.5, 1.5, len(X))
    given: dict[str, Any] = {"batch_size": 8, "sample_weight": weights, "verbose": 0}
    seed_all_randomness(3)
    told = ck.fit_one_cycle(ours, X, Y, 2, 0.1, **given, validation_split=0.3)
    cycle = cr.OneCycle(0.1, total_steps=10)  # 33 rows of 48 are trained on
    callback = ck.ScheduleCallback(cycle, cycle.mirrored(0.85, 0.95))
    seed_all_randomness(3)
    by_hand = theirs.fit(X, Y, epochs=2, **given, validation_split=0.3, callbacks=[callback])
    assert told.steps["learning_rate"] == cycle(range(10)).tolist()
    assert told.history == by_hand.history
    assert len(told.history["val_loss"]) == 2


def test_what_is_set_aside_is_not_searched_and_validation_data_go_before_it():
    half = X[:24], Y[:24]
    seen: list[int] = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    options: dict[str, Any] = {"batch_size": 8, "verbose": 0, "callbacks": [note]}
    found = ck.fit_one_cycle(linear_model(), X, Y, total_steps=30, validation_split=0.5, **options)
    assert max(seen) == 2  # three batches of eight rows
    assert "val_loss" in found.history
    seen.clear()
    ck.fit_one_cycle(
        linear_model(), X, Y, 1, 0.1, validation_split=0.5, validation_data=half, **options
    )
    assert max(seen) == 5
    with pytest.raises(ValueError, match="validation_split must be left out with a Batches"):
        ck.fit_one_cycle(linear_model(), Batches(), epochs=1, max_lr=0.1, validation_split=0.5)


@pytest.mark.parametrize("length", [{"epochs": 4}, {"total_steps": 21}], ids=str)
def test_an_initial_epoch_goes_on_with_its_step(length: dict[str, int]):
    options: dict[str, Any] = {"batch_size": 8, "max_lr": 0.1, "verbose": 0, **length}
    whole = ck.fit_one_cycle(linear_model(), X, Y, **options)
    rest = ck.fit_one_cycle(linear_model(), X, Y, **options, initial_epoch=2)
    assert rest.epoch == [2, 3]
    assert rest.steps == {name: values[12:] for name, values in whole.steps.items()}


def told_of(model: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """What `fit_one_cycle` gives, and a tracker that it told."""
    from tests.test_trackers import Noting

    with cr.tracking(noting := Noting()):
        return ck.fit_one_cycle(model, *arguments, verbose=0, **options), noting


@pytest.mark.parametrize("options", [{"max_lr": 0.1}, {}], ids=["given", "found"])
def test_trackers_are_told_every_step_and_what_was_measured(options: dict[str, Any]):
    model, quiet = linear_model(), linear_model()
    options |= {"batch_size": 8, "total_steps": 16, "validation_data": (X, Y), "shuffle": False}
    history, noting = told_of(model, X, Y, **options)
    steps = [told for told in noting.steps_told if "loss" in told[1]]
    assert [(group, first) for group, _, first in steps] == [("training", i) for i in (0, 6, 12)]
    for name in ("learning_rate", "momentum"):
        assert [v for _, columns, _ in steps for v in columns[name]] == history.steps[name]
    losses = [columns["loss"] for _, columns, _ in steps]
    assert list(map(len, losses)) == [6, 6, 4]
    own = linear_model().evaluate(X[:8], Y[:8], verbose=0)
    assert losses[0][0] == pytest.approx(own, rel=1e-5)
    means = [float(np.mean(epoch)) for epoch in losses]
    assert means == pytest.approx(history.history["loss"], rel=1e-4)
    measured = [(c["val_loss"], first) for _, c, first in noting.steps_told if "val_loss" in c]
    expected = zip(history.history["val_loss"], (5, 11, 15), strict=True)
    assert measured == [([loss], step) for loss, step in expected]
    assert [group for group, *_ in noting.found_told] == ([] if "max_lr" in options else ["cycle"])
    ck.fit_one_cycle(quiet, X, Y, verbose=0, **options)
    np.testing.assert_array_equal(value(model.weights[0]), value(quiet.weights[0]))


def test_trackers_are_told_of_updates_not_of_batches():
    model = one_weight(keras.optimizers.SGD(gradient_accumulation_steps=2))
    history, noting = told_of(model, Batches(), epochs=2, max_lr=0.1)
    (_, first, at), (_, second, then) = noting.steps_told
    assert (at, then, len(first["loss"]), len(second["loss"])) == (0, 1, 1, 2)
    assert first["learning_rate"] + second["learning_rate"] == history.steps["learning_rate"]


def test_trackers_bear_an_epoch_without_an_update():
    model = one_weight(keras.optimizers.SGD(gradient_accumulation_steps=4))
    history, noting = told_of(model, Batches(), epochs=8)
    steps = [(columns, first) for _, columns, first in noting.steps_told]
    assert [v for columns, _ in steps for v in columns["loss"]] == history.steps["loss"]
    assert [first for _, first in steps] == [0, 1, 2, 3, 4, 5]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="it executes one step at a time")
def test_steps_of_one_execution_have_their_mean_and_a_later_epoch_its_step():
    model = linear_model()
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse", steps_per_execution=4)
    history, noting = told_of(model, X, Y, 3, 0.1, batch_size=8, initial_epoch=1)
    (_, first, at), (_, second, then) = noting.steps_told
    assert (at, then) == (6, 12)
    assert [len(set(one["loss"])) for one in (first, second)] == [2, 2]
    assert first["loss"][0] == first["loss"][3] != first["loss"][4] == first["loss"][5]
    assert np.mean(second["loss"]) == pytest.approx(history.history["loss"][1], rel=1e-5)


@pytest.mark.parametrize("find", [{"max_lr": 0.1}, {"find": "sweep"}])
def test_a_length_in_updates_takes_one_step_per_execution(find: dict[str, Any]):
    model = linear_model()
    model.compile(keras.optimizers.SGD(), "mse", steps_per_execution=2)
    before = value(model.weights[0]).tolist()
    with pytest.raises(ValueError, match=r"steps_per_execution must be 1 with total_steps.*ved: 2"):
        ck.fit_one_cycle(model, X, Y, total_steps=9, batch_size=8, verbose=0, **find)
    assert value(model.weights[0]).tolist() == before


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_lr": -1.0}, "max_lr must be"),
            ({"epochs": 0}, "epochs must be"),
            ({"up_frac": 2.0}, "up_frac must be"),
            ({"momentum": 0.9}, r"momentum must be \(lowest, highest\)"),
            ({"momentum": (0.95, 0.85)}, "low must be"),
            ({"validation_split": 0.99}, "validation_split must be a share that leaves rows"),
            ({"validation_split": -1}, "validation_split must be a finite number >= 0 and < 1"),
            ({"initial_epoch": 1}, "initial_epoch must be before the last epoch"),
            ({"initial_epoch": 1, "max_lr": None, "epochs": 4}, "must be 0 here: to go on, give"),
            ({"initial_epoch": 1, "max_lr": None, "epochs": 4, "find": "probe"}, "give max_lr as"),
            ({"range_test_options": {"steps": -1}, "max_lr": None}, "steps must be"),
            ({"epochs": None}, "epochs or total_steps must be given, one of them"),
            ({"total_steps": 9}, "epochs or total_steps must be given, one of them"),
            ({"find": "probe"}, "find must be left out where max_lr is given"),
            ({"find": "guess", "max_lr": None}, "find must be one of"),
            ({"find": "warmup", "max_lr": None, "guard": True}, "guard must be left out"),
            ({"find": "sweep", "max_lr": None, "epochs": None, "total_steps": 9}, ">= 80"),
        ],
        ids=lambda part: str(part) if isinstance(part, dict) else "",
    )
    def test_wrong_arguments(self, options: dict, message: str):
        model = linear_model()
        with pytest.raises(ValueError, match=message):
            ck.fit_one_cycle(model, X, Y, **{"max_lr": 0.1, "epochs": 1, **options})
        assert int(model.optimizer.iterations) == 0

    def test_data_that_do_not_say_how_many_batches_they_have(self):
        endless = ((ONES, ZEROS) for _ in iter(int, 1))
        model = one_weight(keras.optimizers.SGD())
        with pytest.raises(ValueError, match="steps_per_epoch must be given"):
            ck.fit_one_cycle(model, endless, epochs=1, max_lr=0.1)
        history = ck.fit_one_cycle(
            model, endless, epochs=2, max_lr=0.1, steps_per_epoch=3, verbose=0
        )
        assert len(history.steps["learning_rate"]) == 6
