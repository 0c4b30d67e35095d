"""From the scores of short races to the best rate of a longer training.

Three things change with the length, and all of them in proportion to its logarithm:

* The best rate of a short training is too high for a long one, by about a fifth of a decade for
  every tenfold length: what a long training loses by a smaller step it makes up by more of them.
* Where batches differ much, a long training meets batches that a short one did not, and close to
  where training breaks down a single one is enough. So the answer moves down the flat side of the
  valley, as far as a race would lose little.
* Where even the best race gained no more than the noise of a batch (say, a model that is half
  trained), both turn round: in a few steps a high rate costs more than it brings, in many it pays.

The constants were chosen on the design half of benchmarks/finders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cyclerate.finder._race import OFFSETS_PER_DECADE, best_offset, valley

DECADES_PER_TENFOLD = 0.2

_NOISY_GAIN_SDS = (
    3.0,
    10.0,
)  # a gain of so many standard deviations calls for all caution, for none
_GIVEN_UP_FRAC = 0.03  # of the gain: what caution may cost, per tenfold length
_SMALL_GAIN_SDS = 1.25  # fewer than this is no gain over the noise; from twice of it on it is one
_TAKEN_UP_FRAC = 0.15  # of the gain: what a race may cost on the high side then


def offset_for(
    scores: Mapping[int, float], start: float, *, noise: float, tenfolds: float
) -> float:
    """Returns the offset of the rate to train with, in the unit of the races' offsets.

    Args:
        scores: What was found at each offset; lower is better, infinity for a failure.
        start: What the untouched model scores.
        noise: Standard deviation of the metric from batch to batch.
        tenfolds: Decimal logarithm of the training's length over a race's.

    >>> scores = {-2: 0.3, 0: 0.1, 2: 0.3}
    >>> offset_for(scores, start=1.0, noise=0.001, tenfolds=0.0)
    0.0
    >>> noisy = offset_for(scores, start=1.0, noise=0.2, tenfolds=1.0)
    >>> calm = offset_for(scores, start=1.0, noise=0.001, tenfolds=1.0)
    >>> round(calm, 2), round(noisy, 2)
    (-0.8, -1.01)
    """
    gain_sds = (start - scores[best_offset(scores)]) / noise if noise > 0 else math.inf
    small = float(np.clip(2 - gain_sds / _SMALL_GAIN_SDS, 0, 1))
    noisy = float(np.interp(gain_sds, _NOISY_GAIN_SDS, (1.0, 0.0)))
    down = _reach(scores, start, -1, _GIVEN_UP_FRAC * tenfolds * noisy * (1 - small))
    up = _reach(scores, start, +1, _TAKEN_UP_FRAC * tenfolds * small)
    shift = DECADES_PER_TENFOLD * OFFSETS_PER_DECADE * tenfolds * (1 - small)
    return valley(scores, start) + up - down - shift


def _reach(scores: Mapping[int, float], start: float, side: int, share: float) -> float:
    """Returns how far from the best a share of the gain leads, at most to the next rate raced."""
    if share == 0:
        return 0.0
    best = best_offset(scores)
    other = min(
        (offset for offset in scores if (offset - best) * side > 0),
        key=lambda offset: abs(offset - best),
        default=best,
    )
    gain = start - scores[best]
    lost = (min(scores[other], start) - scores[best]) / gain
    return abs(other - best) * min(1.0, share / lost) if lost > 0 else float(abs(other - best))
