"""One way from a start to an end, which is held afterwards."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import check_count, check_number
from cyclerate.schedules._base import Schedule
from cyclerate.schedules._shapes import SHAPES, blend
from cyclerate.schedules.namespaces import Namespace


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
        self._set(value=check_number("value", self.value, low=0))

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
            start=check_number("start", self.start, low=0),
            end=check_number("end", self.end, low=0),
            steps=check_count("steps", self.steps),
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
    """`start + (end - start) * step / steps`, then `end`.

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
    """`end + (start - end) * (1 + cos(pi * step / steps)) / 2`, then `end`.

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
    """`end + (start - end) * (1 - step / steps) ** power`, then `end`.

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
    """`start * (end / start) ** (step / steps)`, then `end`: equal steps in the logarithm.

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
        check_number("start", self.start, low=0, low_open=True)
        check_number("end", self.end, low=0, low_open=True)

    def value_at(self, n: Any, xp: Namespace) -> Any:
        done = xp.least(n, self.steps)
        rate = (math.log(self.end) - math.log(self.start)) / self.steps
        value = xp.clip(self.start * xp.exp_steps(rate, done), *self.bounds)
        return xp.where(done == self.steps, xp.full(n, self.end), value)
