"""One suite for all adapters: what is recorded was used, and what is lent is given back."""

from __future__ import annotations

import importlib
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest

import cyclerate as cr
from cyclerate._errors import CyclerateError
from cyclerate._randomness import lending
from cyclerate.finder import Probe, Race, RangeTest
from cyclerate.finder._prior import prior_lr
from tests.adapters.driver import Driver, Toy

DRIVERS = {
    "keras": ("tests.adapters.keras_driver", "KerasDriver"),
    "numpy": ("tests.adapters.numpy_driver", "NumpyDriver"),
    "optax": ("tests.adapters.optax_driver", "OptaxDriver"),
    "torch": ("tests.adapters.torch_driver", "TorchDriver"),
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword"
)
# Only Keras is another adapter under each backend.
AGAIN = {"keras": pytest.mark.keras_backend}


@pytest.fixture(
    params=[pytest.param(name, marks=AGAIN.get(name, ())) for name in DRIVERS], scope="module"
)
def driver(request: pytest.FixtureRequest) -> Driver:
    module, name = DRIVERS[request.param]
    return getattr(importlib.import_module(module), name)()


@pytest.fixture(scope="module")
def never_tested(driver: Driver) -> np.ndarray:
    """The weights of a training without a range test in it."""
    return driver.toy().train_on()


@pytest.fixture(scope="module")
def toy(driver: Driver) -> Toy:
    """One for all tests that only look: a range test gives it back."""
    return driver.toy()


STEPS = 9

SCHEDULES = [
    cr.Constant(0.25),
    cr.Linear(0.0, 0.5, steps=6),
    cr.Exponential(0.01, 1.0, steps=7),
    cr.Cosine(0.5, 0.1, steps=6),
    cr.Polynomial(0.5, 0.1, steps=6, power=2.0),
    cr.Triangular(0.1, 0.5, step_size=2),
    cr.Triangular2(0.1, 0.5, step_size=2),
    cr.ExpRange(0.1, 0.5, step_size=2, gamma=0.9),
    cr.Cyclic(0.1, 0.5, 2, step_size_down=3, shape="welch", scale_fn=lambda cycle: 1.0 / cycle),
    cr.OneCycle(0.5, total_steps=STEPS),
    cr.OneCycle(0.5, total_steps=STEPS, three_phase=True, shape="linear"),
    cr.WarmRestarts(0.5, cycle_steps=2, cycle_mult=2, min_lr=0.01),
    cr.WarmupStableDecay(0.5, total_steps=STEPS, warmup_frac=0.3, decay_frac=0.4),
    cr.Sequence([cr.Linear(0.0, 0.5, 3), cr.Cosine(0.5, 0.0, 4)], [3]),
    cr.Triangular(0.1, 0.5, step_size=2).mirrored(0.2, 0.6),
]


def name_of(schedule: cr.Schedule) -> str:
    return type(schedule).__name__


