"""A train function whose optimizer updates use scheduled values.

On JAX, and in a compiled TensorFlow step, a hyperparameter that is a Python float is read once,
while the step is traced; assigning another float later changes nothing and says nothing. So the
values are put in place for the duration of `optimizer.apply` alone, as tensors computed from the
optimizer's own iteration count. They are part of the compiled step: no work per batch on the host,
and outside of `apply` the optimizer holds its plain numbers, so it can be saved at any time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import keras
from keras import ops

from cyclerate._errors import bad_argument
from cyclerate.keras._internals import RATE, TracedNumber
from cyclerate.schedules import Constant, Schedule

_WHOLE = Constant(1.0)


@dataclass(frozen=True)
class Shares:
    """The part of its update that each trainable variable gets: `factors[i](iterations - offset)`.

    A variable with factor 0 does not move at all, also where its update is NaN.
    """

    factors: tuple[Schedule, ...]
    offset: int

    attribute = "the rates of layers"

    @contextmanager
    def during(self, variables: Sequence[Any], iterations: Any) -> Generator[None]:
        """Gives the variables their parts of the update that is made in the block."""
        step = ops.convert_to_tensor(iterations) - self.offset
        pairs = zip(variables, self.factors, strict=True)
        # A copy before the update: PyTorch changes the tensor itself.
        parts = [
            (variable, factor(step), ops.copy(ops.convert_to_tensor(variable)))
            for variable, factor in pairs
            if factor != _WHOLE
        ]
        yield
        for variable, factor, before in parts:
            variable.assign(_between(before, ops.convert_to_tensor(variable), factor))


def _between(before: Any, after: Any, factor: Any) -> Any:
    factor = ops.cast(factor, before.dtype)
    part = ops.where(factor > 0, before + factor * (after - before), before)
    return ops.where(factor >= 1, after, part)


TrainFunction = Callable[..., Any]


@dataclass(frozen=True)
class Plan:
    """One attribute of the optimizer: `schedule(iterations - offset)`."""

    attribute: str
    schedule: Schedule
    offset: int

    def value(self, iterations: Any) -> Any:
        """The value to put in place, from the iteration count as the backend has it."""
        tensor = self.schedule(ops.convert_to_tensor(iterations) - self.offset)
        return tensor if self.attribute == RATE else TracedNumber(tensor)

    def plain_value(self, iterations: Any) -> float:
        """The same as a Python float, for a step that is not compiled."""
        return self.schedule(max(int(iterations) - self.offset, 0))


class ScheduledFunction:
    """Stands in for `model.train_function` while it is installed; see the text of this module."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        self._model, self._optimizer = model, optimizer
        self._plain: TrainFunction = model.train_function
        self._plans: tuple[Plan | Shares, ...] = ()
        self._inner: TrainFunction | None = None
        # PyTorch runs this adapter's Python at every step unless the step itself is compiled.
        self._eager_numbers = keras.backend.backend() == "torch" and not model.jit_compile

    @property
    def attributes(self) -> set[str]:
        """The attributes of the optimizer that are scheduled."""
        return {plan.attribute for plan in self._plans}

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The attributes that are scheduled, and how."""
        return tuple(plan for plan in self._plans if isinstance(plan, Plan))

    @property
    def plain(self) -> TrainFunction:
        """The train function that the model had before."""
        return self._plain

    def add(self, plans: tuple[Plan | Shares, ...]) -> None:
        """Adds plans; the next step is traced with them."""
        self._plans += plans
        self._inner = None

    def retrace(self) -> None:
        """Forgets what was compiled, as `make_train_function(force=True)` asks for."""
        self._inner = None
        vars(self._model).pop(LATEST_FUNCTION, None)

    def __call__(self, *arguments: Any) -> Any:
        if self._inner is None:
            self._inner = self._compiled()
        attributes = vars(self._optimizer)
        attributes["apply"] = self._apply
        try:
            return self._inner(*arguments)
        finally:
            del attributes["apply"]

    def _apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        optimizer = self._optimizer
        attributes = vars(optimizer)
        iterations = optimizer.iterations
        plain = {plan.attribute: attributes[plan.attribute] for plan in self.plans}
        attributes.update(self._values(iterations))
        try:
            with self._shared(iterations):
                return type(optimizer).apply(optimizer, grads, trainable_variables)
        finally:
            attributes.update(plain)

    def _values(self, iterations: Any) -> dict[str, Any]:
        if self._eager_numbers:
            return {plan.attribute: plan.plain_value(iterations) for plan in self.plans}
        return {plan.attribute: plan.value(iterations) for plan in self.plans}

    def _shared(self, iterations: Any) -> AbstractContextManager[None]:
        shares = [plan for plan in self._plans if isinstance(plan, Shares)]
        if not shares:
            return nullcontext()
        return shares[0].during(self._model.trainable_variables, iterations)

    def _compiled(self) -> TrainFunction:
        """A function to be traced with these plans; that of an earlier fit if it fits still."""
        latest: _Compiled | None = vars(self._model).get(LATEST_FUNCTION)
        if latest and latest.plain is self._plain and latest.plans == self._plans:
            return latest.function
        function = untraced_function(self._model)
        vars(self._model)[LATEST_FUNCTION] = _Compiled(self._plain, self._plans, function)
        return function


@dataclass(frozen=True)
class _Compiled:
    """The function that a model was last trained with: with the same plans it serves later fits.

    `compile` gives a model another plain function, and with that another one here.
    """

    plain: TrainFunction
    plans: tuple[Plan | Shares, ...]
    function: TrainFunction


LATEST_FUNCTION = "_cyclerate_latest_function"
"""Kept on the model, so that both go together: the function holds the model."""


def untraced_function(model: Any) -> TrainFunction:
    """A new train function of the model, not traced yet; the model keeps the one it has.

    JAX takes functions that compare equal for one function, and gives the second the trace of the
    first: here of `model.train_step`, whose every mention is equal to every other. So the new
    function is made of a step of its own.
    """
    attributes = vars(model)
    mine = {
        name: attributes[name] for name in ("train_function", "train_step") if name in attributes
    }
    step = model.train_step

    def train_step(*arguments: Any) -> Any:
        return step(*arguments)

    attributes["train_step"] = train_step
    try:
        type(model).make_train_function(model, force=True)
        return model.train_function
    finally:
        del attributes["train_step"]
        attributes.update(mine)


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
    """Makes the model's updates use `plans` until `remove`; the fit has not taken a step.

    `when_over` is called if another training begins although nobody removed this.
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
    """Makes `function` the model's train function until `remove`, as `install` does."""
    _free(model)
    _put_in(model, function)
    vars(model)[_HOOK].when_over.append(when_over)


def remove(model: Any) -> None:
    """Gives the model its plain train function back, if it has another one."""
    hook: _Hook | None = vars(model).pop(_HOOK, None)
    if hook is not None and model.train_function is hook.function:
        model.train_function = hook.function.plain


def settle(model: Any) -> None:
    """Ends what an interrupted fit left installed."""
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
