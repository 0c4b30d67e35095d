"""What a curve of losses says before any rate is chosen: its level, its fall, and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclerate.finder._curve import (
    Curve,
    bandwidth_for,
    despike,
    local_linear,
    local_scale,
    noise_level,
    residual_gain,
    running_median,
)
from cyclerate.range_test.evidence import fall_by_rank

MODES = ("min", "max")

_LEAD_LR_RATIO = 30.0  # rates up to this multiple of the first one teach a model nothing yet,
_LEAD_FRAC = 0.2  # but never count more than this share of the sweep,
_LEAD_MIN_STEPS = 3  # nor fewer points than this, so that a single one cannot mislead
_MEDIAN_STEPS = 5
_CEILING_DESCENTS = 0.5
_CEILING_NOISE_SDS = 5.0
_TEST_BANDWIDTHS = 2.0  # a fall that matters is wide; the wider window sees it through more noise
_MEDIAN_SD = 1.2533  # standard deviation of a median of n values is this / sqrt(n) noise sds


@dataclass(frozen=True)
class Reading:
    """A curve to be minimised, smoothed, and measured against its own noise."""

    smoothed: Curve
    """As long as the losses; NaN before the first and after the last finite one."""
    start: float
    """The level before anything was learned."""
    ceiling: float
    """Values above it are drawn and smoothed as if they were here: the blow-up says no more."""
    lead_steps: int
    """How many of the first points `start` is the median of."""
    fall_sds: float
    """Largest fall below `start`, in standard deviations of what noise alone would do."""
    rise_sds: float
    """Largest rise above `start`, likewise."""
    fall_by_rank: float
    """How low a stretch of the curve lies among all that came before, in standard errors."""


def to_minimise(values: Curve, mode: str) -> Curve:
    """Returns the values so that lower is better; its own inverse."""
    return values if mode == "min" else -values


def read_curve(lrs: Curve, values: Curve, planned_steps: int) -> Reading:
    """Reads a curve to be minimised with at least one finite value.

    Args:
        lrs: The rates, rising.
        values: The values, as many; NaN takes no part.
        planned_steps: Length of the sweep had it not stopped; the width of the smoothing follows
            it, so that a curve reads the same wherever it was cut.
    """
    finite = values[np.isfinite(values)]
    bandwidth = bandwidth_for(planned_steps)
    lead = _lead_steps(lrs, planned_steps)
    start = float(np.median(finite[:lead]))
    noise = noise_level(finite)
    best = float(np.min(running_median(finite, _MEDIAN_STEPS)))
    ceiling = start + max(_CEILING_DESCENTS * (start - best), _CEILING_NOISE_SDS * noise)
    clipped = np.minimum(despike(values), ceiling)

    smoothed = local_linear(clipped, bandwidth).values
    wide = local_linear(clipped, _TEST_BANDWIDTHS * bandwidth)
    # Distances from the narrow curve: from the wide one, a sharp bend would pass for noise.
    distance = (clipped - smoothed) / residual_gain(bandwidth)
    spread = np.maximum(local_scale(distance, 2 * bandwidth), noise)
    start_gain = _MEDIAN_SD / np.sqrt(min(lead, len(finite)))
    chance = spread * np.sqrt(wide.noise_gain**2 + start_gain**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.where(chance > 0, (start - wide.values) / chance, 0.0)
    return Reading(
        smoothed=smoothed,
        start=start,
        ceiling=ceiling,
        lead_steps=lead,
        fall_sds=float(np.nanmax(fall)),
        rise_sds=float(np.nanmax(-fall)),
        fall_by_rank=fall_by_rank(values, planned_steps),
    )


def _lead_steps(lrs: Curve, planned_steps: int) -> int:
    near_first = int(np.count_nonzero(lrs <= _LEAD_LR_RATIO * lrs[0]))
    return max(_LEAD_MIN_STEPS, min(near_first, int(_LEAD_FRAC * planned_steps)))
