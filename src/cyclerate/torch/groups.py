"""What was asked for, group by group: checked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cyclerate._errors import bad_argument, check_number
from cyclerate.schedules import Schedule
from cyclerate.torch._groups import Group, Grouped, Setting, Shared, Unscheduled


def rate_setting(
    groups: Sequence[Group],
    lr: Any,
    layer_decay: float | None,
    group_scale: Sequence[float] | str | None,
) -> Setting:
    """Returns the setting of the rates; one of no schedule where they are not scheduled.

    Raises:
        ValueError: Something that is no schedule, a list of another length than the groups, a scale
            without a schedule, two ways of scaling, a factor out of range.
    """
    scales = _scales(groups, layer_decay, group_scale)
    if lr is None and scales is not None:
        raise bad_argument("lr", "a schedule, where the groups are scaled", lr)
    if lr is None:
        return Unscheduled("lr")
    return _setting("lr", "lr", lr, len(groups), scales)


def momentum_setting(groups: Sequence[Group], momentum: Any) -> Setting | None:
    """Returns the setting of the momentum or the first beta; None where it is not scheduled.

    Raises:
        ValueError: Something that is no schedule, an optimizer that has neither, or a value
            outside [0, 1).
    """
    if momentum is None:
        return None
    name = next((n for n in ("betas", "momentum") if all(n in group for group in groups)), None)
    if name is None:
        raise bad_argument("momentum", "None: the optimizer has no momentum and no betas", momentum)
    setting = _setting("momentum", name, momentum, len(groups))
    for schedule in [momentum] if isinstance(momentum, Schedule) else momentum:
        low, high = (0.0, 0.0) if schedule is None else schedule.bounds
        if low < 0 or high >= 1:
            raise bad_argument("momentum", "a schedule of values in [0, 1)", schedule)
    return setting


def weight_decay_setting(groups: Sequence[Group], weight_decay: Any) -> Setting | None:
    """Returns the setting of the weight decay; None where it is not scheduled.

    Raises:
        ValueError: Something that is no schedule, an optimizer that has no weight decay, or one
            schedule for groups of which some (biases, norms) are exempt.
    """
    if weight_decay is None:
        return None
    if not all("weight_decay" in group for group in groups):
        raise bad_argument("weight_decay", "None: the optimizer has none", weight_decay)
    exempt = [i for i, group in enumerate(groups) if not group["weight_decay"]]
    if isinstance(weight_decay, Schedule) and 0 < len(exempt) < len(groups):
        allowed = f"a list, with None for groups to be left without (now without: {exempt})"
        raise bad_argument("weight_decay", allowed, weight_decay)
    return _setting("weight_decay", "weight_decay", weight_decay, len(groups))


def rate_ratios(rates: Iterable[Any]) -> tuple[float, ...]:
    """Returns each rate over the highest of them; 1 for all where every rate is 0."""
    values = [float(rate) for rate in rates]
    highest = max(values)
    return tuple(value / highest if highest > 0 else 1.0 for value in values)


def current_ratios(groups: Sequence[Group]) -> tuple[float, ...]:
    """Returns the rate of each group over the highest of them.

    Where all rates are 0, as at the first step of a warmup, those that the groups began with count.
    """
    rates = [group["lr"] for group in groups]
    return rate_ratios(rates if any(rates) else [g.get("initial_lr", g["lr"]) for g in groups])


def _setting(
    argument: str, key: str, value: Any, count: int, scales: tuple[float, ...] | None = None
) -> Setting:
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
        return tuple(decay ** (count - 1 - i) for i in range(count))
    if group_scale is None:
        return None
    if group_scale == "keep":
        # Once a scheduler has been attached, a group's own rate is under this name.
        return rate_ratios(group.get("initial_lr", group["lr"]) for group in groups)
    allowed = f"{count} factors, one for each parameter group, or 'keep'"
    if isinstance(group_scale, str) or not isinstance(group_scale, Iterable):
        raise bad_argument("group_scale", allowed, group_scale)
    factors = tuple(check_number("group_scale", factor, low=0) for factor in group_scale)
    if len(factors) != count:
        raise bad_argument("group_scale", allowed, group_scale)
    return factors
