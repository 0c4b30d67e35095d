"""Schedules that decay to their end: in cycles (SGDR, CosLog), or once (warmup-stable-decay)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_choice, check_count, check_number, check_rate
from cyclerate.schedules._base import InPieces, Pieces, Schedule, blend, check_steps, cosine
from cyclerate.schedules._namespaces import FARTHEST, Namespace
from cyclerate.schedules._ramps import Constant, Cosine, InverseSqrtDecay, Linear

_MOST_CYCLES = 20


@dataclass(frozen=True)
class WarmRestarts(Schedule):
    """SGDR: a cosine from `max_lr` towards `min_lr`, begun again after every cycle.

    `min_lr + (max_lr - min_lr) * (1 + cos(pi * t / T)) / 2` at the t-th of the T steps of a cycle;
    the i-th cycle (from 0) has `round(cycle_steps * cycle_mult ** i)` steps. A restart takes effect
    on its own step, so the rate is `max_lr` there, and `min_lr` is approached but never reached.

    Args:
        max_lr: The rate at every restart, at least `min_lr`.
        cycle_steps: The length of the first cycle, in steps.
        cycle_mult: How much longer each cycle is than the one before: 1, or 1.01 and above.
        min_lr: The lower bound, at least 0.

    Raises:
        ValueError: `min_lr` above `max_lr`, a bound that is negative or not finite, `cycle_steps`
            below 1 or not whole, `cycle_mult` between 1 and 1.01 or below 1.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5. Equal to
    `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts` stepped once per step, and right where
    its logarithm misses a restart.

    >>> import cyclerate as cr
    >>> cr.WarmRestarts(max_lr=1.0, cycle_steps=2, cycle_mult=2)(range(7)).round(6).tolist()
    [1.0, 0.5, 1.0, 0.853553, 0.5, 0.146447, 1.0]
    """

    rate_fields: ClassVar = ("max_lr", "min_lr")

    max_lr: float
    cycle_steps: int
    cycle_mult: float = 1
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        self._set_rates("min_lr", "max_lr")
        cycle_mult = check_number("cycle_mult", self.cycle_mult, low=1)
        if 1 < cycle_mult < 1.01:
            raise bad_argument("cycle_mult", "1, or 1.01 and above", self.cycle_mult)
        # Whole factors stay ints: their powers are exact however long the cycles grow.
        mult = int(cycle_mult) if cycle_mult.is_integer() else cycle_mult
        self._set(cycle_mult=mult, cycle_steps=check_steps("cycle_steps", self.cycle_steps))
        self._set(_cycles=_cycles(self.cycle_steps, mult))

    @property
    def bounds(self) -> tuple[float, float]:
        return self.min_lr, self.max_lr

    def height_at(self, n: Any, xp: Namespace) -> Any:
        if self.cycle_mult == 1:
            left = self.cycle_steps - n % self.cycle_steps
            return cosine(xp.real(left) / self.cycle_steps, xp)
        start, steps = xp.lookup(*self._cycles, n)  # type: ignore[attr-defined]
        return cosine(xp.real(start + steps - n) / xp.real(steps), xp)

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return blend(self.min_lr, self.max_lr, self.height_at(n, xp), xp)


def _cycles(cycle_steps: int, cycle_mult: float) -> tuple[list[int], list[int]]:
    """The first step and the length of every growing cycle that a 64-bit step can reach."""
    starts, lengths = [0], [cycle_steps]
    while cycle_mult != 1 and starts[-1] + lengths[-1] < FARTHEST:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(min(round(cycle_steps * cycle_mult ** len(lengths)), FARTHEST))
    return starts, lengths


DECAYS = {"sqrt": InverseSqrtDecay, "linear": Linear, "cosine": Cosine}


@dataclass(frozen=True)
class WarmupStableDecay(InPieces):
    """Up to `max_lr`, `max_lr` for most of the training, and a decay to `min_lr` at its end.

    The warmup is a straight line from `min_lr` at step 0, over `round(warmup_frac * total_steps)`
    steps. The decay takes `round(decay_frac * total_steps)` steps (at least 1 where it is asked
    for) and reaches `min_lr` at step `total_steps - 1`. "sqrt" decays as `1 - sqrt(p)` over the
    progress `p` of that phase.

    Args:
        max_lr: The rate in between, at least `min_lr`.
        total_steps: Optimizer steps of the whole training.
        warmup_frac: Fraction of the steps that warm up, 0 to 1.
        decay_frac: Fraction of the steps that decay, 0 to 1; at most 1 together with `warmup_frac`.
        decay: "sqrt", "linear" or "cosine".
        min_lr: The first and the last rate, at least 0.

    Raises:
        ValueError: A number outside these bounds, fractions above 1 together, or an unknown decay.

    Source: Hu et al. 2024 (MiniCPM), arXiv 2404.06395, section 4; Hägele et al. 2024, arXiv
    2405.18392, section 3.

    >>> import cyclerate as cr
    >>> wsd = cr.WarmupStableDecay(1.0, 8, warmup_frac=0.25, decay_frac=0.25, decay="linear")
    >>> wsd(range(9)).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    rate_fields: ClassVar = ("max_lr", "min_lr")

    max_lr: float
    total_steps: int
    warmup_frac: float = 0.05
    decay_frac: float = 0.2
    decay: str = "sqrt"
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        self._set_rates("min_lr", "max_lr")
        warmup = check_number("warmup_frac", self.warmup_frac, low=0, high=1)
        decay = check_number("decay_frac", self.decay_frac, low=0, high=1)
        if warmup + decay > 1:
            allowed = f"at most 1 together with warmup_frac ({warmup!r})"
            raise bad_argument("decay_frac", allowed, self.decay_frac)
        self._set(
            warmup_frac=warmup,
            decay_frac=decay,
            total_steps=check_steps("total_steps", self.total_steps),
        )
        check_choice("decay", self.decay, DECAYS)
        self._set(_pieces=self._phases())

    @property
    def bounds(self) -> tuple[float, float]:
        return self.min_lr, self.max_lr

    def _phases(self) -> Pieces:
        last = self.total_steps - 1
        decay = min(_rounded(self.decay_frac, self.total_steps), last)
        warmup = min(math.floor(self.warmup_frac * self.total_steps + 0.5), last - decay)
        phases: dict[int, Schedule] = {warmup: Constant(self.max_lr)}
        if warmup:
            phases[0] = Linear(self.min_lr, self.max_lr, warmup)
        if decay:
            phases[last - decay] = DECAYS[self.decay](self.max_lr, self.min_lr, decay)
        starts = sorted(phases)
        return Pieces(starts, [phases[start] for start in starts])


