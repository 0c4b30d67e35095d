from __future__ import annotations

import pytest

from cyclerate._errors import CyclerateError
from cyclerate.finder import Probe, RangeTestSettings, Sweep, Trainee, drive, range_test
from cyclerate.finder._range_test import Procedure


class Slope:
    """Steps that lower a loss by their rate, and counts of what was asked for."""

    def __init__(self) -> None:
        self.restored = 0
        self.scored = 0
        self.rates: list[float] = []
        self.loss = 1.0

    def restore(self) -> None:
        self.restored += 1
        self.loss = 1.0

    def step(self, lr: float) -> float:
        self.rates.append(lr)
        self.loss = self.loss / (1 + lr)
        return self.loss

    def score(self) -> float:
        self.scored += 1
        return self.loss


def driven(plan: RangeTestSettings) -> tuple[Slope, Procedure]:
    slope, procedure = Slope(), plan.new()
    drive(procedure, restore=slope.restore, step=slope.step, score=slope.score)
    return slope, procedure


def test_the_sweep_alone_is_one_run_without_a_score():
    sweep = Sweep(1e-4, 1.0, steps=20)
    slope, procedure = driven(RangeTestSettings(sweep, method="range"))
    assert slope.rates == sweep.lrs().tolist()
    assert (slope.restored, slope.scored) == (1, 0)
    result = procedure.result(seconds=2.0)
    assert (result.method, result.steps, result.seconds) == ("range", 20, 2.0)


def test_a_probe_wants_a_score_after_every_run_but_the_sweep():
    slope, procedure = driven(
        RangeTestSettings(Sweep(1e-4, 1.0, steps=20), max_steps=80, horizon_steps=500)
    )
    result = procedure.result()
    assert result.method == "probe"
    assert len(slope.rates) == result.steps <= 80
    assert slope.scored == slope.restored - 1
    assert slope.restored >= 1 + 1 + 2


class Seeds(Trainee):
    """Notes the seeds that it is given."""

    def __init__(self) -> None:
        self.of_runs: list[int] = []
        self.of_samples: list[int] = []
        self.loss = 1.0

    def restore(self, seed: int) -> None:
        self.of_runs.append(seed)
        self.loss = 1.0

    def step(self, lr: float) -> float:
        self.loss = self.loss / (1 + lr)
        return self.loss

    def score(self, seed: int) -> float:
        self.of_samples.append(seed)
        return self.loss


@pytest.mark.parametrize("seed", [0, 5, 2**30 - 1])
def test_every_repeat_has_its_seed_and_its_sample_another(seed: int):
    trainee = Seeds()
    sweep = Sweep(1e-4, 1.0, steps=20)
    settings = RangeTestSettings(sweep, max_steps=80, repeats=3, seed=seed)
    range_test(trainee, settings, verbose=0)
    assert sorted(set(trainee.of_runs)) == [seed, seed + 1, seed + 2]
    assert len(set(trainee.of_samples)) == 3
    assert len(trainee.of_samples) >= 3 * 3
    assert not set(trainee.of_samples) & set(trainee.of_runs)


def test_a_run_that_is_not_over_cannot_be_ended():
    procedure = RangeTestSettings(Sweep(steps=10), method="range").new()
    with pytest.raises(CyclerateError, match="not over"):
        procedure.tell(None)


def test_a_longer_sweep_leaves_as_many_steps_for_races():
    usual, longer = (RangeTestSettings(Sweep(steps=steps)).new() for steps in (100, 1000))
    assert isinstance(usual, Probe)
    assert isinstance(longer, Probe)
    assert (usual.max_steps, longer.max_steps) == (400, 1300)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "races"}, r"method must be one of .*probe.*range.*Received: 'races'"),
        ({"policy": "sawtooth"}, r"policy must be one of .*one_cycle.*Received: 'sawtooth'"),
        ({"horizon_steps": 0}, r"horizon_steps must be .*Received: 0"),
        ({"max_steps": 2.5}, r"max_steps must be .*Received: 2\.5"),
        ({"max_steps": 129}, r"max_steps must be at least 130 with this sweep\. Received: 129"),
        ({"stop_early": "no"}, r"stop_early must be .*Received: 'no'"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        RangeTestSettings(Sweep(steps=100), **wrong)
