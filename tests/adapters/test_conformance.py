"""One suite for all adapters: what is recorded was used, and what is lent is given back."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import cyclerate as cr
from cyclerate.range_test import RangeTest
from tests.adapters.driver import Driver, Trainee

DRIVERS = {
    "keras": ("tests.adapters.keras_driver", "KerasDriver"),
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
    return driver.trainee().train_on()


@pytest.fixture(scope="module")
def trainee(driver: Driver) -> Trainee:
    """One for all tests that only look: a range test gives it back."""
    return driver.trainee()


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


class Interruption(Exception):
    """Raised in the middle of a range test."""


ENDINGS = {
    "end of range": {},
    "diverged": {"end_lr": 1.0, "steps": 80},
    "NaN": {"data": "nan"},
    "exception": {"raises": Interruption},
    "Ctrl-C": {"raises": KeyboardInterrupt},
}
STOP_REASONS = {"end of range": "END_OF_RANGE", "diverged": "DIVERGED", "NaN": "NON_FINITE"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_is_given_back(
    driver: Driver, never_tested: np.ndarray, ending: str, monkeypatch: pytest.MonkeyPatch
):
    how = ENDINGS[ending]
    trainee = driver.trainee(how.get("data", "plain"))
    before = trainee.state()
    options = {"start_lr": 1e-5, "steps": how.get("steps", 40), "end_lr": how.get("end_lr", 0.1)}
    if "raises" in how:
        monkeypatch.setattr(RangeTest, "tell", interrupted_after(8, how["raises"]))
        with pytest.raises(how["raises"]):
            trainee.range_test(**options)
    else:
        result = trainee.range_test(**options)
        assert result.stop_reason.name == STOP_REASONS[ending]
    after = trainee.state()
    assert {name for name in before if before[name] != after.get(name)} == set()
    assert set(before) == set(after)
    np.testing.assert_array_equal(trainee.train_on(), never_tested)


def interrupted_after(steps: int, error: type[BaseException]):
    tell = RangeTest.tell

    def tell_or_raise(test: RangeTest, number: float) -> bool:
        if test.index == steps:
            raise error
        return tell(test, number)

    return tell_or_raise


class TestRangeTest:
    def test_the_same_seed_gives_the_same_curve(self, trainee: Trainee):
        options = {"steps": 12, "start_lr": 1e-4, "end_lr": 0.1}
        curves = [trainee.range_test(seed=seed, **options).losses for seed in (None, 0, 1)]
        np.testing.assert_array_equal(curves[0], curves[1])
        assert (curves[0] != curves[2]).any()

    def test_the_rates_are_those_of_the_sweep(self, trainee: Trainee):
        result = trainee.range_test(steps=12, start_lr=1e-4, end_lr=0.1)
        np.testing.assert_array_equal(result.lrs, cr.Sweep(1e-4, 0.1, 12).lrs())
        assert (result.metric, result.mode, result.method) == ("loss", "min", "range")
        assert result.seconds is not None

    def test_repeats_differ_in_the_order_of_the_data_alone(self, trainee: Trainee):
        options = {"steps": 12, "start_lr": 1e-4, "end_lr": 0.1}
        result = trainee.range_test(repeats=2, seed=3, **options)
        alone = [trainee.range_test(seed=seed, **options).losses for seed in (3, 4)]
        assert result.steps == 24
        for run, losses in zip(result.runs, alone, strict=True):
            np.testing.assert_array_equal(run.losses, losses)

    def test_data_shorter_than_the_sweep_are_gone_through_again(self, driver: Driver):
        result = driver.trainee("tiny").range_test(steps=15, end_lr=0.1)
        assert len(result.losses) == 15
        assert np.isfinite(result.losses).all()

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
    def test_nonsense_is_refused_and_touches_nothing(
        self, trainee: Trainee, options: dict, message: str
    ):
        before = trainee.state()
        with pytest.raises(ValueError, match=message):
            trainee.range_test(**options)
        assert trainee.state() == before
