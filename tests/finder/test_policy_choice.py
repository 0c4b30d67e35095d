from __future__ import annotations

import pytest

from cyclerate.finder import PolicyRace
from cyclerate.finder._probe import DECADES, POLICIES
from cyclerate.finder._recommendation import choose


def raced(**scores: float | None) -> list[PolicyRace]:
    return [PolicyRace(policy, 0.1, score) for policy, score in scores.items()]


@pytest.mark.parametrize(
    ("scores", "policy", "reason"),
    [
        ({"one_cycle": 0.5}, "one_cycle", "was not raced"),
        ({"one_cycle": 0.5, "triangular": 0.6}, "one_cycle", "clearly the best"),
        ({"one_cycle": 0.5, "triangular": 0.54}, "one_cycle", "rarely the worse one"),
        ({"one_cycle": 0.5, "triangular": 0.46}, "one_cycle", "could not be told apart"),
        ({"one_cycle": 0.5, "triangular": 0.43}, "triangular", "clearly better than one_cycle"),
        ({"one_cycle": 0.5, "triangular": 0.43, "constant": 0.42}, "constant", "clearly better"),
        ({"one_cycle": 0.5, "triangular": None}, "one_cycle", "clearly the best"),
        ({"constant": 0.5, "triangular": 0.49}, "constant", "it was named first"),
    ],
    ids=str,
)
def test_the_first_policy_is_kept_unless_another_is_clearly_better(scores, policy, reason):
    found = choose(raced(**scores), start=1.0, mode="min")
    assert found is not None
    assert found.policy == policy
    assert reason in found.reason
    turned = {name: score and 1.0 - score for name, score in scores.items()}
    upside_down = choose(raced(**turned), start=0.0, mode="max")
    assert upside_down == found


def test_without_a_race_there_is_no_choice():
    assert choose([], start=1.0, mode="min") is None


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (("sawtooth", 0.1, 1.0), "policy"),
        (("constant", 0.0, 1.0), "max_lr"),
        (("constant", 0.1, float("nan")), "score"),
    ],
)
def test_a_race_of_nonsense_is_refused(values, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        PolicyRace(*values)


def test_every_policy_that_is_raced_has_its_place_beside_one_cycle():
    assert set(DECADES) == set(POLICIES)
    assert DECADES["one_cycle"] == 0
