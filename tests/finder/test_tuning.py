from __future__ import annotations

import pytest

from cyclerate.finder._recommend import Tuning, tuning_for


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (80, Tuning(10, 40, 40)),
        (200, Tuning(15, 60, 60)),
        (400, Tuning(30, 120, 120)),
        (800, Tuning(30, 120, 120)),
        (1300, Tuning(48, 195, 195)),
    ],
)
def test_a_small_budget_goes_into_the_rate_alone(budget: int, expected: Tuning):
    assert tuning_for(budget, 3) == expected
    assert not expected.races_policies


def test_a_large_budget_leaves_steps_for_races_of_policies():
    found = tuning_for(2000, 3)
    assert (found.steps, found.sweep_steps) == (300, 75)
    race = (found.probe_steps - 0.7 * found.sweep_steps) / 3
    assert found.probe_steps + 2 * race == pytest.approx(300, abs=2)
    assert found.races_policies
    assert tuning_for(2000, 1) == Tuning(75, 300, 300)


def test_there_is_an_end_to_what_tuning_is_worth():
    assert tuning_for(10**6, 3) == Tuning(100, 388, 600)
    assert tuning_for(10**6, 1).steps == 400


def test_the_share_falls_to_15_percent():
    shares = [tuning_for(budget, 3).steps / budget for budget in range(80, 5000, 7)]
    assert max(shares) == 0.5
    assert max(shares[8:]) <= 0.31
    assert max(shares[110:]) <= 0.151


@pytest.mark.parametrize("budget", [0, 79, 80.5, None, 2**62])
def test_a_budget_for_nothing_is_refused(budget):
    with pytest.raises(ValueError, match="budget_steps must be"):
        tuning_for(budget, 3)
