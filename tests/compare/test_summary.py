"""The table, by value: means, spreads, and the race to the reference."""

from __future__ import annotations

import math

import pytest

from cyclerate.compare._record import Run, pick_best, steps_to_reference, summarise


def cell(
    policy: str,
    seed: int,
    losses: list[float | None],
    *,
    diverged: bool = False,
    seconds: float = 1.0,
) -> Run:
    steps = tuple(range(10, 10 * len(losses) + 1, 10))
    scores = tuple(None if loss is None else 1 - loss for loss in losses)
    return Run(policy, seed, steps, tuple(losses), tuple(losses), scores, seconds, diverged)


FIXED = [cell("fixed", 0, [0.9, 0.8, 0.6]), cell("fixed", 1, [0.9, 0.7, 0.4], seconds=2.0)]


def test_means_and_spreads_are_of_the_last_values():
    row = summarise(FIXED, ["fixed"], "fixed")[0]
    assert (row.loss_mean, row.metric_mean) == (pytest.approx(0.5), pytest.approx(0.5))
    assert row.loss_std == pytest.approx(math.sqrt(0.02))
    assert row.metric_std == pytest.approx(math.sqrt(0.02))
    assert (row.seconds_mean, row.steps, row.diverged) == (1.5, 30, 0)


def test_each_seed_races_to_its_own_reference():
    fast = [cell("fast", 0, [0.6, 0.9, 0.3]), cell("fast", 1, [0.5, 0.4, 0.6])]
    row = summarise([*FIXED, *fast], ["fixed", "fast"], "fixed")[1]
    # Seed 0 has to reach 0.6 and does at once; seed 1 has to reach 0.4 and does at step 20.
    assert (row.steps_to_reference, row.reached) == (15.0, "2/2")


def test_the_reference_reaches_itself_at_its_end_or_sooner():
    dipping = [cell("fixed", 0, [0.9, 0.5, 0.6])]
    assert summarise(FIXED, ["fixed"], "fixed")[0].steps_to_reference == 30.0
    assert summarise(dipping, ["fixed"], "fixed")[0].steps_to_reference == 20.0


def test_one_seed_that_does_not_arrive_leaves_no_mean():
    slow = [cell("slow", 0, [0.5]), cell("slow", 1, [0.5])]
    row = summarise([*FIXED, *slow], ["fixed", "slow"], "fixed")[1]
    assert (row.steps_to_reference, row.reached) == (None, "1/2")


def test_a_diverged_cell_is_counted_and_left_out_of_the_means():
    wild = [cell("wild", 0, [0.7, None], diverged=True), cell("wild", 1, [0.5])]
    row = summarise([*FIXED, *wild], ["fixed", "wild"], "fixed")[1]
    assert (row.loss_mean, row.loss_std, row.diverged, row.steps) == (0.5, None, 1, 20)
    assert row.reached == "0/2"


def test_where_the_reference_diverged_there_is_no_race():
    broken = [cell("fixed", 0, [None], diverged=True), FIXED[1]]
    fast = [cell("fast", 0, [0.1]), cell("fast", 1, [0.4])]
    row = summarise([*broken, *fast], ["fixed", "fast"], "fixed")[1]
    assert (row.steps_to_reference, row.reached) == (10.0, "1/1")


def test_rows_come_in_the_order_asked_for_and_only_with_cells():
    rows = summarise(FIXED, ["later", "fixed"], "fixed")
    assert [row.policy for row in rows] == ["fixed"]


def test_one_seed_has_no_spread():
    row = summarise(FIXED[:1], ["fixed"], "fixed")[0]
    assert (row.loss_std, row.metric_std) == (None, None)


def test_nothing_is_interpolated():
    assert steps_to_reference(cell("a", 0, [0.9, 0.1]), 0.5) == 20
    assert steps_to_reference(cell("a", 0, [0.9, 0.8]), 0.5) is None
    assert steps_to_reference(cell("a", 0, [None, 0.4]), 0.5) == 20


def test_the_best_cell_has_the_lowest_last_loss_and_did_not_diverge():
    wild = cell("wild", 0, [0.01], diverged=True)
    dipped = cell("dipped", 0, [0.1, 0.5])
    assert pick_best([wild, dipped, *FIXED]) is FIXED[1]
    assert pick_best([wild]) is None
