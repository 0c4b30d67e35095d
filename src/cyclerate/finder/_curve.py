"""Smoothing that leaves the curve where it is.

A moving average that looks only backwards (the usual exponential one with weight 0.98) puts every
feature later than it was, about a decade of learning rate in a 100-step sweep. A finished sweep
can look both ways, so each point here is the height at its own place of a straight line fitted
around it, with Gaussian weights in the step index.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]

BANDWIDTH_FRAC = 0.03
"""Standard deviation of the Gaussian weights as a share of the sweep: a quarter decade of eight."""

_MIN_BANDWIDTH_STEPS = 1.5
_REACH = 3.0  # weights beyond this many bandwidths are left out; they are below 0.012
_SPIKE_WINDOW_STEPS = 5
_SPIKE_SDS = 4.0
_MAD_TO_SD = 1.4826  # median absolute deviation to standard deviation, for a normal distribution


@dataclass(frozen=True)
class Smoothed:
    """A smoothed curve and how much of independent noise is left in each of its points."""

    values: Curve
    noise_gain: Curve
    """Standard deviation of a smoothed point per standard deviation of the values around it."""


def bandwidth_for(steps: int) -> float:
    """Returns the bandwidth, in steps, for a sweep of `steps` steps."""
    return max(_MIN_BANDWIDTH_STEPS, BANDWIDTH_FRAC * steps)


def local_linear(values: Curve, bandwidth: float) -> Smoothed:
    """Fits a Gaussian-weighted line around each point and returns its height there.

    Straight lines come back as they are, up to the first and last point, and a symmetric feature
    keeps its place. NaN takes no part: a gap is bridged, and NaN at either end stays NaN. The cost
    is O(n * bandwidth).

    Source: Fan and Gijbels, Local Polynomial Modelling and Its Applications (1996), chapter 2.

    >>> local_linear(np.array([0.0, 2.0, np.nan, 6.0]), bandwidth=1.0).values.round(6).tolist()
    [0.0, 2.0, 4.0, 6.0]
    """
    present = np.isfinite(values)
    if not present.any():
        return Smoothed(np.full(len(values), np.nan), np.full(len(values), np.nan))
    known = np.where(present, values, 0.0)
    offset, weight = _kernel(bandwidth)

    s0, s1, s2 = (_windowed_sum(present, weight * offset**power) for power in range(3))
    t0, t1 = (_windowed_sum(known, weight * offset**power) for power in range(2))
    q0, q1, q2 = (_windowed_sum(present, weight**2 * offset**power) for power in range(3))
    spread = s0 * s2 - s1 * s1
    fits = spread > 1e-9  # two points or more in reach; else the line is not determined
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.where(fits, (s2 * t0 - s1 * t1) / spread, t0 / s0)
        square = (s2 * s2 * q0 - 2 * s1 * s2 * q1 + s1 * s1 * q2) / spread**2
        gain = np.where(fits, np.sqrt(np.maximum(square, 0.0)), 1.0)
    return Smoothed(_bridge_gaps(height, s0 > 0, present), gain)


def despike(values: Curve, level: float = 0.0) -> Curve:
    """Replaces points far from the median of their neighbours by that median.

    A monotone curve is its own running median and passes unchanged. "Far" is four standard
    deviations, measured on the distances of all points from their medians.
    """
    present = np.isfinite(values)
    known = values[present]
    centre = running_median(known, _SPIKE_WINDOW_STEPS)
    distance = np.abs(known - centre)
    far = distance > _SPIKE_SDS * max(_MAD_TO_SD * _median(distance), noise_level(known, level))
    cleaned = values.copy()
    cleaned[present] = np.where(far, centre, known)
    return cleaned


def running_median(values: Curve, window: int) -> Curve:
    """Returns the median of the symmetric window around each point; it shrinks at the edges."""
    half = min(window // 2, (len(values) - 1) // 2)
    if half < 1:
        return values.copy()
    result = values.copy()
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
    result[half : len(values) - half] = np.median(windows, axis=1)
    for reach in range(1, half):
        result[reach] = np.median(values[: 2 * reach + 1])
        result[-1 - reach] = np.median(values[-1 - 2 * reach :])
    return result


def noise_level(values: Curve, level: float = 0.0) -> float:
    """Estimates the standard deviation of the step-to-step noise on top of a smooth curve.

    From second differences, which a straight line does not reach, and by their median, which
    neither a spike nor the blow-up at the end reaches. Never below the resolution of float32, in
    which losses are computed: jitter in the last digit is no signal. `level` is what the values are
    measured from.
    """
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return 0.0
    second = np.abs(np.diff(known, 2))
    resolution = float(np.finfo(np.float32).eps) * float(np.median(np.abs(known + level)))
    return max(_MAD_TO_SD * _median(second) / np.sqrt(6.0), resolution)


def residual_gain(bandwidth: float) -> float:
    """Standard deviation of the distance from the smoothed curve per one of the noise.

    The curve follows each point a little: away from the edges, by weights w with
    `1 - 2 * w[0] + sum(w**2)` of the variance left.
    """
    return float(np.sqrt(1 - (2 / np.sqrt(2 * np.pi) - 1 / np.sqrt(4 * np.pi)) / bandwidth))


def local_scale(residuals: Curve, bandwidth: float) -> Curve:
    """Returns the root mean square of the residuals around each point, with Gaussian weights.

    Noise is not the same everywhere: it grows where rates are high. NaN takes no part.
    """
    present = np.isfinite(residuals)
    known = np.where(present, residuals, 0.0)
    largest = float(np.max(np.abs(known), initial=0.0)) or 1.0  # its square might overflow
    _, weight = _kernel(bandwidth)
    with np.errstate(invalid="ignore"):
        square = _windowed_sum((known / largest) ** 2, weight) / _windowed_sum(present, weight)
    return largest * np.sqrt(square)


def _kernel(bandwidth: float) -> tuple[Curve, Curve]:
    """Returns the offsets of the neighbours that count, and their Gaussian weights."""
    reach = int(np.ceil(_REACH * bandwidth))
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    return offsets, np.exp(-0.5 * (offsets / bandwidth) ** 2)


def _windowed_sum(signal: NDArray[np.float64] | NDArray[np.bool_], kernel: Curve) -> Curve:
    """Returns, for each point, the sum of its neighbours times the kernel centred on it.

    An odd kernel gives the negative of it: where two such sums are multiplied, that cancels.
    """
    if not len(signal):
        return np.empty(0)
    reach = len(kernel) // 2
    return np.convolve(signal, kernel)[reach : reach + len(signal)]


def _bridge_gaps(height: Curve, reached: NDArray[np.bool_], present: NDArray[np.bool_]) -> Curve:
    index = np.arange(len(height))
    bridged = np.interp(index, index[reached], height[reached])
    first, last = index[present][[0, -1]]
    bridged[:first] = np.nan
    bridged[last + 1 :] = np.nan
    return bridged


def _median(values: Curve) -> float:
    return float(np.median(values)) if len(values) else 0.0


_WINDOW_FRACS = np.array([0.05, 0.08, 0.12, 0.18, 0.27])  # of the sweep
_EVIDENCE_LEAD_FRAC = 0.15
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
    widths = np.unique(np.maximum(_MIN_STEPS, np.round(_WINDOW_FRACS * planned_steps))).astype(int)
    lead = max(_MIN_STEPS, round(_EVIDENCE_LEAD_FRAC * planned_steps))
    stride = -(-planned_steps // _MOST_ENDS)
    deepest = 0.0
    for end in range(lead + widths[0], len(known) + 1, stride):
        fitting = widths[end - widths >= lead]
        summed = np.cumsum(_ranks(known[:end])[::-1])[fitting - 1]
        spread = np.sqrt(fitting * (end - fitting) * (end + 1) / 12)
        deepest = max(deepest, float(np.max((fitting * (end + 1) / 2 - summed) / spread)))
    return deepest


def _ranks(values: Curve) -> Curve:
    """Returns the rank of every value, from 1; equal ones share the mean of theirs."""
    distinct, place = np.unique(values, return_inverse=True)
    counts = np.bincount(place, minlength=len(distinct))
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


SPACINGS = ("exponential", "linear")

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


def read_curve(lrs: Curve, values: Curve, planned_steps: int, level: float = 0.0) -> Reading:
    """Reads a curve to be minimised with at least one finite value.

    Args:
        lrs: The rates, rising.
        values: The values, as many; NaN takes no part.
        planned_steps: Length of the sweep had it not stopped; the width of the smoothing follows
            it, so that a curve reads the same wherever it was cut.
        level: What the values are measured from; it tells how finely they can differ.
    """
    finite = values[np.isfinite(values)]
    bandwidth = bandwidth_for(planned_steps)
    near_first = int(np.count_nonzero(lrs <= _LEAD_LR_RATIO * lrs[0]))
    lead = max(_LEAD_MIN_STEPS, min(near_first, int(_LEAD_FRAC * planned_steps)))
    start = float(np.median(finite[:lead]))
    noise = noise_level(finite, level)
    best = float(np.min(running_median(finite, _MEDIAN_STEPS)))
    ceiling = start + max(_CEILING_DESCENTS * (start - best), _CEILING_NOISE_SDS * noise)
    clipped = np.minimum(despike(values, level), ceiling)

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


_START_STEPS = 10
_LATEST_STEPS = 5  # a spike shorter than three of them goes unnoticed; no verdict before them
_NOISE_SDS = 6.0
_RESOLUTION = float(np.finfo(np.float32).eps)  # losses are computed in float32
_SETTLED_JUMPS = 10_000  # from so many on, their median is looked at with each hundredth more


class DivergenceMonitor:
    """Says when a loss to be minimised has left the range it started in for good.

    Diverged: the median of the last five values lies above

        start + factor * max((start - best) / 2, 6 * noise * (1 + 10 / n))

    where `start` is the median of the first values, `best` the lowest running median so far
    and `noise` the standard deviation of the `n` differences between neighbours, from their
    median. Everything is a difference of losses, so neither the sign nor the scale of the loss
    matters (`loss > 4 * best` stops at once on negative losses and on losses near zero), and
    medians let spikes of one or two steps pass.

    Args:
        factor: How far above the start is too far. Default 1.
        window: How many of the latest differences tell the noise. Default: all.
        start_steps: How many values give the starting level; no verdict before them. Default 10.
    """

    def __init__(
        self,
        factor: float = 1.0,
        window: int | None = None,
        start_steps: int = _START_STEPS,
    ) -> None:
        self._factor, self._start_steps = factor, start_steps
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=_LATEST_STEPS)
        # All of them, in eight bytes each, or the latest.
        self._jumps = array("d") if window is None else deque[float](maxlen=window)
        self._best = float("inf")
        self._middle = 0, 0.0  # of so many jumps

    def update(self, value: float) -> bool:
        """Takes the next finite value; returns True once the loss has diverged."""
        if self._last:
            self._jumps.append(abs(value - self._last[-1]))
        self._last.append(value)
        starting = len(self._first) < self._start_steps
        if starting:
            self._first.append(value)
        if len(self._last) < _LATEST_STEPS:
            return False
        level = median(self._last)
        self._best = min(self._best, level)
        if starting:
            return False
        start = median(self._first)
        if level <= start:  # the noise, which takes longer, is not asked for
            return False
        return level > start + self._factor * max(
            (start - self._best) / 2, _NOISE_SDS * self._noise(start)
        )

    def _noise(self, start: float) -> float:
        count = len(self._jumps)
        if count < _SETTLED_JUMPS or count > 1.01 * self._middle[0]:
            middle = np.partition(np.array(self._jumps), count // 2)[count // 2]
            self._middle = count, float(middle)
        noise = _MAD_TO_SD * self._middle[1] / 2**0.5
        # A median of few differences may be far too low; with heavy tails that stopped one noisy
        # sweep in fifty before its tenth step.
        return max(noise * (1 + 10 / count), _RESOLUTION * abs(start))
