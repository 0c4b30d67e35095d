"""From a curve to `base_lr` and `max_lr`, or to the reason why it has no answer.

Every single rule is right for most curves and ruinous for some, so `max_lr` is the middle one of
three weak readings of the smoothed, unshifted curve that fail for different reasons:

* *arrival*: three times the rate at which nine tenths of the fall is done (left side);
* *floor*: the geometric mean of the rates within the last tenth of the fall (the bottom);
* *brink*: a tenth of the rate at which half of the fall is lost again (right side).

Only the first valley of the curve is read, and all three readings are taken times 0.6; a fall that
is weak for its noise gives a lower rate and a wider interval. Readings and factors were chosen by
the regret of a one-cycle training at the suggested rate, on the design half of the tasks in
benchmarks/finders; docs/finders.md has the figures of all groups, beside those of the field's
single rules. What this one gains over the best of them is the tail, and an honest no.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cyclerate.finder._curve import Curve, Reading, local_scale, read_curve, to_minimise

MIN_POINTS = 10
"""Fewest finite losses that are read at all."""

BASE_FRAC = 1 / 4
"""`base_lr` over `max_lr` (Smith 2017, section 3.3: a third or a fourth). The rate at which the
curve begins to fall is no better to train from: docs/finders.md."""

SIGNIFICANT_SDS = 3.5
"""A fall counts from here on. It is the largest of many points, and the largest of a sweep of pure
noise exceeds 3 in one sweep of a hundred (white noise, normal or with heavy tails)."""

SIGNIFICANT_BY_RANK = 4.0
"""A fall that is not so clear against its own noise counts if its ranks are this clear."""

_ARRIVED = 0.9  # share of the fall
_ARRIVAL_FACTOR = 3.0
_FALLEN = 0.5
_MOST_IN_LEAD = 0.4
_LOST = 0.3  # of the fall so far; more of it lost, and that was the first valley
_BRINK = 0.5
_BRINK_FACTOR = 0.1
_LONGER_FACTOR = 0.6  # a training is longer than a sweep, and its best rate lower
_WEAK_FACTOR = 0.3  # where batches differ that much, a long training meets worse ones
_CERTAIN_SDS = 5.2  # a fall less clear than this, by either measure, is a weak one
_FLAT_FRAC = 0.6
_BEGUN = 0.2
_INTERVAL_FACTOR = 2.0
_WEAK_INTERVAL_FACTOR = 4.0


@dataclass(frozen=True)
class Suggestion:
    """Rates to train with, or None where the curve has no clear answer, and why."""

    base_lr: float | None
    max_lr: float | None
    interval: tuple[float, float] | None
    verdict: str


def smooth_and_suggest(
    lrs: Curve, losses: Curve, *, mode: str, planned_steps: int, metric: str
) -> tuple[Curve, Suggestion]:
    """Returns the smoothed curve and the rates that it supports.

    Args:
        lrs: The rates of the sweep, rising.
        losses: What was measured at each; NaN takes no part.
        mode: "min" if lower is better, "max" if higher is.
        planned_steps: Length of the sweep had it not stopped.
        metric: Name of what was measured, for the verdict.
    """
    values = to_minimise(losses, mode)
    points = int(np.count_nonzero(np.isfinite(values)))
    if points == 0:
        return np.full(len(values), np.nan), _too_few(points, metric)
    # Differences alone: a constant added to the loss changes nothing, not even a digit.
    level = float(values[np.isfinite(values)][0])
    reading = read_curve(lrs, values - level, planned_steps, level)
    smoothed = to_minimise(reading.smoothed + level, mode)
    if points < MIN_POINTS:
        return smoothed, _too_few(points, metric)
    return smoothed, suggest(lrs, reading, metric)


def suggest(lrs: Curve, reading: Reading, metric: str) -> Suggestion:
    """Returns the rates that a reading of the curve supports."""
    # The line of the wider window, which the test looks at, may dip at an end where the curve
    # itself does not.
    falls = bool(np.nanmin(reading.smoothed[lrs > 0]) < reading.start)
    clear = reading.fall_sds >= SIGNIFICANT_SDS or reading.fall_by_rank >= SIGNIFICANT_BY_RANK
    if falls and clear:
        return _answer(lrs, reading, metric)
    if reading.rise_sds >= SIGNIFICANT_SDS:
        brink = _brink(lrs, reading)
        if brink is not None:
            return _no_answer(
                f"the {metric} does not fall beyond its noise before training breaks down near "
                f"{brink:.2g}; a probe can see more below that, as can larger batches or repeats"
            )
        return _no_answer(
            f"the {metric} only gets worse; lower start_lr, or check that this model can learn "
            "from this data at all"
        )
    return _no_answer(
        f"the {metric} improves no more than its noise would by chance; use larger batches, "
        "more steps or repeats, or raise end_lr"
    )


def _brink(lrs: Curve, reading: Reading) -> float | None:
    """Returns where a curve that was flat for most of the sweep starts to rise for good."""
    level = (reading.start + reading.ceiling) / 2
    below = np.flatnonzero(reading.smoothed <= level)
    late = len(below) and _FLAT_FRAC * len(lrs) < below[-1] < len(lrs) - 1
    return float(lrs[below[-1]]) if late else None


def _too_few(points: int, metric: str) -> Suggestion:
    return _no_answer(
        f"only {points} finite values of the {metric}, and {MIN_POINTS} are needed; lower "
        "start_lr, look for NaN in the data, or give the sweep more steps"
    )


def _no_answer(why: str) -> Suggestion:
    return Suggestion(None, None, None, f"No clear answer: {why}.")


def _answer(lrs: Curve, reading: Reading, metric: str) -> Suggestion:
    usable = np.isfinite(reading.smoothed) & (lrs > 0)
    log_lr, smoothed = np.log(lrs[usable]), reading.smoothed[usable]
    done = _first_valley(_share_done(reading, smoothed), reading.fall_sds)

    sds = max(reading.fall_sds, reading.fall_by_rank)
    weak = sds < _CERTAIN_SDS
    readings = _readings(log_lr, done) + np.log(_WEAK_FACTOR if weak else _LONGER_FACTOR)
    readings = np.clip(readings, log_lr[0], log_lr[-1])
    max_lr = float(np.exp(np.median(readings)))
    margin = _WEAK_INTERVAL_FACTOR if weak else _INTERVAL_FACTOR
    low, high = np.exp(readings.min()) / margin, np.exp(readings.max()) * margin

    listed = ", ".join(f"{rate:.2g}" for rate in np.exp(np.sort(readings)))
    clear = f"The {metric} improves by {sds:.0f} times its noise"
    seen = f"Uncertain: the {metric} improves little for its noise" if weak else clear
    verdict = (
        f"{seen}, and three readings of the curve put max_lr at {listed}"
        f"{_caution(done, reading.lead_steps)}."
    )
    return Suggestion(BASE_FRAC * max_lr, max_lr, (float(low), float(high)), verdict)


def _share_done(reading: Reading, smoothed: Curve) -> Curve:
    """Returns the share of the fall that is done at each point.

    At its beginning the smoothed curve knows neighbours on one side only, and swings with their
    noise: a dip there is no valley as long as there is one later.
    """
    lead = slice(0, min(reading.lead_steps, len(smoothed) // 2))
    lowest = smoothed[lead.stop :].min()
    if not lowest < reading.start:
        return (reading.start - smoothed) / (reading.start - smoothed.min())
    done = (reading.start - smoothed) / (reading.start - lowest)
    done[lead] = np.minimum(done[lead], _MOST_IN_LEAD)
    return done


def _first_valley(done: Curve, fall_sds: float) -> Curve:
    """Returns the share of the fall that is done, with no second fall after the first is lost.

    Where the rate has ruined a model, the loss may fall again, and further: to what a model that
    ignores its inputs would have.
    """
    highest = np.maximum.accumulate(done)
    lost_share = highest - done
    clear = (lost_share > _LOST * highest) & (lost_share * fall_sds > SIGNIFICANT_SDS)
    lost = np.flatnonzero((highest >= _FALLEN) & clear)
    if not len(lost):
        return done
    first = done.copy()
    first[lost[0] :] = np.minimum.accumulate(first[lost[0] :])
    return first / first.max()


def _readings(log_lr: Curve, done: Curve) -> Curve:
    lowest = int(np.argmax(done))
    arrived = int(np.argmax(done >= _ARRIVED))
    arrival = _crossing(log_lr, done, arrived, _ARRIVED) + np.log(_ARRIVAL_FACTOR)
    floor = float(np.mean(log_lr[done >= _ARRIVED]))
    lost = np.flatnonzero(done[lowest:] < _BRINK)
    edge = log_lr[lowest + lost[0]] if len(lost) else log_lr[-1]
    return np.array([arrival, floor, edge + np.log(_BRINK_FACTOR)])


def _crossing(log_lr: Curve, done: Curve, index: int, level: float) -> float:
    """Returns where, between the point before `index` and `index`, the fall passes `level`."""
    if index == 0:
        return float(log_lr[0])
    share = (level - done[index - 1]) / (done[index] - done[index - 1])
    return float(log_lr[index - 1] + np.clip(share, 0, 1) * (log_lr[index] - log_lr[index - 1]))


def _caution(done: Curve, lead_steps: int) -> str:
    waiting = np.flatnonzero(done[: int(np.argmax(done))] < _BEGUN)
    if (waiting[-1] + 1 if len(waiting) else 0) < lead_steps:
        return "; it improves from the first rates on: a lower start_lr would tell more"
    if int(np.argmax(done)) == len(done) - 1:
        return "; it still improved at the last rate: a higher end_lr would tell more"
    return ""


_EMA_WEIGHT = 0.98
_STOP_FACTOR = 4.0
_CUT_END = 5
_SLIDE_GAP_STEPS = 15
_SLIDE_THRESHOLD = 0.005
_FASTAI_MIN_POINTS = 2

_IMPROVING_FRAC = 0.1  # share of the whole improvement
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
    waiting = np.flatnonzero(reading.start - smoothed[: lowest + 1] < _IMPROVING_FRAC * whole)
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
