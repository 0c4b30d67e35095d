"""What a longer training would gain, in words."""

from __future__ import annotations

from cyclerate.compare._budgets import Budgets, duration
from cyclerate.cycles._how_long import HowLong


def budgets(*values: float | None, metric: str = "val_accuracy") -> Budgets:
    steps = tuple(100 * 2**i for i in range(len(values)))
    seconds = tuple(2.5 * step for step in steps)
    return Budgets(HowLong(steps, {metric: values}, metric, seconds))


def test_more_time_is_told_by_what_it_gains_and_half_of_it_by_what_it_cost():
    made = budgets(0.80, 0.85, 0.87)
    twice = made.told.forecast(800)
    assert made.sentence == (
        f"Another 17 minutes, twice the steps, gain about {100 * (twice.value - 0.87):.1f} points "
        f"(80 % interval: {100 * (twice.low - 0.87):+.1f} to {100 * (twice.high - 0.87):+.1f}). "
        "Half of the steps came to 2.0 points less."
    )
    assert made.rows[2] == ("400", "87.0 %", "\N{EN DASH}", "1,000")
    assert made.rows[3][::3] == ("800", "2,000")
    assert [row[1][:6] for row in made.rows[3:]] == ["about "] * 2
    assert made.svg().count("<polyline") >= 2


def test_what_is_better_when_lower_gains_by_falling():
    made = budgets(4.0, 3.0, 2.5, metric="val_rmse")
    assert "gain about 0." in made.sentence
    assert made.sentence.endswith("Half of the steps came to 0.5 of rmse less.")
    worse = budgets(0.9, 0.85, 0.7)
    assert ", twice the steps, lose about " in worse.sentence
    assert worse.sentence.endswith("Half of the steps came to 15.0 points more.")


def test_without_points_enough_there_is_no_forecast():
    lost = budgets(0.8, None, 0.9)
    assert lost.sentence == "There is no forecast: the last points are not finite."
    assert [row[1] for row in lost.rows] == ["80.0 %", "\N{EN DASH}", "90.0 %"]
    assert lost.svg().startswith("<svg")


def test_no_forecast_goes_on_from_a_point_that_is_not_finite():
    for values in ((0.9, 0.8, 0.7, None, None), (0.9, 0.8, 0.7, None)):
        lost = budgets(*values)
        assert lost.sentence == "There is no forecast: the last points are not finite."
        assert len(lost.rows) == len(values)


def test_a_duration_is_said_as_a_person_says_it():
    assert [duration(value) for value in (0.5, 89, 91, 3600, 7200)] == [
        "0.5 seconds",
        "89 seconds",
        "1.5 minutes",
        "60 minutes",
        "2.0 hours",
    ]
