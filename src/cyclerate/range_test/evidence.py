"""Whether a curve falls at all, by the ranks of its values.

A smoothed curve against its own noise is a sharp test where the noise is even. Near the rate where
training breaks down it is not, and a few wild values there hide a fall that anybody sees. Ranks do
not care how wild a value is.
"""

from __future__ import annotations

import numpy as np

from cyclerate.finder._curve import Curve

_WINDOW_FRACS = (0.05, 0.08, 0.12, 0.18, 0.27)  # of the sweep
_LEAD_FRAC = 0.15
_MIN_STEPS = 3
_MOST_ENDS = 150  # places at which a window may end; a longer sweep is looked at in larger strides


def fall_by_rank(values: Curve, planned_steps: int) -> float:
    """Returns how low a stretch of the curve lies among all that came before, in standard errors.

    The largest, over windows of several widths and places, of the rank-sum statistic of the window
    against everything before it. For 100 values of noise, whatever its distribution, one curve in
    twenty exceeds 3.1, one in a hundred 3.5, one in a thousand 4.0.

    Args:
        values: The values of a sweep, to be minimised; NaN takes no part.
        planned_steps: Length of the sweep had it not stopped.

    Source: Mann and Whitney, On a Test of Whether one of Two Random Variables is Stochastically
    Larger than the Other, Annals of Mathematical Statistics 18 (1947), section 4.

    >>> round(fall_by_rank(np.r_[np.full(10, 2.0), np.full(10, 1.0)], planned_steps=20), 1)
    3.1
    >>> fall_by_rank(np.arange(20.0), planned_steps=20)
    0.0
    """
    known = values[np.isfinite(values)]
    widths = sorted({max(_MIN_STEPS, round(share * planned_steps)) for share in _WINDOW_FRACS})
    lead = max(_MIN_STEPS, round(_LEAD_FRAC * planned_steps))
    stride = -(-planned_steps // _MOST_ENDS)
    deepest = 0.0
    for end in range(lead + widths[0], len(known) + 1, stride):
        fitting = np.array([width for width in widths if end - width >= lead])
        summed = np.cumsum(_ranks(known[:end])[::-1])[fitting - 1]
        spread = np.sqrt(fitting * (end - fitting) * (end + 1) / 12)
        deepest = max(deepest, float(np.max((fitting * (end + 1) / 2 - summed) / spread)))
    return deepest


def _ranks(values: Curve) -> Curve:
    """Returns the rank of every value, from 1; equal ones share the mean of theirs."""
    distinct, place = np.unique(values, return_inverse=True)
    counts = np.bincount(place, minlength=len(distinct))
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
