"""The schedules of a record, made again from their dicts."""

from __future__ import annotations

from cyclerate.compare._record import PolicyInfo
from cyclerate.schedules import Schedule, from_dict


def schedule_of(policy: PolicyInfo) -> Schedule | None:
    """Returns a policy's schedule, or None if it cannot be made here.

    That is so for a schedule with a function of the user's own, when the module that defines the
    function is not loaded, and for a record that was damaged.
    """
    try:
        return from_dict(policy.schedule)
    except ValueError:
        return None
