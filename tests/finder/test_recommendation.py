from __future__ import annotations

import dataclasses
import json

import pytest

import cyclerate as cr
from cyclerate.finder import RecommendationSettings, drive
from tests.finder.test_recommender import Bowl


@pytest.fixture(scope="module")
def found() -> cr.Recommendation:
    bowl = Bowl()
    recommender = RecommendationSettings(budget_steps=3000).new()
    drive(recommender, restore=bowl.restore, step=bowl.step, score=bowl.loss)
    return recommender.recommendation(seconds=1.25)


@pytest.fixture(scope="module")
def nothing() -> cr.Recommendation:
    recommender = RecommendationSettings(budget_steps=500).new()
    drive(recommender, restore=lambda: None, step=lambda lr: 1.0, score=lambda: 1.0)
    return recommender.recommendation()


@pytest.mark.parametrize("which", ["found", "nothing"])
def test_it_survives_json(which: str, request: pytest.FixtureRequest):
    before = request.getfixturevalue(which)
    after = cr.Recommendation.from_dict(json.loads(json.dumps(before.to_dict(), allow_nan=False)))
    assert after == before
    assert hash(after) == hash(before)


def test_it_prints_in_80_columns_what_to_do_and_why(found: cr.Recommendation):
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    lines = text.replace("\n  ", " ").splitlines()
    assert lines[0].startswith(f"Recommendation: one_cycle with max_lr {found.max_lr:.2g} (")
    assert lines[0].endswith(f" for {found.training_steps} steps")
    assert lines[1].startswith(f"Tuning: {found.steps} of 3000 steps (")
    assert "in 1.2 s" in lines[1] or "in 1.3 s" in lines[1]
    assert "races of" in lines[2]
    assert lines[4].startswith("The loss after a race: one_cycle ")
    assert "triangular" in lines[4]


def test_it_draws_what_the_rate_was_read_from(found: cr.Recommendation):
    axes = found.plot()
    assert axes.get_xlabel() == "learning rate"
    assert any(f"{found.max_lr:.2g}" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 9}, "a recommendation must be"),
        ({"extra": 1}, "keys of a recommendation"),
        ({"evidence": {}}, "evidence must be a list"),
        ({"evidence": [{"policy": "constant"}]}, "evidence must be"),
        ({"policy": None}, "all given or all None"),
        ({"training_steps": 0}, "training_steps must be"),
        ({"interval": ["low", 1.0]}, "interval"),
        ({"verdict": 3}, "verdict must be text"),
        ({"seconds": -1.0}, "seconds must be"),
        ({"policy": "sawtooth"}, "policy must be one of"),
        ({"max_lr": -1.0}, "max_lr must be"),
    ],
    ids=str,
)
def test_nonsense_in_a_file_is_refused(found: cr.Recommendation, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        cr.Recommendation.from_dict({**found.to_dict(), **changes})


def test_it_is_frozen(found: cr.Recommendation):
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.max_lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]
