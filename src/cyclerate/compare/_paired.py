"""Two policies, pair by pair: the same seed and the same fold, so the same weights and rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclerate._errors import require
from cyclerate._text import count

FEWEST_FOR_INTERVAL = 3
LEVEL = 0.95
_MOST_EXACT = 12
_SEED = 0


@dataclass(frozen=True)
class Difference:
    """By how much a policy differs from the reference in one value, over all pairs.

    Attributes:
        policy: The policy.
        reference: What it is compared with.
        value: "loss", or the metric's name.
        pairs: The difference of each pair: the policy's value less the reference's.
        mean: Their mean; None without pairs.
        low: Lower end of a 95 % bootstrap interval of the mean; None with fewer than 3 pairs.
        high: Its upper end.
        chance: How often signs drawn at random give a mean as far from 0, or farther: the exact
            probability of a sign-flip test. It is never below 2 / 2**n with n pairs.
    """

    policy: str
    reference: str
    value: str
    pairs: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None
    chance: float | None

    @property
    def verdict(self) -> str:
        """One honest phrase: "higher", "lower", or why neither can be said."""
        if self.mean is None:
            return "no pair to compare"
        way = "higher" if self.mean > 0 else "lower"
        number = count(len(self.pairs), "pair")
        if self.low is None or self.high is None or self.chance is None:
            return f"{number}: too few for an interval"
        if self.low <= 0 <= self.high:
            return "cannot be told apart"
        if self.chance <= 1 - LEVEL:
            return way
        if 2 / 2 ** len(self.pairs) > 1 - LEVEL:
            return f"{way} in these {number}, too few to be sure"
        return "cannot be told apart"

    def in_a_line(self) -> str:
        """Writes it in less than 80 columns where the names are short."""
        name = f"  {self.policy[:20]}, {self.value[:20]}: "
        if self.mean is None:
            return name + self.verdict
        interval = "" if self.low is None else f" [{self.low:+.2g}, {self.high:+.2g}]"
        return f"{name}{self.mean:+.2g}{interval}: {self.verdict}"


def difference(
    policy: str, reference: str, value: str, pairs: Sequence[tuple[float, float]]
) -> Difference:
    """Compares a value of a policy with that of the reference, pair by pair.

    The interval is a bootstrap (BCa, 9,999 resamples, a seed of its own), the chance that of a
    sign-flip test.

    Source: Efron 1987, Better bootstrap confidence intervals; Fisher 1935, The design of
    experiments, section 21, for the test by signs.

    >>> found = difference("one_cycle", "fixed", "loss", [(0.40, 0.50), (0.41, 0.52), (0.43, 0.5)])
    >>> found.verdict
    'lower in these 3 pairs, too few to be sure'
    """
    gaps = np.array([one - other for one, other in pairs], dtype=np.float64)
    mean = float(gaps.mean()) if len(gaps) else None
    low = high = chance = None
    if len(gaps) >= FEWEST_FOR_INTERVAL:
        low, high = _interval(gaps)
        chance = _chance(gaps)
    return Difference(policy, reference, value, tuple(gaps.tolist()), mean, low, high, chance)


def _interval(gaps: Any) -> tuple[float, float]:
    if np.ptp(gaps) == 0:
        return float(gaps[0]), float(gaps[0])
    stats = require("scipy.stats", "cli")
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            # Where the correction cannot be had, as with few distinct values, it gives NaN.
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                (gaps,),
                np.mean,
                confidence_level=LEVEL,
                method=method,
                random_state=np.random.default_rng(_SEED),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def _chance(gaps: Any) -> float:
    """All signs where there are few pairs, else 9,999 drawings of them."""
    n = len(gaps)
    if n <= _MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(_SEED).integers(0, 2, size=(9_999, n))
        signs = np.vstack([np.ones(n, dtype=np.int64), 1 - 2 * drawn])
    means = np.abs(signs @ gaps)
    return float(np.mean(means >= abs(gaps.sum()) * (1 - 1e-12)))
