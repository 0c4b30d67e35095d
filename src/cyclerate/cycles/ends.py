"""The steps at which cycles end: where the rate is lowest, before it rises again."""

from __future__ import annotations

import numpy as np

from cyclerate._errors import check_count
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule


def cycle_ends(schedule: Schedule, total_steps: int) -> tuple[int, ...]:
    """Returns the steps after whose update a cycle is over.

    A cycle ends at the last step of a lowest point: the rate has fallen to it, and the step after
    it has a higher one. Triangular cycles share their lowest step with the cycle that follows, so
    theirs end at 2 * step_size, 4 * step_size and so on; warm restarts end at the step before the
    restart. The training's last step ends a cycle too, where the rate is falling, or has stayed
    where it fell to. A rate that is still rising there, or never changed, ends none.

    It is read from the values of the schedule alone, so any schedule has its answer.

    Args:
        schedule: Of the rate.
        total_steps: Optimizer steps of the training; steps 0 to `total_steps` - 1 are looked at.

    Returns:
        The steps, rising.

    Raises:
        ValueError: `schedule` is no schedule, or `total_steps` is below 1.

    >>> import cyclerate as cr
    >>> cycle_ends(cr.Triangular(0.1, 1.0, step_size=50), total_steps=250)
    (100, 200)
    >>> cycle_ends(cr.WarmRestarts(1.0, cycle_steps=50), total_steps=100)
    (49, 99)
    >>> cycle_ends(cr.OneCycle(1.0, total_steps=30), total_steps=30)
    (29,)
    """
    check_schedule("schedule", schedule)
    rates = schedule(np.arange(check_count("total_steps", total_steps)))
    # A plateau counts as one point, that of its last step.
    last_of_level = np.append(np.flatnonzero(np.diff(rates)), len(rates) - 1)
    levels = rates[last_of_level]
    falls = np.append(False, levels[1:] < levels[:-1])
    rises = np.append(levels[1:] > levels[:-1], True)
    return tuple(int(step) for step in last_of_level[falls & rises])
