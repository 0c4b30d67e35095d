"""Which rate to race next, and where the best one lies between those that were raced.

Rates are whole numbers of quarter decades from a centre, so that no rate is raced twice. Too small
a rate learns too little, too large a one diverges, and in between there is one valley: downhill by
half decades until the best is enclosed, then by quarter decades. Where every race failed, rates
are far too high, and a whole decade lower is next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

OFFSETS_PER_DECADE = 4
_WIDE = 2  # half a decade
_NARROW = 1
_WORST = 0.25  # of the fall above the start: how much worse a failure counts in a parabola


def next_offset(scores: Mapping[int, float]) -> int | None:
    """Returns the next offset to race, or None when the best is enclosed as closely as it gets.

    Args:
        scores: What was found at each offset so far; lower is better, infinity for a failure.

    >>> next_offset({}), next_offset({0: 0.5}), next_offset({0: 0.5, 2: 0.9})
    (0, 2, -2)
    >>> next_offset({-2: 0.7, 0: 0.5, 2: 0.9}), next_offset({-2: 0.7, -1: 0.6, 0: 0.5, 2: 0.9})
    (-1, 1)
    """
    if not scores:
        return 0
    best = best_offset(scores)
    if math.isinf(scores[best]):
        return min(scores) - OFFSETS_PER_DECADE
    above = min((offset for offset in scores if offset > best), default=None)
    below = max((offset for offset in scores if offset < best), default=None)
    if above is None:
        return best + _WIDE
    if below is None:
        return best - _WIDE
    sides = sorted((scores[side], side) for side in (below, above))
    open_sides = [side for _, side in sides if abs(side - best) > _NARROW]
    if not open_sides:
        return None
    return best + _NARROW if open_sides[0] > best else best - _NARROW


def best_offset(scores: Mapping[int, float]) -> int:
    """Returns the offset with the lowest score; the lowest of them if several are equal."""
    return min(scores, key=lambda offset: (scores[offset], offset))


def valley(scores: Mapping[int, float], start: float) -> float:
    """Returns where a parabola through the best and its neighbours has its lowest point.

    Args:
        scores: What was found at each offset.
        start: What the untouched model scores; what is far worse is drawn as if slightly worse.

    >>> valley({-2: 0.5, 0: 0.1, 2: 0.5}, start=1.0), valley({0: 0.1, 2: 0.5}, start=1.0)
    (0.0, 0.0)
    """
    best = best_offset(scores)
    above = min((offset for offset in scores if offset > best), default=None)
    below = max((offset for offset in scores if offset < best), default=None)
    if above is None or below is None:
        return float(best)
    ceiling = start + _WORST * (start - scores[best])
    left, right = (min(scores[side], ceiling) - scores[best] for side in (below, above))
    a, c = best - below, above - best
    curvature = left * c + right * a
    if not curvature > 0 or not math.isfinite(curvature):
        return float(best)
    return best + (left * c**2 - right * a**2) / (2 * curvature)