class TestSchedules:
    @pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
    def test_recorded_equals_simulated_equals_applied(self, driver: Driver, schedule: cr.Schedule):
        trained = driver.train(schedule, STEPS)
        assert trained.recorded == schedule(range(STEPS)).tolist()
        np.testing.assert_allclose(trained.applied, trained.recorded, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("first", [1, 4])
    def test_resumed_from_a_file_the_rates_are_those_of_one_run(
        self, driver: Driver, first: int, tmp_path: Path
    ):
        schedule = cr.Triangular2(0.1, 0.5, step_size=2)
        trained = driver.train_in_two_parts(schedule, STEPS, first, tmp_path)
        assert trained.recorded == schedule(range(STEPS)).tolist()
        np.testing.assert_allclose(trained.applied, trained.recorded, rtol=1e-5, atol=1e-6)


@pytest.fixture(params=["range", "probe"])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


class Interruption(Exception):
    """Raised in the middle of a range test."""


ENDINGS = {
    "end of range": {"stop_reason": "END_OF_RANGE"},
    "diverged": {"end_lr": 1.0, "steps": 80, "stop_reason": "DIVERGED"},
    "NaN": {"data": "nan", "stop_reason": "NON_FINITE"},
    "exception": {"raises": Interruption, "at": (RangeTest, 8)},
    "Ctrl-C": {"raises": KeyboardInterrupt, "at": (RangeTest, 8)},
    "exception in a race": {"raises": Interruption, "at": (Race, 15)},
    "Ctrl-C in a race": {"raises": KeyboardInterrupt, "at": (Race, 3)},
    "exception after the first score": {"raises": Interruption, "at": (Probe, 0)},
    "Ctrl-C after the score of a race": {"raises": KeyboardInterrupt, "at": (Probe, 3)},
}
MATRIX = [
    *(("range", ending) for ending in list(ENDINGS)[:5]),
    *(("probe", ending) for ending in ENDINGS),
]


@pytest.mark.parametrize(("method", "ending"), MATRIX, ids=map(" ".join, MATRIX))
def test_all_is_given_back(
    driver: Driver, never_tested: np.ndarray, method: str, ending: str, monkeypatch
):
    how = ENDINGS[ending]
    toy = driver.toy(how.get("data", "plain"))
    before = toy.state()
    options = {"start_lr": 1e-5, "steps": how.get("steps", 40), "end_lr": how.get("end_lr", 0.1)}
    options |= short(method, options["steps"])
    if "raises" in how:
        asked, times = how["at"]
        monkeypatch.setattr(asked, "tell", interrupted_after(asked, times, how["raises"]))
        with pytest.raises(how["raises"]):
            toy.range_test(**options)
    else:
        result = toy.range_test(**options)
        assert (result.method, result.stop_reason.name) == (method, how["stop_reason"])
    after = toy.state()
    assert {name for name in before if before[name] != after.get(name)} == set()
    assert set(before) == set(after)
    np.testing.assert_array_equal(toy.train_on(), never_tested)


def test_in_a_second_thread_it_is_refused_by_name_and_touches_nothing(toy: Toy):
    if type(toy).__name__ == "NumpyToy":
        pytest.skip("a trainee of one's own need not use the generators that threads share")
    before, told = toy.state(), []

    def tested():
        try:
            toy.range_test(method="range", steps=12)
        except CyclerateError as error:
            told.append(str(error))

    thread = threading.Thread(target=tested)
    with lending():
        thread.start()
        thread.join()
    assert [text[:37] for text in told] == ["a range test runs in another thread: "]
    assert toy.state() == before


def short(method: str, sweep_steps: int) -> dict:
    """What makes a range test of a method, with races of 20 steps if there are any."""
    return {"method": method} | ({"max_steps": sweep_steps + 60} if method == "probe" else {})


def interrupted_after(asked: type, times: int, error: type[BaseException]):
    """The method `tell` of a class, which raises when it has been called often enough."""
    tell, calls = asked.tell, []

    def tell_or_raise(self, number) -> bool:
        if len(calls) == times:
            raise error
        calls.append(number)
        return tell(self, number)

    return tell_or_raise


class TestRangeTest:
    def test_the_same_seed_gives_the_same_curve_and_answer(self, toy: Toy, method: str):
        options = {"steps": 12, "start_lr": 1e-4, "end_lr": 0.1, **short(method, 12)}
        results = [toy.range_test(seed=seed, **options) for seed in (None, 0, 1)]
        np.testing.assert_array_equal(results[0].losses, results[1].losses)
        assert (results[0].losses != results[2].losses).any()
        assert (results[0].max_lr, results[0].verdict) == (results[1].max_lr, results[1].verdict)

    def test_the_rates_are_those_of_the_sweep(self, toy: Toy, method: str):
        result = toy.range_test(steps=12, start_lr=1e-4, end_lr=0.1, **short(method, 12))
        np.testing.assert_array_equal(result.lrs, cr.Sweep(1e-4, 0.1, 12).lrs())
        assert (result.metric, result.mode, result.method) == ("loss", "min", method)
        assert result.seconds is not None

    def test_repeats_differ_in_the_order_of_the_data_alone(self, toy: Toy, method: str):
        options = {"steps": 12, "start_lr": 1e-4, "end_lr": 0.1, **short(method, 12)}
        result = toy.range_test(repeats=2, seed=3, **options)
        alone = [toy.range_test(seed=seed, **options) for seed in (3, 4)]
        assert result.steps == sum(single.steps for single in alone)
        for run, single in zip(result.runs, alone, strict=True):
            np.testing.assert_array_equal(run.losses, single.losses)
            assert (run.max_lr, run.verdict) == (single.max_lr, single.verdict)

    def test_data_shorter_than_the_sweep_are_gone_through_again(self, driver: Driver, method: str):
        toy = driver.toy("tiny")
        result = toy.range_test(steps=15, end_lr=0.1, **short(method, 15))
        assert len(result.losses) == 15
        assert np.isfinite(result.losses).all()

    def test_a_probe_begins_with_its_sweep_and_keeps_to_its_steps(self, toy: Toy):
        options = {"steps": 20, "start_lr": 1e-4, "end_lr": 10.0}
        swept = toy.range_test(method="range", **options)
        probed = toy.range_test(method="probe", max_steps=100, **options)
        np.testing.assert_array_equal(probed.losses, swept.losses)
        assert swept.steps < probed.steps <= 100
        assert re.match(r"Of \d+ races? of \d+ steps the best rate was", probed.verdict)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"start_lr": 0.0}, "start_lr must be"),
            ({"end_lr": 1e-9}, "end_lr must be"),
            ({"steps": 2.5}, "steps must be"),
            ({"steps": 1}, "steps must be"),
            ({"spacing": "log"}, "spacing must be one of"),
            ({"method": "guess"}, "method must be one of"),
            ({"repeats": 0}, "repeats must be"),
            ({"seed": -1}, "seed must be"),
            ({"verbose": 2}, "verbose must be one of"),
            ({"metric": ""}, "metric must be"),
            ({"metric": "speed"}, "(metric|mode) must be"),
            ({"mode": "lower"}, "mode must be one of"),
            ({"stop_early": None}, "stop_early must be one of"),
            ({"horizon_steps": 0}, "horizon_steps must be"),
        ],
        ids=lambda part: str(part) if isinstance(part, dict) else "",
    )
    def test_nonsense_is_refused_and_touches_nothing(self, toy: Toy, options: dict, message: str):
        check_refused(toy, {"method": "range", **options}, message)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"policy": "sawtooth"}, "policy must be one of"),
            ({"horizon_steps": 0}, "horizon_steps must be"),
            ({"max_steps": 0}, "max_steps must be"),
            ({"max_steps": 50}, "max_steps must be at least 130 with this sweep"),
            ({"method": "races"}, "method must be one of"),
        ],
        ids=lambda part: str(part) if isinstance(part, dict) else "",
    )
    def test_nonsense_for_a_probe_is_refused_and_touches_nothing(
        self, toy: Toy, options: dict, message: str
    ):
        check_refused(toy, {"method": "probe", **options}, message)


