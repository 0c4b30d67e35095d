"""One large cycle over the whole training, then far below where it started."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.schedules._namespaces import Namespace
from cyclerate.schedules._ramps import Constant, Cosine, Linear
from cyclerate.schedules._sequence import InPieces, Pieces

RAMPS: dict[str, type[Linear | Cosine]] = {
    "cosine": Cosine,
    "linear": Linear,
    "triangle": Linear,
}


@dataclass(frozen=True)
class OneCycle(InPieces):
    """The 1cycle policy: up to `max_lr`, down again, and on to a rate far below the start.

    Two phases (default): `max_lr / start_div` -> `max_lr` -> `max_lr / start_div / end_div`.
    Three phases: up to `max_lr`, back to the start over as many steps, then on to the end.

    The peak is at step `round(up_frac * total_steps) - 1`, moved where needed so that every phase
    that is asked for has at least one step; a training of 2 steps goes from the peak to the end,
    one of a single step stays at the peak. The last value is that of step `total_steps - 1`, and is
    held afterwards.

    Args:
        max_lr: The peak, above 0.
        total_steps: Optimizer steps of the whole training.
        up_frac: Fraction of the steps on the way up, 0 to 1 (0.5 at most with three phases).
        start_div: `max_lr` over the first rate, at least 1.
        end_div: The first rate over the last rate, at least 1.
        shape: "cosine", or "linear" (also called "triangle") for straight lines.
        three_phase: As the paper: a symmetric cycle, then a last descent.

    Raises:
        ValueError: A number outside these bounds, or an unknown shape.

    Source: Smith and Topin 2018 (super-convergence), arXiv 1708.07120; Smith 2018, arXiv
    1803.09820, section 4.1; two phases with a cosine as in fastai. Equal to
    `torch.optim.lr_scheduler.OneCycleLR` where `up_frac * total_steps` is whole.

    >>> import cyclerate as cr
    >>> policy = cr.OneCycle(max_lr=1.0, total_steps=5, up_frac=0.4, shape="linear", end_div=4)
    >>> policy(range(5)).round(6).tolist()
    [0.04, 1.0, 0.67, 0.34, 0.01]
    """

    rate_fields: ClassVar = ("max_lr",)

    max_lr: float
    total_steps: int
    up_frac: float = 0.3
    start_div: float = 25.0
    end_div: float = 1e4
    shape: str = "cosine"
    three_phase: bool = False

    def __post_init__(self) -> None:
        three_phase = check_choice("three_phase", self.three_phase, (False, True))
        self._set(
            max_lr=check_number("max_lr", self.max_lr, low=0, low_open=True),
            total_steps=check_count("total_steps", self.total_steps),
            up_frac=check_number("up_frac", self.up_frac, low=0, high=0.5 if three_phase else 1.0),
            start_div=check_number("start_div", self.start_div, low=1),
            end_div=check_number("end_div", self.end_div, low=1),
        )
        check_choice("shape", self.shape, RAMPS)
        if self.end_lr == 0.0:
            raise bad_argument(
                "end_div", "small enough that the last rate is above 0", self.end_div
            )
        rates = self._phases(self.start_lr, self.max_lr, self.start_lr, self.end_lr)
        self._set(_pieces=rates, _heights=self._phases(0.0, 1.0, 0.0, 0.0))

    @property
    def start_lr(self) -> float:
        """The rate at step 0, where there is a way up."""
        return self.max_lr / self.start_div

    @property
    def end_lr(self) -> float:
        """The rate at the last step, where there is a way down."""
        return self.start_lr / self.end_div

    @property
    def peak_step(self) -> int:
        """The step at which `max_lr` is reached."""
        last = self.total_steps - 1
        wanted = math.floor(self.up_frac * self.total_steps + 0.5) - 1
        earliest = 1 if self.up_frac > 0 and last >= 2 else 0
        if self.three_phase and last >= 3:
            latest = (last - 1) // 2 if self.up_frac < 0.5 or last % 2 else last // 2
        else:
            latest = last if self.up_frac == 1 and not self.three_phase else max(last - 1, 0)
        return min(max(wanted, earliest), latest)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.end_lr, self.max_lr

    def _phases(self, start: float, peak: float, middle: float, end: float) -> Pieces:
        """Ramps between those values at the policy's steps; a phase without steps is left out."""
        top, last = self.peak_step, self.total_steps - 1
        corners = [(0, start), (top, peak)] if top > 0 else [(0, peak)]
        if self.three_phase and 0 < 2 * top < last:
            corners.append((2 * top, middle))
        if last > top:
            corners.append((last, end))
        legs = list(itertools.pairwise(corners))
        ramps = [RAMPS[self.shape](a, b, at - since) for (since, a), (at, b) in legs]
        if not ramps:
            return Pieces([0], [Constant(peak)])
        return Pieces([since for (since, _), _ in legs], ramps)

    def height_at(self, n: Any, xp: Namespace) -> Any:
        # Momentum follows the phases, not the rate: it is back at its highest where the cycle ends.
        heights: Pieces = self._heights  # type: ignore[attr-defined]
        return heights.value(n, xp)
