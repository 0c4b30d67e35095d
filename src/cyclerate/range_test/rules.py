"""The field's single rules, each as its authors have it, fastai's on fastai's own smoothing.

They are here to be compared with. fastai's four (`valley`, `slide`, `steepest`, `minimum`) read a
backward-looking average with weight 0.98, end where that average exceeds four times its best,
and leave out the first tenth and the last five points. Smith read his by eye; `smith` is our
reading of his words on our smoothed curve. A curve too short for a rule has no answer: `None`.

Sources: fastai, `fastai/callback/schedule.py` (valley after ESRI, slide by A. Chang); Smith 2017,
arXiv 1506.01186, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cyclerate.finder._curve import Curve, local_scale
from cyclerate.range_test.reading import Reading, read_curve, to_minimise

_EMA_WEIGHT = 0.98
_STOP_FACTOR = 4.0
_CUT_END = 5
_SLIDE_GAP_STEPS = 15
_SLIDE_THRESHOLD = 0.005
_FASTAI_MIN_POINTS = 2

_BEGUN = 0.1  # share of the whole improvement
_SLOW = 0.2  # share of the steepest slope
_RAGGED = 3.0  # times the noise of the beginning
_RAGGED_FRAC = 0.05  # of the whole improvement; rougher than that can be seen by eye


def lagged_mean(losses: Curve) -> Curve:
    """Returns the exponential moving average with weight 0.98, corrected for its start."""
    mean = np.empty_like(losses)
    total = 0.0
    for i, loss in enumerate(losses):
        total = _EMA_WEIGHT * total + (1 - _EMA_WEIGHT) * loss
        mean[i] = total / (1 - _EMA_WEIGHT ** (i + 1))
    return mean


def fastai_window(
    lrs: Curve, losses: Curve, planned_steps: int, *, stop: bool = True
) -> tuple[Curve, Curve]:
    """Returns the rates and averaged losses that fastai's rules look at.

    `stop=False` is fastai's `stop_div=False`: the curve does not end at four times its best.
    """
    mean = lagged_mean(losses)
    end = len(mean)
    if stop:
        too_high = np.flatnonzero(mean > _STOP_FACTOR * np.minimum.accumulate(mean))
        end = too_high[0] + 1 if len(too_high) else end
    window = slice(planned_steps // 10, max(0, end - _CUT_END))
    lrs, mean = lrs[window], mean[window]
    missing = np.flatnonzero(np.isnan(mean))
    end = missing[0] if len(missing) else len(mean)
    return lrs[:end], mean[:end]


def valley(lrs: Curve, losses: Curve) -> float | None:
    """Middle of the longest decreasing subsequence, taken to have no gaps before its end."""
    length = np.ones(len(losses), dtype=int)
    for i in range(1, len(losses)):
        longer = length[:i][losses[i] < losses[:i]]
        length[i] += longer.max(initial=0)
    end = int(np.argmax(length))
    start = end - int(length[end]) if end else 0
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def slide(lrs: Curve, losses: Curve) -> float | None:
    """Left of two points, 15 apart, that slide left while their slopes differ by over 0.005."""
    if len(losses) <= _SLIDE_GAP_STEPS:
        return None
    slope = np.gradient(losses)
    right, left = -1, -1 - _SLIDE_GAP_STEPS
    found = left
    while left >= -len(losses) and abs(slope[right] - slope[left]) > _SLIDE_THRESHOLD:
        found = left
        right, left = right - 1, left - 1
    return float(lrs[found])


def steepest(lrs: Curve, losses: Curve) -> float | None:
    """Rate where the loss falls fastest per unit of log rate (fastai's `steep`)."""
    return float(lrs[np.argmin(np.diff(losses) / np.diff(np.log(lrs)))])


def minimum(lrs: Curve, losses: Curve) -> float | None:
    """A tenth of the rate with the lowest loss."""
    return float(lrs[np.argmin(losses)]) / 10


def smith(lrs: Curve, residuals: Curve, reading: Reading) -> tuple[float, float] | None:
    """Returns (base_lr, max_lr): where improving starts, and where it slows, gets ragged or ends.

    Starts: a tenth of the whole improvement is done for good. Slows: the slope per step is below a
    fifth of the steepest. Ragged: the noise is three times that of the beginning.
    """
    usable = np.isfinite(reading.smoothed)
    smoothed, rates = reading.smoothed[usable], lrs[usable]
    if len(smoothed) < 3 or not smoothed.min() < reading.start:
        return None
    whole = reading.start - smoothed.min()
    lowest = int(np.argmin(smoothed))
    waiting = np.flatnonzero(reading.start - smoothed[: lowest + 1] < _BEGUN * whole)
    begun = min(int(waiting[-1]) + 1 if len(waiting) else 0, lowest)

    slope = np.gradient(smoothed)
    steep = begun + int(np.argmin(slope[begun : lowest + 1]))
    noise = local_scale(residuals[usable], bandwidth=2.0)
    ragged = noise > max(_RAGGED * float(np.median(noise[: begun + 1])), _RAGGED_FRAC * whole)
    ends = np.flatnonzero((slope > _SLOW * slope[steep]) | ragged)
    ends = ends[ends > steep]
    return float(rates[begun]), float(rates[ends[0] if len(ends) else -1])


FASTAI_RULES: dict[str, Callable[[Curve, Curve], float | None]] = {
    "valley": valley,
    "slide": slide,
    "steepest": steepest,
    "minimum": minimum,
}

RULES = (*FASTAI_RULES, "smith")


def suggest_by(
    rule: str, lrs: Curve, losses: Curve, *, mode: str, planned_steps: int
) -> float | None:
    """Returns the `max_lr` of one of `RULES`, or None where it would have nothing to read."""
    values = to_minimise(losses, mode)
    if rule == "smith":
        if not np.isfinite(values).any():
            return None
        reading = read_curve(lrs, values, planned_steps)
        bounds = smith(lrs, np.minimum(values, reading.ceiling) - reading.smoothed, reading)
        return None if bounds is None else bounds[1]
    # fastai's own stop is made for losses; an accuracy turned upside down would always meet it.
    window = fastai_window(lrs, values, planned_steps, stop=mode == "min")
    return FASTAI_RULES[rule](*window) if len(window[0]) >= _FASTAI_MIN_POINTS else None