BUDGET = {"start_lr": 1e-4, "end_lr": 1.0, "budget_steps": 100, "find": "probe"}


class TestProvenance:
    def test_a_result_says_where_it_comes_from(self, driver: Driver):
        options = {"method": "range", "steps": 20, "start_lr": 1e-4, "end_lr": 1.0}
        toy = driver.toy()
        one, again = (toy.range_test(**options, seed=3) for _ in range(2))
        told = one.provenance
        assert told is not None
        expected = {"seed": 3, "repeats": 1, "policy": "one_cycle", "metric": "loss"}
        assert expected.items() <= told.items()
        assert {"cyclerate", "python", "numpy"} <= told["versions"].keys()
        assert one == again
        assert cr.RangeTestResult.from_dict(one.to_dict()).provenance == told
        assert pickle.loads(pickle.dumps(one)).provenance == told
        if toy.parameters is None:
            assert "data" not in told
            return
        other = driver.toy("tiny").range_test(**options).provenance
        assert again.provenance is not None
        assert other is not None
        assert told["data"] == again.provenance["data"] != other["data"]
        assert told["backend"] in ("jax", "tensorflow", "torch")
        assert told["backend"] in told["versions"]
        assert "cpu" in told["device"].lower()


class TestRecommend:
    def test_tuning_and_training_are_the_budget_and_all_is_given_back(
        self, driver: Driver, never_tested: np.ndarray
    ):
        toy = driver.toy()
        before = toy.state()
        found = toy.recommend(**BUDGET)
        assert toy.state() == before
        assert found.steps + found.training_steps == 100
        assert (found.range_test.planned_steps, found.range_test.method) == (10, "probe")
        assert found.range_test.races
        known = [reading.source for reading in found.range_test.readings]
        assert ("prior" in known) == (toy.parameters is not None)
        if found.schedule is not None:
            assert found.max_lr is not None
            assert found.schedule == cr.OneCycle(found.max_lr, found.training_steps)
        np.testing.assert_array_equal(toy.train_on(), never_tested)

    def test_small_budgets_are_left_to_the_training(self, driver: Driver, never_tested: np.ndarray):
        toy = driver.toy()
        before = toy.state()
        found = toy.recommend(budget_steps=100)
        assert toy.state() == before
        np.testing.assert_array_equal(toy.train_on(), never_tested)
        if toy.parameters is None:
            assert (found.find, found.range_test.method) == ("probe", "probe")
            return
        size = toy.parameters
        expected = prior_lr("momentum", batch_size=8, total_steps=100, parameters=size).lr
        assert (found.find, found.steps, found.training_steps) == ("warmup", 0, 100)
        assert found.max_lr == pytest.approx(expected)
        assert found.max_lr is not None
        assert found.schedule == cr.OneCycle(found.max_lr, 100)

    def test_all_is_given_back_after_ctrl_c(
        self, driver: Driver, never_tested: np.ndarray, monkeypatch
    ):
        toy = driver.toy()
        before = toy.state()
        monkeypatch.setattr(Race, "tell", interrupted_after(Race, 3, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            toy.recommend(**BUDGET)
        assert toy.state() == before
        np.testing.assert_array_equal(toy.train_on(), never_tested)

    def test_minutes_that_are_too_few_are_measured_and_give_all_back(self, toy: Toy):
        before = toy.state()
        with pytest.raises(CyclerateError, match="budget_minutes is too small"):
            toy.recommend(budget_minutes=1e-4)
        assert toy.state() == before

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "one given"),
            ({"budget_steps": 20}, "budget_steps must be at least 80"),
            ({"epochs": 1}, "budget_steps must be at least 80"),
            ({"budget_steps": 100, "policies": ["sawtooth"]}, "policies must be one of"),
            ({"budget_steps": 100, "seed": -1}, "seed must be"),
            ({"budget_steps": 100, "verbose": 2}, "verbose must be one of"),
            ({"budget_steps": 100, "metric": ""}, "metric must be"),
        ],
        ids=lambda part: str(part) if isinstance(part, dict) else "",
    )
    def test_nonsense_is_refused_and_touches_nothing(self, toy: Toy, options: dict, message: str):
        before = toy.state()
        with pytest.raises(ValueError, match=message):
            toy.recommend(**options)
        assert toy.state() == before


def check_refused(toy: Toy, options: dict, message: str):
    before = toy.state()
    with pytest.raises(ValueError, match=message):
        toy.range_test(**options)
    assert toy.state() == before
