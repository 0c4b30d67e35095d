"""Cosine cycles, each twice as long as the one before, that end with the training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_count, check_number
from cyclerate.schedules._base import Schedule, blend
from cyclerate.schedules._namespaces import Namespace

_MOST_CYCLES = 20


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
            max_lr=check_number("max_lr", self.max_lr, low=0, low_open=True),
            total_steps=check_count("total_steps", self.total_steps),
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
            pieces.append(partial(_height, shares=shares, size=size, begun=begun, ends=ends))
    return starts, pieces


def _height(
    j: Any, xp: Namespace, *, shares: int, size: int, begun: int, ends: tuple[int, int]
) -> Any:
    """The height of a cycle, `j` steps after its first one."""
    since = xp.log1p((xp.real(j) * shares + begun) / size)
    left = -xp.log1p(-(xp.real(ends[0] - j) * shares + ends[1]) / (2 * size))
    root = xp.sin(xp.where(since <= left, since, left) * (math.pi / math.log(2)))
    return root * root
