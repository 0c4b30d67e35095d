"""The scheduled parameters of the groups: the rate, the momentum, the weight decay."""

from __future__ import annotations

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter, mul
from types import FunctionType
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer, RMSprop

from cyclerate._errors import bad_argument, check_number
from cyclerate.finder._prior import Prior, kind_of, prior_lr
from cyclerate.schedules import Schedule
from cyclerate.torch._depth import Scaling, layers_of

T = TypeVar("T")


@functools.cache
def leave_out(*code: type | FunctionType) -> None:
    """Marks functions, and the methods of classes, to be run as they are, never traced.

    Unlike `torch.compiler.disable`, which wraps a function, it costs nothing when they run; what
    they call is to be marked, too. It imports the compiler, as making an optimizer does.
    """
    from torch._dynamo.decorators import skip

    for item in code:
        for function in vars(item).values() if isinstance(item, type) else [item]:
            if isinstance(function, FunctionType):
                skip(function)


@functools.cache
def left_out_with_all_it_calls(function: Callable[..., T]) -> Callable[..., T]:
    """The function, run such that nothing is traced, whatever it calls: at half a microsecond."""
    return cast(Callable[..., T], torch.compiler.disable(function))


_AHEAD_VALUES = 4096  # kept at a time; computing them takes a fraction of a millisecond
_OWN = Schedule.__module__.rpartition(".")[0] + "."


