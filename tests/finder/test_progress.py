from __future__ import annotations

import sys

import pytest

from cyclerate.finder import (
    FunctionTrainee,
    Race,
    RangeTest,
    RecommendationSettings,
    Sweep,
    recommend,
)
from cyclerate.finder._progress import Progress
from cyclerate.finder._range_test import most_steps_of
from cyclerate.finder._recommend import tell_cost


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cyclerate.finder._progress._EVERY_SECONDS", 0.0)


def shown(progress: Progress, *runs: RangeTest | Race, value: float = 0.5) -> None:
    for run in runs:
        run.tell(value)
        progress.show(run, value)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().err.split("\r")[1:]]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("verbose", ["auto", 0, 1])
def test_what_finding_costs_is_said_beforehand(verbose, terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    tell_cost(verbose, 1000, most_steps=120)
    tell_cost(verbose, 3300, most_steps=400, beside=True)
    tell_cost(verbose, 500)
    told = capsys.readouterr().err.splitlines()
    if verbose == 0 or (verbose == "auto" and not terminal):
        assert told == []
        return
    assert told == [
        "Finding the rate: at most 120 steps, about 12% of your 1,000.",
        "Finding the rate: at most 400 steps more, about 12% of your 3,300.",
        "The way up of the cycle finds the rate: 60 steps, about 12% of your 500.",
    ]


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ({"method": "probe"}, 400),
        ({"method": "probe", "max_steps": None}, 400),
        ({"method": "probe", "steps": 300}, 600),
        ({"method": "probe", "max_steps": 250, "repeats": 3}, 750),
        ({"method": "range"}, 100),
        ({"method": "range", "steps": 60, "repeats": 2, "horizon_steps": 10}, 120),
    ],
)
def test_it_is_counted_as_the_range_test_takes_it(asked, most):
    assert most_steps_of(asked) == most


def test_a_recommendation_says_it_before_its_first_step(capsys):
    said = []

    def step(lr: float) -> float:
        said.append(capsys.readouterr().err)
        return 1.0

    trainee = FunctionTrainee(lambda: None, step, lambda: 1.0)
    recommend(trainee, RecommendationSettings(budget_steps=1000), verbose=1)
    assert said[0].startswith("Finding the rate: at most 150 steps, about 15% of your 1,000.\n")


def test_a_sweep_alone(capsys: pytest.CaptureFixture[str]):
    sweep = RangeTest(Sweep(1e-3, 1.0, 10))
    shown(Progress(1, 1), sweep, sweep)
    assert lines(capsys) == [
        "range test: step 1/10, rate 0.001, loss 0.5",
        "range test: step 2/10, rate 0.0022, loss 0.5",
    ]


def test_races_are_counted_from_each_sweep_on(capsys: pytest.CaptureFixture[str]):
    progress = Progress(1, 2, "probe")
    first, race = RangeTest(Sweep(1e-3, 1.0, 10), metric="error"), Race([0.1] * 4, 0.013)
    shown(progress, first, race, race, Race([0.2], 0.2))
    progress.sweep = 2
    shown(progress, RangeTest(Sweep(1e-3, 1.0, 10), metric="error"), Race([0.2], 0.2))
    assert lines(capsys) == [
        "probe 1 of 2: sweep step 1/10, rate 0.001, error 0.5",
        "probe 1 of 2: race 1 at 0.013, step 1/4, error 0.5",
        "probe 1 of 2: race 1 at 0.013, step 2/4, error 0.5",
        "probe 1 of 2: race 2 at 0.2, step 1/1, error 0.5",
        "probe 2 of 2: sweep step 1/10, rate 0.001, error 0.5",
        "probe 2 of 2: race 1 at 0.2, step 1/1, error 0.5",
    ]


def test_a_line_fits_a_terminal_whatever_the_metric(capsys: pytest.CaptureFixture[str]):
    shown(Progress(1, 1, "probe"), RangeTest(metric="m" * 90))
    assert max(map(len, lines(capsys))) == 79


def test_it_is_quiet_where_nobody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cyclerate.finder._progress.QUIET_SECONDS", 0.0)
    shown(Progress("auto", 1, "probe"), RangeTest())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown(Progress("auto", 1, "probe"), RangeTest())
    assert "probe: sweep step 1/100" in capsys.readouterr().err


def test_the_line_is_cleared_at_the_end(capsys: pytest.CaptureFixture[str]):
    progress = Progress(1, 1)
    shown(progress, RangeTest())
    progress.close()
    line = "range test: step 1/100, rate 1e-07, loss 0.5"
    assert capsys.readouterr().err == f"\r{line}\r{' ' * len(line)}\r"
