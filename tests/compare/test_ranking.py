"""Which policy is recommended, and which are as good."""

from __future__ import annotations

import pytest

from cyclerate.compare._answer import is_level
from tests.compare.records import answer, row


@pytest.mark.parametrize(
    ("loss", "spread", "level"),
    [(0.512, 0.002, True), (0.5121, 0.002, False), (0.488, 0.002, True), (0.51, None, True)],
)
def test_level_means_that_the_ranges_meet(loss, spread, level):
    assert is_level(row("a", loss, spread), row("b", 0.5, 0.01 + 1e-9)) is level


def test_the_lowest_loss_is_best_and_others_may_be_level():
    rows = [
        row("fixed", 0.56),
        row("one_cycle", 0.5, steps_to_reference=2000.0),
        row("triangular", 0.5015, steps_to_reference=500.0),
        row("restarts", 0.51, steps_to_reference=300.0),
    ]
    ranking = answer(rows)
    assert ranking.best is rows[1]
    assert ranking.level == {"one_cycle", "triangular"}
    marks = [ranking.mark(r.policy) for r in rows]
    assert marks == ["", "best", "level", ""]


def test_of_equal_losses_the_sooner_one_is_best():
    rows = [
        row("fixed", 0.56),
        row("one_cycle", 0.5, 0.002, steps_to_reference=2000.0),
        row("triangular", 0.5009, 0.001, steps_to_reference=500.0),
        row("restarts", 0.501, 0.0009, steps_to_reference=300.0),
    ]
    assert answer(rows).best is rows[2]


def test_where_all_are_level_the_sooner_one_beats_the_reference():
    rows = [
        row("fixed", 0.5),
        row("one_cycle", 0.4995),
        row("triangular", 0.5005, steps_to_reference=500.0),
    ]
    ranking = answer(rows)
    assert ranking.best is rows[2]
    assert [ranking.mark(r.policy) for r in rows] == ["level", "level", "best"]


def test_the_reference_stays_best_when_a_level_policy_is_no_sooner():
    rows = [row("fixed", 0.5), row("triangular", 0.499, steps_to_reference=7900.0)]
    assert answer(rows).best is rows[0]


def test_a_policy_that_is_level_only_by_its_own_noise_is_not_recommended():
    rows = [row("fixed", 0.56), row("restarts", 0.7, 0.3, steps_to_reference=300.0)]
    ranking = answer(rows)
    assert ranking.best is rows[0]
    assert ranking.mark("restarts") == "level"


def test_with_one_seed_only_equal_losses_are_level():
    rows = [row("fixed", 0.5, None), row("triangular", 0.4999, None)]
    ranking = answer(rows, seeds=[0])
    assert ranking.best is rows[1]
    assert ranking.level == {"triangular"}


def test_usable_rows_are_sorted_and_leave_out_diverged_ones():
    rows = [row("fixed", 0.6), row("one_cycle", 0.4, diverged=1), row("triangular", 0.5)]
    assert [r.policy for r in answer(rows).usable] == ["triangular", "fixed"]


def test_without_any_finished_policy_there_is_no_best():
    ranking = answer([row("fixed", None, None, diverged=3)])
    assert (ranking.best, ranking.reference, ranking.level) == (None, None, frozenset())


def test_a_policy_with_a_diverged_run_is_not_called_sooner():
    reference, held = row("fixed", 0.5), row("triangular", 0.5, steps_to_reference=100.0)
    lost = row("triangular", 0.5, steps_to_reference=100.0, diverged=1)
    assert answer([reference, held]).is_sooner(held)
    assert not answer([reference, lost]).is_sooner(lost)


def test_a_policy_alone_is_not_called_best():
    assert answer([row("fixed", 0.5)]).mark("fixed") == ""
