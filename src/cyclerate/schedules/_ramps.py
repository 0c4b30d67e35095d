"""One way from a start to an end, which is held afterwards."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.schedules._base import Schedule, blend
from cyclerate.schedules._cyclic import SHAPES, cosine
from cyclerate.schedules._namespaces import Namespace
from cyclerate.schedules._sequence import InPieces, Pieces


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


LAST_START = 2**62
"""No cycle begins later; whatever cycle is under way by then is the last."""


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
        self._set(cycle_mult=mult, cycle_steps=check_count("cycle_steps", self.cycle_steps))
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


def _rounded(fraction: float, steps: int) -> int:
    """Steps of a phase: rounded half up, at least one where the phase is asked for."""
    return max(math.floor(fraction * steps + 0.5), 1 if fraction > 0 else 0)