def _rounded(fraction: float, steps: int) -> int:
    """Steps of a phase: rounded half up, at least one where the phase is asked for."""
    return max(math.floor(fraction * steps + 0.5), 1 if fraction > 0 else 0)


@dataclass(frozen=True)
class CosLog(Schedule):
    """Cycles from 0 up to `max_lr` and back, each twice as long as the one before.

    `max_lr * (1 - cos(2 pi log2(1 + (2 ** cycles - 1) t))) / 2` with `t = step / total_steps`.
    The first rate is 0, the last one, of step `total_steps - 1`, is near 0 and held afterwards. A
    training of a single step stays at `max_lr`.

    Args:
        max_lr: The top of every cycle, above 0.
        total_steps: Optimizer steps of the whole training.
        cycles: How many cycles, at most 20. Default 4, as RealMLP has it.

    Raises:
        ValueError: A number outside these bounds.

    Source: Holzmueller, Grinsztajn and Steinwart 2024 (RealMLP), arXiv 2407.04491, where it is
    called coslog4.

    >>> import cyclerate as cr
    >>> cr.CosLog(max_lr=1.0, total_steps=12, cycles=2)(range(12)).round(2).tolist()
    [0.0, 0.72, 0.93, 0.32, 0.0, 0.26, 0.72, 0.98, 0.93, 0.65, 0.32, 0.08]
    """

    rate_fields: ClassVar = ("max_lr",)

    max_lr: float
    total_steps: int
    cycles: int = 4

    def __post_init__(self) -> None:
        cycles = check_count("cycles", self.cycles)
        if cycles > _MOST_CYCLES:
            raise bad_argument("cycles", f"at most {_MOST_CYCLES}", self.cycles)
        self._set(
            max_lr=check_rate("max_lr", self.max_lr),
            total_steps=check_steps("total_steps", self.total_steps),
            cycles=cycles,
        )
        self._set(_pieces=_pieces(self.total_steps, cycles))

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, self.max_lr

    def height_at(self, n: Any, xp: Namespace) -> Any:
        if self.total_steps == 1:
            return xp.full(n, 1.0)
        starts, pieces = self._pieces  # type: ignore[attr-defined]
        return xp.join(starts, pieces, xp.least(n, self.total_steps - 1))

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return blend(0.0, self.max_lr, self.height_at(n, xp), xp)


def _pieces(total_steps: int, cycles: int) -> tuple[list[int], list[partial[Any]]]:
    """The first step of every cycle that has one, and the cycle's height from there on.

    Whole numbers tell how far a step is from either end of its cycle, so that the small rates
    there are as exact as the large ones.
    """
    shares = 2**cycles - 1  # of the training; the first cycle has one, the next two, ...
    starts: list[int] = []
    pieces: list[partial[Any]] = []
    for cycle in range(cycles):
        size = 2**cycle * total_steps
        start = -(-(size - total_steps) // shares)
        begun = shares * start - (size - total_steps)
        if shares * start < 2 * size - total_steps:
            ends = divmod(2 * size - total_steps - shares * start, shares)
            starts.append(start)
            pieces.append(
                partial(_height, shares=shares, size=float(size), begun=float(begun), ends=ends)
            )
    return starts, pieces


def _height(
    j: Any, xp: Namespace, *, shares: int, size: float, begun: float, ends: tuple[int, int]
) -> Any:
    """The height of a cycle, `j` steps after its first one."""
    since = xp.log1p((xp.real(j) * shares + begun) / size)
    left = -xp.log1p(-(xp.real(ends[0] - j) * shares + ends[1]) / (2 * size))
    root = xp.sin(xp.where(since <= left, since, left) * (math.pi / math.log(2)))
    return root * root
