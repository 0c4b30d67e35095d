"""Cosine annealing with warm restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_count, check_number
from cyclerate.schedules._base import Schedule
from cyclerate.schedules._shapes import blend, cosine
from cyclerate.schedules.namespaces import Namespace

LAST_START = 2**62
"""No cycle begins later; whatever cycle is under way by then is the last."""


@dataclass(frozen=True)
class WarmRestarts(Schedule):
    """SGDR: a cosine from `max_lr` towards `min_lr`, begun anew after every cycle.

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
        max_lr = check_number("max_lr", self.max_lr, low=0)
        min_lr = check_number("min_lr", self.min_lr, low=0)
        if min_lr > max_lr:
            raise bad_argument("min_lr", f"at most max_lr ({max_lr!r})", self.min_lr)
        cycle_mult = check_number("cycle_mult", self.cycle_mult, low=1)
        if 1 < cycle_mult < 1.01:
            raise bad_argument("cycle_mult", "1, or 1.01 and above", self.cycle_mult)
        # Whole factors stay ints: their powers are exact however long the cycles grow.
        mult = int(cycle_mult) if cycle_mult.is_integer() else cycle_mult
        self._set(
            max_lr=max_lr,
            min_lr=min_lr,
            cycle_mult=mult,
            cycle_steps=check_count("cycle_steps", self.cycle_steps),
        )
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
    while cycle_mult != 1 and starts[-1] + lengths[-1] < LAST_START:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(min(round(cycle_steps * cycle_mult ** len(lengths)), LAST_START))
    return starts, lengths
