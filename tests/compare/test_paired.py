"""Differences of pairs: intervals against SciPy's own statistics, and honest words."""

from __future__ import annotations

import numpy as np
import pytest

from cyclerate.compare._comparison import Difference, difference


def of(gaps: list[float]) -> Difference:
    return difference("a", "b", "loss", [(1 + gap, 1.0) for gap in gaps])


def test_the_chance_is_that_of_all_signs():
    from scipy.stats import permutation_test

    gaps = [-0.3, -0.1, 0.05, -0.2, -0.25]
    wanted = permutation_test(
        (np.array(gaps),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert of(gaps).chance == pytest.approx(wanted.pvalue)


def test_the_interval_holds_the_mean_and_narrows_with_more_pairs():
    rng = np.random.default_rng(1)
    few, many = (of((-0.1 + 0.1 * rng.normal(size=n)).tolist()) for n in (8, 200))
    for found in (few, many):
        assert found.low < found.mean < found.high
    assert many.high - many.low < 0.4 * (few.high - few.low)
    # About two standard errors to each side.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(200), rel=0.2)


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([], "no pair to compare"),
        ([-0.1, -0.2], "2 pairs: too few for an interval"),
        ([-0.1, -0.2, -0.15], "lower in these 3 pairs, too few to be sure"),
        ([-0.1, -0.2, -0.15, -0.12, -0.1, -0.2], "lower"),
        ([0.1] * 6, "higher"),
        ([-0.1, 0.2, -0.15, 0.12, -0.1, 0.2], "cannot be told apart"),
        ([0.0] * 6, "cannot be told apart"),
    ],
)
def test_the_verdict_is_honest(gaps: list[float], verdict: str):
    assert of(gaps).verdict == verdict
