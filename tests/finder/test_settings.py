"""Settings are values: the keywords of a call are a short way to the same object."""

from __future__ import annotations

import dataclasses

import pytest

from cyclerate.finder import RangeTestSettings, RecommendationSettings, Sweep
from cyclerate.finder._sweep import settings_of

SWEEP = {"start_lr": 1e-7, "end_lr": 10.0, "steps": 100, "spacing": "exponential"}


def test_keywords_describe_the_same_value():
    swept = {**SWEEP, "steps": 50}
    short = settings_of(RangeTestSettings, None, swept, method="range", repeats=2, seed=None)
    assert short == RangeTestSettings(Sweep(steps=50), method="range", repeats=2, seed=0)
    assert short != dataclasses.replace(short, seed=1)
    assert len({short, dataclasses.replace(short)}) == 1


def test_settings_that_were_given_are_taken_as_they_are():
    settings = RangeTestSettings(Sweep(steps=50), policy="constant")
    assert (
        settings_of(RangeTestSettings, settings, SWEEP, policy="one_cycle", seed=None) is settings
    )


@pytest.mark.parametrize(
    ("name", "keywords"),
    [("steps", {}), ("policy", {"policy": "constant"}), ("seed", {"seed": 3})],
)
def test_settings_and_a_keyword_together_are_refused(name: str, keywords: dict):
    swept = {**SWEEP, "steps": 60} if name == "steps" else SWEEP
    with pytest.raises(ValueError, match=f"{name} must be left out where settings are given"):
        settings_of(RangeTestSettings, RangeTestSettings(), swept, **keywords)


def test_other_objects_are_no_settings():
    with pytest.raises(ValueError, match="settings must be RangeTestSettings or None"):
        settings_of(RangeTestSettings, Sweep(), SWEEP)
    with pytest.raises(ValueError, match="sweep must be a Sweep"):
        RecommendationSettings(budget_steps=100, sweep=SWEEP)  # pyright: ignore[reportArgumentType]
    assert RecommendationSettings(budget_steps=100).sweep.start_lr == 1e-6
