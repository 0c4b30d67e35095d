"""Smith's rules for a training in cycles: how long a cycle is, how many, and where to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_rate,
)
from cyclerate.schedules import (
    Constant,
    ExpRange,
    Linear,
    Schedule,
    Sequence,
    Triangular,
    Triangular2,
)
from cyclerate.schedules._base import check_steps
from cyclerate.schedules._namespaces import FARTHEST

POLICIES = ("triangular", "triangular2", "exp_range")
FIRST_STEP = 1
"""The step of the schedule that a training in cycles begins with.

A triangle of `step_size` s is at its lowest at the steps 0, 2 s, 4 s and so on. Begun at step 1,
the last update of every cycle, and so of the training, is exactly at `base_lr`.
"""

_SMITH_EPOCHS = (2, 10)
_LEAST_CYCLES = 3


@dataclass(frozen=True)
class CyclePlan:
    """A training of so many whole cycles, each twice `step_size_epochs` long."""

    cycles: int
    step_size_epochs: int

    @property
    def epochs(self) -> int:
        """Epochs of the training; the last one ends a cycle."""
        return 2 * self.step_size_epochs * self.cycles

    def step_size(self, batches_per_epoch: int, accumulated: int = 1) -> int:
        """Half a cycle in updates of the weights, each of so many accumulated batches."""
        batches = self.step_size_epochs * batches_per_epoch
        if batches % accumulated:
            allowed = f"a divisor of the {batches} batches in half a cycle"
            raise bad_argument("the number of accumulated batches", allowed, accumulated)
        return batches // accumulated


def plan_cycles(
    cycles: int | None = None, step_size_epochs: int | None = None, epochs: int | None = None
) -> CyclePlan:
    """Returns whole cycles by Smith's rules: half a cycle of 2 to 10 epochs, at least 3 cycles.

    With `epochs`, the training ends at a cycle's end at or before that epoch: of `cycles` and
    `step_size_epochs`, what is missing follows, the longest half cycle that fits. Without, the
    defaults are 3 cycles, and half a cycle of 2 epochs: Smith saw 8 to be only slightly better.

    Source: Smith 2017, arXiv 1506.01186, section 3.2.

    >>> plan_cycles(), plan_cycles().epochs
    (CyclePlan(cycles=3, step_size_epochs=2), 12)
    >>> plan_cycles(epochs=32), plan_cycles(epochs=32).epochs
    (CyclePlan(cycles=3, step_size_epochs=5), 30)
    """
    shortest, longest = _SMITH_EPOCHS
    most = FARTHEST // (2 * longest)  # whose epochs can be counted
    if cycles is not None and check_count("cycles", cycles, below=most) < _LEAST_CYCLES:
        allowed = f"at least {_LEAST_CYCLES}, for training in cycles (for one, fit_one_cycle)"
        raise bad_argument("cycles", allowed, cycles)
    if step_size_epochs is not None:
        size = check_count("step_size_epochs", step_size_epochs)
        if not shortest <= size <= longest:
            raise bad_argument("step_size_epochs", f"{shortest} to {longest}", step_size_epochs)
    if epochs is None:
        return CyclePlan(int(cycles or _LEAST_CYCLES), int(step_size_epochs or shortest))
    epochs = check_count("epochs", epochs)
    size = step_size_epochs or min(longest, epochs // (2 * int(cycles or _LEAST_CYCLES)))
    plan = CyclePlan(int(cycles or epochs // (2 * max(size, 1))), int(size))
    least = CyclePlan(int(cycles or _LEAST_CYCLES), int(step_size_epochs or shortest)).epochs
    if epochs < least or plan.epochs > epochs:
        raise bad_argument("epochs", f"at least {least}, for whole cycles of that length", epochs)
    return plan


def cycle_policy(
    policy: str, base_lr: float | None, max_lr: float | None, step_size: int, gamma: float | None
) -> Schedule:
    """Returns the schedule of a training in cycles.

    Without `base_lr` it is a quarter of `max_lr` (Smith 2017, section 3.3). Without `max_lr`, which
    has to be found then, it is some rate, so that the other arguments are checked before.

    >>> cycle_policy("triangular", None, 0.4, step_size=10, gamma=None)
    Triangular(base_lr=0.1, max_lr=0.4, step_size=10, step_size_down=None, shape='triangle')
    """
    check_choice("policy", policy, POLICIES)
    if (gamma is None) == (policy == "exp_range"):
        raise bad_argument("gamma", "given for 'exp_range', and for nothing else", gamma)
    if max_lr is None:
        max_lr = 1.0 if base_lr is None else base_lr
    # Before a quarter is taken of it, it has to be a rate.
    base_lr = Triangular(0.0, max_lr, step_size).max_lr / 4 if base_lr is None else base_lr
    if gamma is not None:
        return ExpRange(base_lr, max_lr, step_size, gamma)
    return (Triangular if policy == "triangular" else Triangular2)(base_lr, max_lr, step_size)


def batches_per_epoch(
    steps_per_epoch: int | None, data: Any, count: Callable[[], int | None]
) -> int:
    """Returns how many batches an epoch has: as given, or else as counted in the data.

    `count` gives None where the data do not say; then their type is named in the refusal.

    >>> batches_per_epoch(None, [], lambda: 8), batches_per_epoch(5, [], lambda: 8)
    (8, 5)
    """
    if steps_per_epoch is not None:
        return check_steps("steps_per_epoch", steps_per_epoch)
    batches = count()
    if batches is None:
        raise bad_argument("steps_per_epoch", f"given for a {type(data).__name__}", None)
    return batches


def way_to_find(find: str, max_lr: float | None, chosen: Mapping[str, tuple[Any, Any]]) -> str:
    """Returns how one cycle comes to its rate: "given", or "warmup", "probe" or "sweep".

    Args:
        find: As `fit_one_cycle` takes it.
        max_lr: The rate, if it is known.
        chosen: What a cycle that finds its own top does not take, each with its default.

    Raises:
        ValueError: They do not go together.

    >>> way_to_find("auto", None, {"shape": ("cosine", "cosine")})
    'warmup'
    >>> way_to_find("auto", None, {"shape": ("welch", "cosine")})
    'probe'
    """
    check_choice("find", find, ("auto", "warmup", "probe", "sweep"))
    if max_lr is not None:
        if find != "auto":
            raise bad_argument("find", "left out where max_lr is given", find)
        return "given"
    own = [name for name, (value, default) in chosen.items() if not _is(value, default)]
    if find == "warmup" and own:
        allowed = 'left out with find="warmup", whose cycle has its own form'
        raise bad_argument(own[0], allowed, chosen[own[0]][0])
    if find == "auto":
        return "probe" if own else "warmup"
    return find


def _is(value: Any, default: Any) -> bool:
    try:
        return bool(value == default)
    except Exception:  # noqa: BLE001 - what compares element by element is none of our defaults
        return False


def opposite_cycle(schedule: Schedule, momentum: tuple[float, float] | None) -> Schedule | None:
    """Returns the cycle of the momentum, highest where the rate is lowest; None for None.

    >>> import cyclerate as cr
    >>> opposite_cycle(cr.Triangular(0.1, 0.4, step_size=5), (0.85, 0.95))(0)
    0.95
    """
    if momentum is None:
        return None
    if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
        raise bad_argument("momentum", "(lowest, highest) or None", momentum)
    return schedule.mirrored(*momentum)


@dataclass(frozen=True)
class CycleOptions:
    """What a cycle that finds its own top is asked for, in any framework.

    Args:
        total_steps: All the optimizer steps there are; None for those of the training.
        max_lr: The highest rate, where it is known.
        momentum: (lowest, highest), or None.
        batch_size: Rows of a step, for the rate to expect; None for what the data say.
        fine_tuned: Whether the weights were trained before.

    Raises:
        ValueError: One of them is not as described.

    >>> CycleOptions(total_steps=0)
    Traceback (most recent call last):
        ...
    ValueError: total_steps must be a whole number >= 1. Received: 0
    """

    total_steps: int | None = None
    max_lr: float | None = None
    momentum: tuple[float, float] | None = None
    batch_size: int | None = None
    fine_tuned: bool = False

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {"fine_tuned": check_flag("fine_tuned", self.fine_tuned)}
        for name in ("total_steps", "batch_size"):
            if (count := getattr(self, name)) is not None:
                checked[name] = check_count(name, count)
        if self.max_lr is not None:
            checked["max_lr"] = check_rate("max_lr", self.max_lr)
        opposite_cycle(Linear(0.0, 1.0, 1), self.momentum)  # refuses what is no range
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def momentum_at(height: float, momentum: tuple[float, float]) -> float:
    """Returns the momentum of a step: the highest at height 0 of the rate, the lowest at its top.

    >>> momentum_at(0.0, (0.85, 0.95)), momentum_at(0.5, (0.5, 1.0))
    (0.95, 0.75)
    """
    low, high = momentum
    return high - (high - low) * height


def scale_lr(lr: float, batch_size: int, new_batch_size: int, rule: str = "linear") -> float:
    """Returns the rate for another batch size.

    With `k = new_batch_size / batch_size`: `lr * k` (linear), or `lr * sqrt(k)` (sqrt).

    Linear is for SGD, with or without momentum: k small steps and one of a batch k times as large
    go about as far. It breaks where the rate comes to its limit: Goyal et al. saw it hold up to
    batches of 8,192 on ImageNet, and fail in the first epochs unless the rate was warmed up, as a
    cycle does. Square root is for Adam and its kin, whose steps do not grow with the gradient; it
    keeps the variance of the steps. Malladi et al. change the betas and epsilon with it, too. For
    SGD it is the careful choice: theory gave it to Krizhevsky, experiments preferred linear.

    Both are a place to begin; a range test at the new batch size measures it.

    Args:
        lr: A rate that is good at `batch_size`, above 0. It may be a `max_lr` or a `base_lr`.
        batch_size: Rows of a batch now; of all devices and of all accumulated batches together.
        new_batch_size: Rows of a batch then.
        rule: "linear" (default) or "sqrt".

    Returns:
        The rate for `new_batch_size`.

    Raises:
        ValueError: A rate that is not above 0, a batch size below 1, an unknown rule.

    Source: linear, Goyal et al. 2017, arXiv 1706.02677, section 2.1; square root, Krizhevsky 2014,
    arXiv 1404.5997, section 5, and for Adam, Malladi et al. 2022, arXiv 2205.10287.

    >>> scale_lr(0.1, batch_size=256, new_batch_size=1024)
    0.4
    >>> scale_lr(0.001, batch_size=64, new_batch_size=256, rule="sqrt")
    0.002
    """
    lr = check_rate("lr", lr)
    old = check_count("batch_size", batch_size)
    new = check_count("new_batch_size", new_batch_size)
    linear = check_choice("rule", rule, ("linear", "sqrt")) == "linear"
    return lr * (new / old if linear else math.sqrt(new / old))


def fge_schedule(max_lr: float, min_lr: float, cycle_steps: int) -> Sequence:
    """Returns the rate of fast geometric ensembling (FGE), for a model that is trained already.

    Down in a straight line from `max_lr` to `min_lr` in the first half of a cycle, up again in the
    second; the members are taken at `min_lr`, in the middle of each cycle. The cycles are short (a
    few epochs) and `max_lr` is below that of the training before, so that the model moves from one
    good place to the next.

    Args:
        max_lr: The rate at both ends of a cycle (alpha 1 in the paper).
        min_lr: The rate in its middle (alpha 2), where members are taken.
        cycle_steps: Optimizer steps of a cycle, an even number.

    Returns:
        A schedule; step 0 has `max_lr`, step `cycle_steps / 2` the first `min_lr`.

    Raises:
        ValueError: `cycle_steps` is odd or below 2, or `max_lr` is not above `min_lr`.

    Source: Garipov et al. 2018, arXiv 1802.10026, section 4; its rates are within a factor of 100
    of each other, its cycles of 2 to 4 epochs.

    >>> lr = fge_schedule(max_lr=0.05, min_lr=0.01, cycle_steps=4)
    >>> [round(lr(step), 6) for step in range(9)]
    [0.05, 0.03, 0.01, 0.03, 0.05, 0.03, 0.01, 0.03, 0.05]
    """
    steps = check_steps("cycle_steps", cycle_steps, low=2)
    if steps % 2:
        raise bad_argument("cycle_steps", "an even number", cycle_steps)
    half = steps // 2
    low = check_rate("min_lr", min_lr, low_open=False)
    high = check_rate("max_lr", max_lr, low_open=False)
    if low >= high:
        raise bad_argument("max_lr", f"above min_lr, {low}", max_lr)
    down, on = Linear(high, low, half), Triangular(low, high, half)
    return Sequence((down, on), (half,))


LAYER_DECAY = 1 / 2.6
"""From a layer to the one below it: Howard and Ruder 2018, section 3.2."""


def layer_factors(layers: int, decay: float = LAYER_DECAY) -> tuple[float, ...]:
    """Returns the factor of each layer's rate, from the bottom up: `decay ** d`, d below the top.

    Source: the discriminative fine-tuning of Howard and Ruder 2018, arXiv 1801.06146, section 3.2.

    >>> layer_factors(3, decay=0.5)
    (0.25, 0.5, 1.0)
    """
    layers = check_count("layers", layers)
    decay = check_number("decay", decay, low=0, low_open=True, high=1)
    return tuple(decay**depth for depth in reversed(range(layers)))


def thaw_turns(layers: int) -> tuple[int, ...]:
    """Returns the turn (an epoch or a cycle) at which each layer begins to train, the top at 0.

    Source: the gradual unfreezing of Howard and Ruder 2018, arXiv 1801.06146, section 3.3.

    >>> thaw_turns(3)
    (2, 1, 0)
    """
    return tuple(reversed(range(check_count("layers", layers))))


def factor_schedule(factor: float, first_step: int) -> Schedule:
    """Returns 0 before `first_step` and `factor` from there on.

    >>> factor_schedule(0.5, first_step=2)(range(4)).tolist()
    [0.0, 0.0, 0.5, 0.5]
    """
    if first_step <= 0:
        return Constant(factor)
    return Sequence((Constant(0.0), Constant(factor)), (first_step,))
