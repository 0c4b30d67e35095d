"""Warm up, stay, and decay at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.schedules._base import Schedule
from cyclerate.schedules._ramps import Constant, Cosine, InverseSqrtDecay, Linear
from cyclerate.schedules._sequence import Pieces
from cyclerate.schedules.namespaces import Namespace

DECAYS = {"sqrt": InverseSqrtDecay, "linear": Linear, "cosine": Cosine}


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
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
        max_lr = check_number("max_lr", self.max_lr, low=0)
        min_lr = check_number("min_lr", self.min_lr, low=0)
        if min_lr > max_lr:
            raise bad_argument("min_lr", f"at most max_lr ({max_lr!r})", self.min_lr)
        warmup = check_number("warmup_frac", self.warmup_frac, low=0, high=1)
        decay = check_number("decay_frac", self.decay_frac, low=0, high=1)
        if warmup + decay > 1:
            allowed = f"at most 1 together with warmup_frac ({warmup!r})"
            raise bad_argument("decay_frac", allowed, self.decay_frac)
        self._set(
            max_lr=max_lr,
            min_lr=min_lr,
            warmup_frac=warmup,
            decay_frac=decay,
            total_steps=check_count("total_steps", self.total_steps),
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

    def value_at(self, n: Any, xp: Namespace) -> Any:
        pieces: Pieces = self._pieces  # type: ignore[attr-defined]
        return pieces.value(n, xp)


def _rounded(fraction: float, steps: int) -> int:
    """Steps of a phase: rounded half up, at least one where the phase is asked for."""
    return max(math.floor(fraction * steps + 0.5), 1 if fraction > 0 else 0)