class LookAhead(ABC, Generic[T]):
    """A function of the step that is computed for many steps at once.

    The value at a step is `self.ahead[i]`, where `i = step - self.start` if that is in range, and
    what `self.look_ahead(step)` returns if not. To be read by subclasses without a call between.

    What a group holds is what was written there last: `left`, None where that does not count. A
    warning says once where something else has written since.
    """

    key: str
    left: T | None = None
    told = False

    def __init__(self, schedules: Sequence[Schedule | None]) -> None:
        self.start = 0
        self.ahead: list[T] = []
        ahead = all(map(_knows_all_steps, schedules))
        self._ahead_steps = max(_AHEAD_VALUES // len(schedules), 1) if ahead else 1

    def look_ahead(self, step: int) -> int:
        """Computes the values from `step` on, and returns the index of the first of them."""
        values_at = left_out_with_all_it_calls(type(self).values_at)
        self.ahead = values_at(self, np.arange(step, step + self._ahead_steps))
        self.start = step
        return 0

    def over(self, old: Any, value: float, left: float | None) -> Any:
        """Returns the successor of `old`, and warns if that is not what was left there."""
        if not self.told and left is not None and was_written_over(old, left):
            self.told = True
            left_out_with_all_it_calls(warn_of_another)(self.key, old, left)
        return updated(old, value)

    @abstractmethod
    def values_at(self, steps: NDArray[np.int64]) -> list[T]:
        """Returns the values at an array of steps."""


def values_of(schedule: Schedule, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values at an array of steps; a single one is asked for as such."""
    return schedule(steps) if len(steps) > 1 else np.array([schedule(int(steps[0]))])


def _knows_all_steps(schedule: Schedule | None) -> bool:
    """Says whether it can be asked for steps that may never come.

    A user's `scale_fn`, or own kind of schedule, may know no step after the training's last, and no
    arrays of steps.
    """
    if schedule is None:
        return True
    if not type(schedule).__module__.startswith(_OWN):
        return False
    values: list[Any] = list(vars(schedule).values())
    inner = [part for value in values for part in (value if isinstance(value, tuple) else [value])]
    return getattr(schedule, "scale_fn", None) is None and all(
        _knows_all_steps(part) for part in inner if isinstance(part, Schedule)
    )


Group = dict[str, Any]


class Shared(LookAhead[float]):
    """One schedule for all groups, also for those that are added later.

    The key is "lr", "momentum", "betas" (of which the first is set) or "weight_decay".
    """

    def __init__(self, key: str, schedule: Schedule) -> None:
        super().__init__([schedule])
        self.key = key
        self._schedule = schedule

    def write(self, groups: Sequence[Group], step: int) -> list[Any]:
        """Writes the values of `step` into the groups, and returns what each holds then."""
        i = step - self.start
        if not 0 <= i < len(self.ahead):
            i = self.look_ahead(step)
        value, key, left = self.ahead[i], self.key, self.left
        for group in groups:  # most of the time of a step goes by here
            old = group[key]
            group[key] = value if old is left else self.over(old, value, left)
        self.left = value
        return [value] * len(groups)

    @property
    def highest(self) -> float:
        """The highest value of the schedule."""
        return self._schedule.bounds[1]

    def with_rates(self, scaled: Scaling) -> Shared:
        """The same with other values: each bound of the schedule is changed by `scaled`."""
        return Shared(self.key, self._schedule.map_rates(scaled))

    def description(self) -> Any:
        """The schedule as JSON-safe values, to be compared with those of a saved state."""
        return _described(self._schedule)

    def values_at(self, steps: NDArray[np.int64]) -> list[float]:
        return values_of(self._schedule, steps).tolist()


class Grouped(LookAhead[list[float]]):
    """As `Shared`, but for each group a schedule and its factor; None leaves a group as it is."""

    def __init__(
        self,
        key: str,
        schedules: Sequence[Schedule | None],
        scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__(schedules)
        self.key = key
        self._schedules = tuple(schedules)
        self._scales = tuple(scales or [1.0] * len(schedules))
        self._scheduled = [i for i, schedule in enumerate(schedules) if schedule is not None]
        self._nothing = [None] * len(self._scheduled)

    def write(self, groups: Sequence[Group], step: int) -> list[Any]:
        if len(groups) != len(self._schedules):
            allowed = f"{len(self._schedules)}, as the scheduler was told about each of them"
            raise bad_argument("the number of parameter groups", allowed, len(groups))
        i = step - self.start
        if not 0 <= i < len(self.ahead):
            i = self.look_ahead(step)
        row, key = self.ahead[i], self.key
        left = self.left or self._nothing
        for column, at in enumerate(self._scheduled):
            group, value, last = groups[at], row[column], left[column]
            old = group[key]
            group[key] = value if old is last else self.over(old, value, last)
        self.left = row
        return row if len(row) == len(groups) else [copied(group[key]) for group in groups]

    @property
    def highest(self) -> float:
        pairs = zip(self._schedules, self._scales, strict=True)
        return max(s.bounds[1] * scale for s, scale in pairs if s is not None)

    def with_rates(self, scaled: Scaling) -> Grouped:
        schedules = [None if s is None else s.map_rates(scaled) for s in self._schedules]
        return Grouped(self.key, schedules, self._scales)

    def description(self) -> Any:
        described = [None if s is None else _described(s) for s in self._schedules]
        return {"groups": described, "scales": list(self._scales)}

    def values_at(self, steps: NDArray[np.int64]) -> list[list[float]]:
        values = {s: values_of(s, steps) for s in set(self._schedules) if s is not None}
        pairs = zip(self._schedules, self._scales, strict=True)
        columns = [values[schedule] * scale for schedule, scale in pairs if schedule is not None]
        return np.stack(columns, axis=1).tolist()


GroupParam = Shared | Grouped
"""The values of the groups under one key, at every step."""


def copied(value: Any) -> Any:
    """The value as it is now; a tensor may be filled with another one later."""
    return value.clone() if isinstance(value, Tensor) else value


def updated(old: Any, value: float) -> Any:
    """Returns the successor of `old`. A tensor stays: a compiled optimizer holds on to it."""
    if isinstance(old, Tensor):
        return old.fill_(value)
    if isinstance(old, (tuple, list)):  # betas
        first, *others = old
        return (updated(first, value), *others)
    return value


def was_written_over(held: Any, left: float) -> bool:
    """Whether a group holds another value than was left there, but for roundings.

    A tensor on an accelerator is not asked: the host would wait for it.
    """
    value, exact = held[0] if isinstance(held, (tuple, list)) else held, 1e-12
    if isinstance(value, Tensor):
        if value.device.type != "cpu":
            return False
        exact = torch.finfo(value.dtype).eps
    return not abs(float(value) - left) <= exact * abs(left)


_SCHEDULED = {"lr": "learning rate", "betas": "first beta", "weight_decay": "weight decay"}


def warn_of_another(key: str, held: Any, left: float) -> None:
    """Says that two of them set one value: neither training is the one that was asked for."""
    value = float(held[0] if isinstance(held, (tuple, list)) else held)
    warnings.warn(
        f"Something else sets the {_SCHEDULED.get(key, key)} of this optimizer, to {value:.6g} "
        f"after {left:.6g}, as ReduceLROnPlateau, another scheduler or a ChainedScheduler of both "
        "do. The schedule's value is written over it at every step: leave one of them out.",
        stacklevel=6,
    )


def _described(schedule: Schedule) -> dict[str, Any]:
    try:
        return schedule.to_dict()
    except ValueError:  # a function without a name to find it by, as a lambda
        return {"type": type(schedule).__name__, "described": False}


def rate_setting(
    groups: Sequence[Group],
    lr: Any,
    layer_decay: float | None,
    group_scale: Sequence[float] | str | None,
) -> GroupParam | None:
    """Returns the setting of the rates; None where they are not scheduled."""
    scales = _scales(groups, layer_decay, group_scale)
    if lr is None and scales is not None:
        raise bad_argument("lr", "a schedule, where the groups are scaled", lr)
    return None if lr is None else _setting("lr", "lr", lr, len(groups), scales)


def momentum_setting(groups: Sequence[Group], momentum: Any) -> GroupParam | None:
    """Returns the setting of the momentum or the first beta; None where it is not scheduled."""
    if momentum is None:
        return None
    name = momentum_key(groups)
    if name is None:
        raise bad_argument("momentum", "None: the optimizer has no momentum and no betas", momentum)
    setting = _setting("momentum", name, momentum, len(groups))
    for schedule in [momentum] if isinstance(momentum, Schedule) else momentum:
        low, high = (0.0, 0.0) if schedule is None else schedule.bounds
        if low < 0 or high >= 1:
            raise bad_argument("momentum", "a schedule of values in [0, 1)", schedule)
    return setting


def keep_momentum_buffers(optimizer: Optimizer) -> None:
    """Gives the weights that RMSprop has stepped without a momentum the buffer it will ask for.

    RMSprop makes buffers in its first step alone, and only where the momentum is above 0 then.
    """
    if isinstance(optimizer, RMSprop):
        optimizer.register_step_pre_hook(_fill_in_buffers)


def _fill_in_buffers(optimizer: Optimizer, *_: Any) -> None:
    for weight, state in optimizer.state.items():
        if state and "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)


def momentum_key(groups: Sequence[Group]) -> str | None:
    """Returns the name under which all groups hold a momentum or betas; None if they do not."""
    return next((n for n in ("betas", "momentum") if all(n in group for group in groups)), None)


def momentum_in_use(groups: Sequence[Group]) -> str | None:
    """Returns that name; None also where the momentum or the first beta of a group is 0."""
    key = momentum_key(groups)
    values = [] if key is None else [group[key] for group in groups]
    return key if all(v[0] if isinstance(v, (tuple, list)) else v for v in values) else None


def weight_decay_setting(groups: Sequence[Group], weight_decay: Any) -> GroupParam | None:
    """Returns the setting of the weight decay; None where it is not scheduled."""
    if weight_decay is None:
        return None
    if not all("weight_decay" in group for group in groups):
        raise bad_argument("weight_decay", "None: the optimizer has none", weight_decay)
    exempt = [i for i, group in enumerate(groups) if not group["weight_decay"]]
    if isinstance(weight_decay, Schedule) and 0 < len(exempt) < len(groups):
        allowed = f"a list, with None for groups to be left without (now without: {exempt})"
        raise bad_argument("weight_decay", allowed, weight_decay)
    return _setting("weight_decay", "weight_decay", weight_decay, len(groups))


def current_ratios(groups: Sequence[Group]) -> tuple[float, ...]:
    """Returns the rate of each group over the highest of them.

    Where all rates are 0, as at the first step of a warmup, those that the groups began with count.
    """
    rates = [*map(itemgetter("lr"), groups)]
    return _ratios(groups, rates if any(rates) else _first_rates(groups))


def _first_rates(groups: Sequence[Group]) -> list[Any]:
    """The rates before a scheduler was attached: it leaves a group's own under another name."""
    return [group.get("initial_lr", group["lr"]) for group in groups]


def _ratios(groups: Sequence[Group], rates: Iterable[Any]) -> tuple[float, ...]:
    """Returns each rate over the highest of them; 1 for all where every rate is 0.

    What timm leaves in a group as `lr_scale` multiplies its rate, as timm's schedulers do, unless
    the rates are in that proportion: then one of them has done so.
    """
    values = [*map(float, rates)]
    scales = [check_number("lr_scale", group.get("lr_scale", 1.0), low=0) for group in groups]
    scaled = [scale * max(values) for scale in scales]
    if not np.allclose(np.multiply(values, max(scales)), scaled, rtol=1e-6, atol=0):
        equal = len(set(values)) == 1
        values = scales if equal else [*map(mul, values, scales)]
    highest = max(values)
    return tuple([value / highest if highest > 0 else 1.0 for value in values])


def _setting(
    argument: str, key: str, value: Any, count: int, scales: tuple[float, ...] | None = None
) -> GroupParam:
    if isinstance(value, Schedule):
        return Shared(key, value) if scales is None else Grouped(key, [value] * count, scales)
    allowed = f"a schedule, or a list of {count} (or None), one for each parameter group"
    if not isinstance(value, Sequence):
        raise bad_argument(argument, allowed, value)
    schedules = [item for item in value if isinstance(item, Schedule)]
    others = [item for item in value if item is not None and not isinstance(item, Schedule)]
    if len(value) != count or not schedules or others:
        raise bad_argument(argument, allowed, value)
    return Grouped(key, value, scales)


def _scales(
    groups: Sequence[Group],
    layer_decay: float | None,
    group_scale: Sequence[float] | str | None,
) -> tuple[float, ...] | None:
    count = len(groups)
    if layer_decay is not None:
        if group_scale is not None:
            raise bad_argument("group_scale", "None together with layer_decay", group_scale)
        decay = check_number("layer_decay", layer_decay, low=0, low_open=True, high=1)
        if count < 2:
            raise bad_argument("layer_decay", "None where there is one parameter group", decay)
        layers = layers_of(groups)
        return tuple(decay ** (max(layers) - layer) for layer in layers)
    if group_scale is None:
        return None
    if isinstance(group_scale, str) and group_scale == "keep":
        return _ratios(groups, _first_rates(groups))
    allowed = f"{count} factors, one for each parameter group, or 'keep'"
    if isinstance(group_scale, str) or not isinstance(group_scale, Iterable):
        raise bad_argument("group_scale", allowed, group_scale)
    factors = tuple(check_number("group_scale", factor, low=0) for factor in group_scale)
    if len(factors) != count:
        raise bad_argument("group_scale", allowed, group_scale)
    return factors


def prior_of(
    optimizer: Optimizer, rows: int | None, total_steps: int, *, fine_tuned: bool
) -> Prior:
    """Returns the rate to expect of an optimizer, for steps of so many rows; None: 64."""
    groups = optimizer.param_groups
    return prior_lr(
        kind_of(
            type(optimizer).__name__,
            momentum=groups[0].get("momentum", 0.0),
            nesterov=groups[0].get("nesterov", False),
        ),
        batch_size=rows,
        total_steps=total_steps,
        fine_tuned=fine_tuned,
        parameters=sum(p.numel() for group in groups for p in group["params"]) or 1,
    )
