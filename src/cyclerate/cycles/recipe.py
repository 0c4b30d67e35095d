"""What a training that a schedule spans asks of its arguments, in every framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclerate._errors import bad_argument, check_count
from cyclerate.schedules import Schedule


def batches_per_epoch(
    steps_per_epoch: int | None, data: Any, count: Callable[[], int | None]
) -> int:
    """Returns how many batches an epoch has: as given, or else as counted in the data.

    Args:
        steps_per_epoch: The number, or None.
        data: What is named where there is no number.
        count: Counts the batches; None where the data do not say.

    Raises:
        ValueError: It is not a count, or nobody knows it.

    >>> batches_per_epoch(None, [], lambda: 8), batches_per_epoch(5, [], lambda: 8)
    (8, 5)
    """
    if steps_per_epoch is not None:
        return check_count("steps_per_epoch", steps_per_epoch)
    batches = count()
    if batches is None:
        raise bad_argument("steps_per_epoch", f"given for a {type(data).__name__}", None)
    return batches


def opposite_cycle(schedule: Schedule, momentum: tuple[float, float] | None) -> Schedule | None:
    """Returns the cycle of the momentum, highest where the rate is lowest; None for None.

    Raises:
        ValueError: `momentum` is not (lowest, highest).

    >>> import cyclerate as cr
    >>> opposite_cycle(cr.Triangular(0.1, 0.4, step_size=5), (0.85, 0.95))(0)
    0.95
    """
    if momentum is None:
        return None
    if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
        raise bad_argument("momentum", "(lowest, highest) or None", momentum)
    return schedule.mirrored(*momentum)
