"""Smith's cyclical policies: one clock, three shapes, and an envelope for the amplitude.

Clock: with `length = step_size + step_size_down`, a step is in cycle `1 + step // length`, at
`step % length` within it. Shape: the height rises from 0 to 1 over `step_size` steps and falls back
over `step_size_down`. Envelope: the height is scaled, once per cycle or once per step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_choice, check_number
from cyclerate.schedules._base import SHAPES, Schedule, blend, check_steps
from cyclerate.schedules._namespaces import Namespace

ScaleFunction = Callable[[Any], Any]


@dataclass(frozen=True)
class _Cycle(Schedule):
    """`base_lr + (max_lr - base_lr) * shape(height) * envelope`.

    The subclasses declare `step_size_down` and `shape`, each where its own signature has them.
    """

    rate_fields: ClassVar = ("base_lr", "max_lr")

    base_lr: float
    max_lr: float
    step_size: int

    step_size_down = None
    shape = "triangle"

    def __post_init__(self) -> None:
        self._set_rates("base_lr", "max_lr")
        self._set(step_size=check_steps("step_size", self.step_size))
        if self.step_size_down is not None:
            self._set(step_size_down=check_steps("step_size_down", self.step_size_down))
        check_choice("shape", self.shape, SHAPES)

    @property
    def cycle_steps(self) -> int:
        """Steps in one cycle, up and down."""
        return self.step_size + (self.step_size_down or self.step_size)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.base_lr, self.max_lr

    @abstractmethod
    def _envelope(self, n: Any, cycles_before: Any, xp: Namespace) -> Any:
        """The factor of the height, at step `n`, after that many whole cycles."""

    def height_at(self, n: Any, xp: Namespace) -> Any:
        up, length = self.step_size, self.cycle_steps
        cycles_before = n // length
        k = n - cycles_before * length
        straight = xp.where(k <= up, xp.real(k) / up, xp.real(length - k) / (length - up))
        return SHAPES[self.shape](straight, xp) * self._envelope(n, cycles_before, xp)

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return blend(self.base_lr, self.max_lr, self.height_at(n, xp), xp)


@dataclass(frozen=True)
class Triangular(_Cycle):
    """Up from `base_lr` to `max_lr` and back, in straight lines, again and again.

    With `cycle = floor(1 + step / (2 * step_size))` and `x = |step / step_size - 2 * cycle + 1|`:
    `base_lr + (max_lr - base_lr) * max(0, 1 - x)`.

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound, at least `base_lr`.
        step_size: Half a cycle, in steps: 2 to 10 times the steps of an epoch is usual.
        step_size_down: Steps of the way down, where it differs from the way up. Default:
            `step_size`.
        shape: "triangle" (or "linear"), "cosine" (sinusoidal) or "welch" (parabolic).

    Raises:
        ValueError: `base_lr` above `max_lr`, a bound that is negative or not finite, a length below
            1 or not whole, an unknown shape.

    Source: Smith 2017, arXiv 1506.01186, section 3.1.

    >>> import cyclerate as cr
    >>> cr.Triangular(base_lr=1.0, max_lr=3.0, step_size=2)(range(6)).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0, 2.0]
    """

    step_size_down: int | None = None
    shape: str = "triangle"

    def _envelope(self, n: Any, cycles_before: Any, xp: Namespace) -> Any:
        return 1.0


@dataclass(frozen=True)
class Triangular2(_Cycle):
    """As `Triangular`, with the amplitude halved after every cycle.

    `base_lr + (max_lr - base_lr) * max(0, 1 - x) / 2 ** (cycle - 1)`, cycles counted from 1.

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound in the first cycle, at least `base_lr`.
        step_size: Half a cycle, in steps.
        step_size_down: Steps of the way down, where it differs from the way up. Default:
            `step_size`.
        shape: "triangle" (or "linear"), "cosine" (sinusoidal) or "welch" (parabolic).

    Raises:
        ValueError: As `Triangular`.

    Source: Smith 2017, arXiv 1506.01186, section 3.1 (the paper's own run in figure 1 has hand-set
    stages).

    >>> import cyclerate as cr
    >>> cr.Triangular2(base_lr=1.0, max_lr=3.0, step_size=2)(range(9)).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0, 1.5, 2.0, 1.5, 1.0]
    """

    step_size_down: int | None = None
    shape: str = "triangle"

    def _envelope(self, n: Any, cycles_before: Any, xp: Namespace) -> Any:
        return xp.power_of_half(cycles_before)


@dataclass(frozen=True)
class ExpRange(_Cycle):
    """As `Triangular`, with the amplitude shrinking by `gamma` at every step.

    `base_lr + (max_lr - base_lr) * max(0, 1 - x) * gamma ** step`.

    The paper's text lets each *boundary* decline by `gamma ** step`; all implementations in use,
    and this one, shrink the amplitude and keep `base_lr`.

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound at step 0, at least `base_lr`.
        step_size: Half a cycle, in steps.
        gamma: The factor per step, above 0 and at most 1; the paper uses 0.99994.
        step_size_down: Steps of the way down, where it differs from the way up. Default:
            `step_size`.
        shape: "triangle" (or "linear"), "cosine" (sinusoidal) or "welch" (parabolic).

    Raises:
        ValueError: As `Triangular`; or `gamma` outside (0, 1].

    Source: Smith 2017, arXiv 1506.01186, section 3.1.

    >>> import cyclerate as cr
    >>> cr.ExpRange(base_lr=0.0, max_lr=1.0, step_size=1, gamma=0.5)(range(4)).tolist()
    [0.0, 0.5, 0.0, 0.125]
    """

    gamma: float
    step_size_down: int | None = field(default=None, kw_only=True)
    shape: str = field(default="triangle", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(gamma=check_number("gamma", self.gamma, low=0, low_open=True, high=1))

    def _envelope(self, n: Any, cycles_before: Any, xp: Namespace) -> Any:
        return xp.power_steps(self.gamma, n)


@dataclass(frozen=True)
class Cyclic(_Cycle):
    """The general cycle: any shape, asymmetric, the amplitude scaled by your own function.

    `base_lr + (max_lr - base_lr) * shape(height) * scale`, where `scale` is `scale_fn(cycle)`,
    cycles counted from 1, or `scale_fn(step)`, steps counted from 0.

    Plain and NumPy steps call `scale_fn` with Python ints. A compiled train step calls it with a
    float tensor while it is traced: it must then consist of arithmetic that tensors have.

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound where the scale is 1, at least `base_lr`.
        step_size: Steps of the way up.
        step_size_down: Steps of the way down. Default: `step_size`.
        shape: "triangle" (or "linear"), "cosine" (sinusoidal) or "welch" (parabolic).
        scale_fn: The factor of the amplitude. Default: 1. Values above 1 exceed `max_lr`: that is
            yours to want.
        scale_mode: "cycle" or "step": what `scale_fn` is called with.

    Raises:
        ValueError: As `Triangular`; `scale_fn` is not callable; an unknown `scale_mode`.

    Source: Smith 2017, arXiv 1506.01186, section 3.1 (shapes); the `scale_fn` of bckenstler/CLR.

    >>> import cyclerate as cr
    >>> thirds = cr.Cyclic(0.0, 9.0, 1, step_size_down=2, scale_fn=lambda cycle: 3.0 ** (1 - cycle))
    >>> thirds(range(6)).tolist()
    [0.0, 9.0, 4.5, 0.0, 3.0, 1.5]
    """

    step_size_down: int | None = None
    shape: str = "triangle"
    scale_fn: ScaleFunction | None = None
    scale_mode: str = "cycle"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("scale_mode", self.scale_mode, ("cycle", "step"))
        if self.scale_fn is not None and not callable(self.scale_fn):
            raise bad_argument("scale_fn", "a function of the cycle or the step", self.scale_fn)

    def _envelope(self, n: Any, cycles_before: Any, xp: Namespace) -> Any:
        if self.scale_fn is None:
            return 1.0
        return xp.scale(self.scale_fn, n if self.scale_mode == "step" else cycles_before + 1)

    def value_at(self, n: Any, xp: Namespace) -> Any:
        if self.scale_fn is None:
            return super().value_at(n, xp)
        height = self.height_at(n, xp)
        return self.base_lr * (1.0 - height) + self.max_lr * height
