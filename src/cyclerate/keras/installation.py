"""Puts a scheduled train function into a model for one fit, and takes it out again.

Keras calls no `on_train_end` when a fit ends by an exception or Ctrl-C. So the model is also given
a `make_train_function` that knows: whoever calls it next, from outside, begins another training,
and the last one is over. Fit and `train_on_batch` both begin with that call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras.scheduled_function import Plan, ScheduledFunction

_HOOK = "make_train_function"


def install(
    model: Any, optimizer: Any, plans: tuple[Plan, ...], when_over: Callable[[], None]
) -> None:
    """Makes the model's updates use `plans` until `remove`.

    Args:
        model: The model, in a fit that has not made a step.
        optimizer: The optimizer that makes its updates.
        plans: What to schedule.
        when_over: Called if another training begins although nobody removed this.

    Raises:
        ValueError: Something else schedules one of these attributes in this fit.
    """
    scheduled = model.train_function
    if not isinstance(scheduled, ScheduledFunction):
        scheduled = ScheduledFunction(model, optimizer)
        vars(model)[_HOOK] = _Hook(model, scheduled)
        model.train_function = scheduled
    twice = scheduled.attributes & {plan.attribute for plan in plans}
    if twice:
        raise bad_argument("callbacks", "callbacks that schedule different things", sorted(twice))
    scheduled.add(plans)
    vars(model)[_HOOK].when_over.append(when_over)


def remove(model: Any) -> None:
    """Gives the model its plain train function back, if it has a scheduled one."""
    hook: _Hook | None = vars(model).pop(_HOOK, None)
    if hook is not None and model.train_function is hook.scheduled:
        model.train_function = hook.scheduled.plain


def settle(model: Any) -> None:
    """Ends what a fit that broke off left installed.

    Raises:
        ValueError: That fit goes on: this is called from one of its callbacks.
    """
    hook: _Hook | None = vars(model).get(_HOOK)
    if hook is None:
        return
    if _inside_callback_of(model):
        raise bad_argument("model", "a model that is not in a fit with a ScheduleCallback", model)
    hook.end()


class _Hook:
    """`model.make_train_function` while a scheduled function is installed."""

    def __init__(self, model: Any, scheduled: ScheduledFunction) -> None:
        self.model, self.scheduled = model, scheduled
        self.when_over: list[Callable[[], None]] = []

    def __call__(self, force: bool = False) -> Any:
        if _inside_callback_of(self.model):
            # A callback of the running fit asks: still the same training.
            if force:
                self.scheduled.retrace()
            return self.scheduled
        self.end()
        return self.model.make_train_function(force=force)

    def end(self) -> None:
        """Takes everything out, after those who installed it have noted what was done."""
        for over in self.when_over:
            over()
        remove(self.model)


def _inside_callback_of(model: Any) -> bool:
    frame = inspect.currentframe()
    while frame is not None:
        caller: Any = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and caller.model is model:
            return True
        frame = frame.f_back
    return False
