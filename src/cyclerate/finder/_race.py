"""Which rate to race next, and where the best one lies between those that were raced.

Rates are whole numbers of quarter decades from a centre, so that no rate is raced twice. Too small
a rate learns too little, too large a one diverges, and in between there is one valley: downhill by
half decades until the best is enclosed, then by quarter decades. Where every race failed, rates
are far too high, and a whole decade lower is next.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

import numpy as np

from cyclerate.finder._run import Run

OFFSETS_PER_DECADE = 4
WIDE = 2  # half a decade
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
    return next(iter(open_offsets(scores)), None)


def open_offsets(scores: Mapping[int, float]) -> list[int]:
    """Returns the offsets that would enclose the best more closely, the usual next one first.

    >>> open_offsets({0: 0.5}), open_offsets({-2: 0.7, 0: 0.5, 2: 0.9})
    ([2, -2], [-1, 1])
    """
    if not scores:
        return [0]
    best = best_offset(scores)
    if math.isinf(scores[best]):
        return [min(scores) - OFFSETS_PER_DECADE]
    below, above = _neighbours(scores, best)
    wide, narrow = [], []
    for sign, side in ((1, above), (-1, below)):
        if side is None or abs(side - best) > WIDE:
            wide.append(best + sign * WIDE)
        elif abs(side - best) > _NARROW:
            narrow.append((scores[side], best + sign * _NARROW))
    return [*wide, *(offset for _, offset in sorted(narrow))]


def best_offset(scores: Mapping[int, float]) -> int:
    """Returns the offset with the lowest score; the lowest of them if several are equal."""
    return min(sorted(scores), key=scores.__getitem__)


def _neighbours(scores: Mapping[int, float], best: int) -> tuple[int | None, int | None]:
    """Returns the nearest offsets below and above; None where there is none."""
    offsets = sorted(scores)
    place = offsets.index(best)
    below = offsets[place - 1] if place else None
    return below, offsets[place + 1] if place + 1 < len(offsets) else None


def valley(scores: Mapping[int, float], start: float) -> float:
    """Returns where a parabola through the best and its neighbours has its lowest point.

    Args:
        scores: What was found at each offset.
        start: What the untouched model scores; what is far worse is drawn as if slightly worse.

    >>> valley({-2: 0.5, 0: 0.1, 2: 0.5}, start=1.0), valley({0: 0.1, 2: 0.5}, start=1.0)
    (0.0, 0.0)
    """
    best = best_offset(scores)
    below, above = _neighbours(scores, best)
    if above is None or below is None:
        return float(best)
    highest = (1 + _WORST) * (start - scores[best])
    left, right = (min(scores[side] - scores[best], highest) for side in (below, above))
    a, c = best - below, above - best
    curvature = left * c + right * a
    if not curvature > 0 or not math.isfinite(curvature):
        return float(best)
    return best + (left * c**2 - right * a**2) / (2 * curvature)


_GIVEN_UP = 0.03  # of the gain: where so much is lost, the best rate is hardly to be found
_SURE_DECADES = 0.2
_OPEN_DECADES = 0.5
_FLAT_DECADES = 0.4
_REACH_FRAC = 0.3


def spreads(scores: Mapping[int, float], start: float) -> tuple[float, float]:
    """Returns how far below and above the valley the best rate of a training may lie, in decades.

    Far on a side that was not raced, or where nothing is lost on it; near where much is.

    Args:
        scores: What was found at each offset, one of them at least no failure.
        start: What the untouched model scores.

    >>> [round(decades, 2) for decades in spreads({-2: 0.9, 0: 0.1}, start=1.0)]
    [0.2, 0.5]
    """
    best = best_offset(scores)
    gain = start - scores[best]
    found = []
    for side in _neighbours(scores, best):
        if side is None:
            found.append(_OPEN_DECADES)
            continue
        raced = abs(side - best) / OFFSETS_PER_DECADE
        lost = (min(scores[side], start) - scores[best]) / gain if gain > 0 else 0.0
        if lost > _GIVEN_UP:
            reach = raced * math.sqrt(_GIVEN_UP / lost)
        else:
            reach = max(raced, _FLAT_DECADES)
        found.append(math.hypot(_SURE_DECADES, _REACH_FRAC * reach))
    return found[0], found[1]


DECADES_PER_TENFOLD = 0.2

# A gain of so many standard deviations calls for all caution, for none.
_NOISY_GAIN_SDS = (3.0, 10.0)
_GIVEN_UP_FRAC = 0.03  # of the gain: what caution may cost, per tenfold length
_SMALL_GAIN_SDS = 1.25  # fewer than this is no gain over the noise; from twice of it on it is one
_TAKEN_UP_FRAC = 0.15  # of the gain: what a race may cost on the high side then


def offset_for(
    scores: Mapping[int, float],
    start: float,
    *,
    noise: float,
    tenfolds: float,
    least_noise: float = math.inf,
) -> float:
    """Returns the offset of the rate to train with, in the unit of the races' offsets.

    Args:
        scores: What was found at each offset; lower is better, infinity for a failure.
        start: What the untouched model scores.
        noise: Standard deviation of the metric from batch to batch.
        tenfolds: Decimal logarithm of the training's length over a race's.
        least_noise: The noise where the best race ended, if that is less: whether there was a gain
            at all is judged by it.

    >>> scores = {-2: 0.3, 0: 0.1, 2: 0.3}
    >>> offset_for(scores, start=1.0, noise=0.001, tenfolds=0.0)
    0.0
    >>> noisy = offset_for(scores, start=1.0, noise=0.2, tenfolds=1.0)
    >>> calm = offset_for(scores, start=1.0, noise=0.001, tenfolds=1.0)
    >>> round(calm, 2), round(noisy, 2)
    (-0.8, -1.01)
    """
    gain = start - scores[best_offset(scores)]
    small = smallness(gain, min(noise, least_noise))
    noisy = noisiness(gain, noise)
    down = _reach(scores, start, -1, _GIVEN_UP_FRAC * tenfolds * noisy * (1 - small))
    up = _reach(scores, start, +1, _TAKEN_UP_FRAC * tenfolds * small)
    shift = DECADES_PER_TENFOLD * OFFSETS_PER_DECADE * tenfolds * (1 - small)
    return valley(scores, start) + up - down - shift


def smallness(gain: float, noise: float) -> float:
    """Returns how little a gain is beside the noise: 0 to 1.

    >>> smallness(gain=1.0, noise=0.1), smallness(gain=1.0, noise=1.0)
    (0.0, 1.0)
    """
    return float(np.clip(2 - _in_sds(gain, noise) / _SMALL_GAIN_SDS, 0, 1))


def noisiness(gain: float, noise: float) -> float:
    """Returns how much caution the noise from batch to batch calls for: 0 to 1.

    >>> noisiness(gain=1.0, noise=0.01), noisiness(gain=1.0, noise=1.0)
    (0.0, 1.0)
    """
    return float(np.interp(_in_sds(gain, noise), _NOISY_GAIN_SDS, (1.0, 0.0)))


def _in_sds(gain: float, noise: float) -> float:
    return gain / noise if noise > 0 else math.inf


def _reach(scores: Mapping[int, float], start: float, side: int, share: float) -> float:
    """Returns how far from the best a share of the gain leads, at most to the next rate raced."""
    if share == 0:
        return 0.0
    best = best_offset(scores)
    other = _neighbours(scores, best)[side > 0]
    if other is None:
        return 0.0
    gain = start - scores[best]
    lost = (min(scores[other], start) - scores[best]) / gain
    return abs(other - best) * min(1.0, share / lost) if lost > 0 else float(abs(other - best))


_MEDIAN_STEPS = 5


class Race(Run):
    """A run of few steps; it ends early where the loss stays too high or is not finite.

    Its first half may shake: there the rate still rises, or the first steps at it are rough.

    Args:
        lrs: The rate of each step.
        max_lr: The highest rate of the policy that the race is a small copy of.
        ceiling: In the second half, the median of five losses to be minimised must not exceed it.
        summit: After the first quarter, no single one must exceed it.
        mode: "min" if lower values are better (a loss), "max" if higher ones are.

    >>> race = Race([0.1, 0.2])
    >>> race.lr, race.tell(1.5), race.lr, race.tell(1.2), race.done
    (0.1, True, 0.2, False, True)
    """

    def __init__(
        self,
        lrs: Iterable[float],
        max_lr: float | None = None,
        *,
        ceiling: float = math.inf,
        summit: float = math.inf,
        mode: str = "min",
    ) -> None:
        super().__init__(lrs, "this race is over; there is no next rate")
        self.max_lr = max_lr
        self.ceiling = ceiling
        self.summit = summit
        self.mode = mode
        self._last: deque[float] = deque(maxlen=_MEDIAN_STEPS)
        self._told = array("d")
        self.failed = False
        """Whether the loss stayed too high or was not finite."""

    @property
    def done(self) -> bool:
        """Whether the race is over."""
        return self.failed or self.index == self.planned_steps

    @property
    def told(self) -> list[float]:
        """What was told, to be minimised; a new list each time."""
        return self._told.tolist()

    def _take(self, number: float) -> None:
        loss = number if self.mode == "min" else -number
        self._told.append(loss)
        self._last.append(loss)
        too_high = median(self._last) > self.ceiling and 2 * self.index > self.planned_steps
        shot_up = loss > self.summit and 4 * self.index > self.planned_steps
        self.failed = too_high or shot_up or not math.isfinite(loss)


class Look(Race):
    """A race of no steps: a look at the untouched model, for its score."""

    def __init__(self) -> None:
        super().__init__(())
