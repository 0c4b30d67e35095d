"""The schedule of FGE is the formula of its paper."""

from __future__ import annotations

import numpy as np
import pytest

from cyclerate.cycles import cycle_ends
from cyclerate.cycles._rules import fge_schedule


def paper(step: int, top: float, low: float, cycle_steps: int) -> float:
    """Section 4 of arXiv 1802.10026, with t = 0 where a cycle begins."""
    t = (step % cycle_steps) / cycle_steps
    if t <= 0.5:
        return (1 - 2 * t) * top + 2 * t * low
    return (2 - 2 * t) * low + (2 * t - 1) * top


def test_it_is_the_papers_formula_and_its_members_are_at_the_low_points():
    lr = fge_schedule(max_lr=0.05, min_lr=0.0005, cycle_steps=10)
    by_hand = [paper(step, 0.05, 0.0005, 10) for step in range(40)]
    np.testing.assert_allclose(lr(np.arange(40)), by_hand, rtol=1e-12)
    assert cycle_ends(lr, 36) == (5, 15, 25, 35)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0.01, 5), "cycle_steps must be an even number"),
        ((0.1, 0.01, 0), "cycle_steps must be a whole number >= 2"),
        ((0.1, 0.1, 4), "max_lr must be above min_lr"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[float, float, int], message: str):
    with pytest.raises(ValueError, match=message):
        fge_schedule(*arguments)
