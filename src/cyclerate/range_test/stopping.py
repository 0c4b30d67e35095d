"""Why a sweep ended, and what each way of ending says to the user."""

from __future__ import annotations

import enum


class StopReason(enum.Enum):
    """Why a sweep ended; the value is advice. Ordered from the mildest to the most severe.

    >>> StopReason.CUT_SHORT.value.partition(".")[0]
    'The sweep was ended from outside before its last rate'
    """

    END_OF_RANGE = (
        "The sweep reached its last rate without diverging. If it was still improving there, "
        "raise end_lr and run it again."
    )
    CUT_SHORT = (
        "The sweep was ended from outside before its last rate. Give it enough data for all of "
        "its steps, or ask for fewer steps."
    )
    DIVERGED = (
        "Training diverged: the curve left the range it had started in, so higher rates were not "
        "tried. Nothing to do: this is how a sweep should end."
    )
    NON_FINITE = (
        "A value was NaN or infinite; it and all higher rates were left out. If it happened in the "
        "first steps, lower start_lr and look for NaN in the data."
    )
