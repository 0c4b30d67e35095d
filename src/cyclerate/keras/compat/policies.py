"""Smith's policies as other code spells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclerate._errors import bad_argument, check_choice, check_number
from cyclerate.schedules import Cyclic

SCALE_MODES = {"cycle": "cycle", "iterations": "step"}


def whole_step_size(step_size: Any) -> int:
    """Half a cycle in whole steps; code in the field often passes rows / batch size * epochs.

    >>> whole_step_size(937.5 * 4), whole_step_size(1.2)
    (3750, 1)
    """
    return max(1, round(check_number("step_size", step_size, low=0, low_open=True)))


def scaled_by_function(
    base_lr: Any, max_lr: Any, step_size: Any, scale_fn: Callable[[Any], Any], scale_mode: Any
) -> Cyclic:
    """The triangular policy with a factor of the amplitude for each cycle or each iteration."""
    if not callable(scale_fn):
        raise bad_argument("scale_fn", "a function of the cycle or the iteration", scale_fn)
    mode = SCALE_MODES[check_choice("scale_mode", scale_mode, SCALE_MODES)]
    steps = whole_step_size(step_size)
    return Cyclic(base_lr, max_lr, steps, scale_fn=scale_fn, scale_mode=mode)
