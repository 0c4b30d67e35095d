"""Ramps from a start to an end, which is held afterwards; and 1cycle, which consists of them."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_choice, check_number, check_rate
from cyclerate.schedules._base import SHAPES, InPieces, Pieces, Schedule, blend, check_steps
from cyclerate.schedules._namespaces import Namespace


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step.

    Args:
        value: The value, at least 0.

    Raises:
        ValueError: `value` is negative or not finite.

    >>> import cyclerate as cr
    >>> cr.Constant(0.01)(1_000_000)
    0.01
    """

    rate_fields: ClassVar = ("value",)

    value: float

    def __post_init__(self) -> None:
        self._set(value=check_rate("value", self.value, low_open=False))

    @property
    def bounds(self) -> tuple[float, float]:
        return self.value, self.value

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return xp.full(n, self.value)


@dataclass(frozen=True)
class _Ramp(Schedule):
    """From `start` at step 0 to `end` at step `steps`, both exactly."""

    rate_fields: ClassVar = ("start", "end")

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        self._set(
            start=check_rate("start", self.start, low_open=False),
            end=check_rate("end", self.end, low_open=False),
            steps=check_steps("steps", self.steps),
        )

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self.start, self.end), max(self.start, self.end)


class _BlendedRamp(_Ramp):
    """A ramp described by its height between the lower and the upper end."""

    def value_at(self, n: Any, xp: Namespace) -> Any:
        done = xp.least(n, self.steps)
        low, high = self.bounds
        return blend(low, high, self._rise(done, self.end >= self.start, xp), xp)

    @abstractmethod
    def _rise(self, done: Any, rising: bool, xp: Namespace) -> Any:
        """Height above the lower end in [0, 1] after `done` steps.

        A falling ramp counts the steps that are left, as whole numbers: near its end the height is
        small, and one minus a float would lose it.
        """


class _SymmetricRamp(_BlendedRamp):
    """A ramp that falls the way it rises."""

    _shape: str

    def _rise(self, done: Any, rising: bool, xp: Namespace) -> Any:
        from_low = done if rising else self.steps - done
        return SHAPES[self._shape](xp.real(from_low) / float(self.steps), xp)


@dataclass(frozen=True)
class Linear(_SymmetricRamp):
    """A straight line from `start` to `end`, which is held afterwards.

    `start + (end - start) * step / steps`, then `end`.

    Args:
        start: The value at step 0, at least 0.
        end: The value from step `steps` on, at least 0.
        steps: The length, in steps.

    Raises:
        ValueError: A bound that is negative or not finite; `steps` below 1 or not whole.

    Source: the increasing sweep of the range test, Smith 2017, arXiv 1506.01186, section 3.3.

    >>> import cyclerate as cr
    >>> cr.Linear(0.0, 1.0, steps=4)([0, 1, 4, 9]).tolist()
    [0.0, 0.25, 1.0, 1.0]
    """

    _shape = "linear"


@dataclass(frozen=True)
class Cosine(_SymmetricRamp):
    """Half a cosine from `start` to `end`, which is held afterwards.

    `end + (start - end) * (1 + cos(pi * step / steps)) / 2`, then `end`.

    Args:
        start: The value at step 0, at least 0.
        end: The value from step `steps` on, at least 0.
        steps: The length, in steps.

    Raises:
        ValueError: A bound that is negative or not finite; `steps` below 1 or not whole.

    Source: Loshchilov and Hutter 2017 (SGDR), arXiv 1608.03983, equation 5, for one cycle.

    >>> import cyclerate as cr
    >>> cr.Cosine(1.0, 0.0, steps=4)([0, 2, 4, 9]).round(6).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """

    _shape = "cosine"


@dataclass(frozen=True)
class Polynomial(_BlendedRamp):
    """A power of the steps left takes `start` to `end`, which is held afterwards.

    `end + (start - end) * (1 - step / steps) ** power`, then `end`.

    Args:
        start: The value at step 0, at least 0.
        end: The value from step `steps` on, at least 0.
        steps: The length, in steps.
        power: The exponent, above 0; 1 is a straight line.

    Raises:
        ValueError: A bound that is negative or not finite; `steps` below 1 or not whole; `power`
            not above 0.

    Source: the "poly" policy of Caffe; the same formula as
    `keras.optimizers.schedules.PolynomialDecay`.

    >>> import cyclerate as cr
    >>> cr.Polynomial(1.0, 0.0, steps=4, power=2)([0, 2, 4, 9]).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(power=check_number("power", self.power, low=0, low_open=True))

    def _rise(self, done: Any, rising: bool, xp: Namespace) -> Any:
        if rising:
            return xp.one_minus_power(xp.real(done) / float(self.steps), self.power)
        return xp.power(xp.real(self.steps - done) / float(self.steps), self.power)


@dataclass(frozen=True)
class InverseSqrtDecay(_BlendedRamp):
    """`end + (start - end) * (1 - sqrt(step / steps))`, then `end`: a cooldown.

    Args:
        start: The value at step 0, at least 0.
        end: The value from step `steps` on, at least 0.
        steps: The length, in steps.

    Raises:
        ValueError: A bound that is negative or not finite; `steps` below 1 or not whole.

    Source: Hägele et al. 2024, arXiv 2405.18392, section 3 (the "1-sqrt" cooldown).

    >>> from cyclerate.schedules._ramps import InverseSqrtDecay
    >>> InverseSqrtDecay(1.0, 0.0, steps=4)([0, 1, 4]).tolist()
    [1.0, 0.5, 0.0]
    """

    def _rise(self, done: Any, rising: bool, xp: Namespace) -> Any:
        root = xp.sqrt(xp.real(done) / float(self.steps))
        if rising:
            return root
        # 1 - sqrt(p), with the difference taken between whole numbers.
        return xp.real(self.steps - done) / float(self.steps) / (1.0 + root)


@dataclass(frozen=True)
class Exponential(_Ramp):
    """Equal factors take `start` to `end`, which is held afterwards.

    `start * (end / start) ** (step / steps)`, then `end`: equal steps in the logarithm.

    Args:
        start: The value at step 0, above 0.
        end: The value from step `steps` on, above 0.
        steps: The length, in steps.

    Raises:
        ValueError: A bound that is not above 0 or not finite; `steps` below 1 or not whole.

    Source: the sweep of fastai's and Lightning's finders; a straight line on a logarithmic axis.

    >>> import cyclerate as cr
    >>> cr.Exponential(1e-4, 1.0, steps=4)([0, 2, 4, 9]).round(9).tolist()
    [0.0001, 0.01, 1.0, 1.0]
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate("start", self.start)
        check_rate("end", self.end)

    def value_at(self, n: Any, xp: Namespace) -> Any:
        done = xp.least(n, self.steps)
        rate = (math.log(self.end) - math.log(self.start)) / self.steps
        value = xp.clip(self.start * xp.exp_steps(rate, done), *self.bounds)
        return xp.where(done == self.steps, xp.full(n, self.end), value)


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
            max_lr=check_rate("max_lr", self.max_lr),
            total_steps=check_steps("total_steps", self.total_steps),
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
