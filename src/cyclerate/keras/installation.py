"""Puts a scheduled train function into a model for one fit, and takes it out again.

Keras calls no `on_train_end` when a fit ends by an exception or Ctrl-C. So the model is also given
a `make_train_function` that knows: whoever calls it next, from outside, begins another training,
and the last one is over. Fit and `train_on_batch` both begin with that call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras._train_function import Plan, ScheduledFunction
from cyclerate.keras.shares import Shares

_HOOK = "make_train_function"


class Replacement(Protocol):
    """A train function that stands in for the model's own."""

    @property
    def plain(self) -> Any:
        """The one that the model had before."""
        ...

    def retrace(self) -> None:
        """Forgets what was compiled, as `make_train_function(force=True)` asks for."""
        ...

    def __call__(self, *arguments: Any) -> Any:
        """Makes a step; what it takes and gives is the backend's own."""
        ...


def install(
    model: Any, optimizer: Any, plans: tuple[Plan | Shares, ...], when_over: Callable[[], None]
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
        _free(model)
        scheduled = ScheduledFunction(model, optimizer)
        _put_in(model, scheduled)
    twice = scheduled.attributes & {plan.attribute for plan in plans}
    if twice:
        raise bad_argument("callbacks", "callbacks that schedule different things", sorted(twice))
    scheduled.add(plans)
    vars(model)[_HOOK].when_over.append(when_over)


def take_over(model: Any, function: Replacement, when_over: Callable[[], None]) -> None:
    """Makes `function` the model's train function until `remove`.

    Args:
        model: The model, in a fit that has not made a step.
        function: What to call instead.
        when_over: Called if another training begins although nobody removed this.

    Raises:
        ValueError: The function was replaced already in this fit.
    """
    _free(model)
    _put_in(model, function)
    vars(model)[_HOOK].when_over.append(when_over)


def remove(model: Any) -> None:
    """Gives the model its plain train function back, if it has another one."""
    hook: _Hook | None = vars(model).pop(_HOOK, None)
    if hook is not None and model.train_function is hook.function:
        model.train_function = hook.function.plain


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


def _free(model: Any) -> None:
    if _HOOK in vars(model):
        raise bad_argument("callbacks", "one that sets the rate, not several", model.train_function)


def _put_in(model: Any, function: Replacement) -> None:
    vars(model)[_HOOK] = _Hook(model, function)
    model.train_function = function


class _Hook:
    """`model.make_train_function` while another function is installed."""

    def __init__(self, model: Any, function: Replacement) -> None:
        self.model, self.function = model, function
        self.when_over: list[Callable[[], None]] = []

    def __call__(self, force: bool = False) -> Any:
        if _inside_callback_of(self.model):
            # A callback of the running fit asks: still the same training.
            if force:
                self.function.retrace()
            return self.function
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
