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
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
from keras import ops

from cyclerate._errors import bad_argument
from cyclerate.keras._internals import (
    HOOK,
    LATEST_FUNCTION,
    RATE,
    TracedNumber,
    TrainFunction,
    check_one_replica,
    state_in_place,
    untraced_function,
)
from cyclerate.keras._step import Steered, Steering
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


@dataclass(frozen=True)
class Plan:
    """One attribute of the optimizer: `schedule(iterations - offset)`."""

    attribute: str
    schedule: Schedule
    offset: int

    def value(self, iterations: Any, *, plain: bool) -> Any:
        """The value to put in place; a Python float for a step that is not compiled."""
        if plain:
            return self.schedule(max(int(iterations) - self.offset, 0))
        tensor = self.schedule(ops.convert_to_tensor(iterations) - self.offset)
        return tensor if self.attribute == RATE else TracedNumber(tensor)


class ScheduledFunction:
    """Stands in for `model.train_function` while it is installed; see the text of this module.

    Attributes:
        plain: The train function that the model had before.
        plans: The attributes of the optimizer that are scheduled or steered, and how.
        shares: The part of the update that each variable gets, if not all the same.
        steering: Of the attributes that are steered.
        when_begun: Called with the number of the first epoch, before anybody asks for the plans.
    """

    def __init__(self, model: Any, optimizer: Any) -> None:
        self._model, self._optimizer = model, optimizer
        self.plain: TrainFunction = model.train_function
        self.plans: tuple[Plan | Steered, ...] = ()
        self.shares: Shares | None = None
        self.steering: Steering | None = None
        self.when_begun: list[Callable[[int], None]] = []
        self._inner: TrainFunction | None = None
        # PyTorch runs this adapter's Python at every step unless the step itself is compiled.
        self._eager_numbers = keras.backend.backend() == "torch" and not model.jit_compile

    def add(self, plans: tuple[Plan | Steered | Shares, ...]) -> None:
        """Adds plans; the next step is traced with them.

        Raises:
            ValueError: Something is scheduled already.
        """
        taken = {plan.attribute for plan in (*self.plans, self.shares) if plan is not None}
        twice = taken & {plan.attribute for plan in plans}
        if twice:
            allowed = "callbacks that schedule different things"
            raise bad_argument("callbacks", allowed, sorted(twice))
        for plan in plans:
            if isinstance(plan, Shares):
                self.shares = plan
                continue
            self.plans += (plan,)
            if isinstance(plan, Steered):
                self.steering = plan.steering
        self._inner = None

    def begin(self, first_epoch: int) -> None:
        """Lets each schedule begin where the training stands, once."""
        while self.when_begun:
            self.when_begun.pop()(first_epoch)

    def shift(self, plans: tuple[Plan, ...], offset: int) -> None:
        """Moves the step 0 of plans; no step was taken with them."""
        moved = {plan: replace(plan, offset=offset) for plan in plans}
        self.plans = tuple(moved.get(plan, plan) for plan in self.plans)  # type: ignore[arg-type]

    def retrace(self) -> None:
        """Forgets what was compiled, as `make_train_function(force=True)` asks for."""
        self._inner = None
        vars(self._model).pop(LATEST_FUNCTION, None)

    def __call__(self, *arguments: Any) -> Any:
        if self._inner is None:
            with state_in_place(self._model, arguments):
                self._inner = self._compiled()
        attributes = vars(self._optimizer)
        attributes["apply"] = self._apply
        try:
            if self.steering is not None:
                return self.steering.step(self._inner, arguments)
            return self._inner(*arguments)
        finally:
            del attributes["apply"]

    def _apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        optimizer = self._optimizer
        attributes = vars(optimizer)
        iterations = optimizer.iterations
        plain = {plan.attribute: attributes[plan.attribute] for plan in self.plans}
        try:
            for plan in self.plans:
                attributes[plan.attribute] = plan.value(iterations, plain=self._eager_numbers)
            if self.steering is not None:
                grads = self.steering.clipped(grads)
            shares = self.shares
            variables = self._model.trainable_variables
            with nullcontext() if shares is None else shares.during(variables, iterations):
                return type(optimizer).apply(optimizer, grads, trainable_variables)
        finally:
            attributes.update(plain)

    def _compiled(self) -> TrainFunction:
        """A function to be traced with these plans; that of an earlier fit if it fits still.

        The model keeps the one that it was last trained with. `compile` gives a model another plain
        function, and with that another one here.
        """
        key = self.plain, self.plans, self.shares
        latest, function = vars(self._model).get(LATEST_FUNCTION, (None, None))
        if latest != key:
            steered = None if self.steering is None else self.steering.steered
            function = untraced_function(self._model, steered)
            vars(self._model)[LATEST_FUNCTION] = key, function
        return function


class Replacement(Protocol):
    """A train function that stands in for the model's own."""

    plain: TrainFunction
    """The one that the model had before."""

    def retrace(self) -> None:
        """Forgets what was compiled, as `make_train_function(force=True)` asks for."""
        ...

    def __call__(self, *arguments: Any) -> Any:
        """Takes a step; what it takes and gives is the backend's own."""
        ...


def install(
    model: Any,
    optimizer: Any,
    plans: tuple[Plan | Steered | Shares, ...],
    when_over: Callable[[], None],
) -> None:
    """Makes the model's updates use `plans` until `remove`; the fit has not taken a step.

    `when_over` is called if another training begins although nobody removed this.
    """
    check_one_replica(model)
    if isinstance(model.train_function, ScheduledFunction):
        model.train_function.add(plans)
        vars(model)[HOOK].when_over.append(when_over)
        return
    scheduled = ScheduledFunction(model, optimizer)
    scheduled.add(plans)
    take_over(model, scheduled, when_over)


def take_over(model: Any, function: Replacement, when_over: Callable[[], None]) -> None:
    """Makes `function` the model's train function until `remove`, as `install` does."""
    if HOOK in vars(model):
        raise bad_argument("callbacks", "one that sets the rate, not several", model.train_function)
    vars(model)[HOOK] = _Hook(model, function, when_over)
    model.train_function = function


def remove(model: Any) -> None:
    """Gives the model its plain train function back, if it has another one."""
    hook: _Hook | None = vars(model).pop(HOOK, None)
    if hook is not None and model.train_function is hook.function:
        model.train_function = hook.function.plain


class _Hook:
    """`model.make_train_function` while another function is installed."""

    def __init__(self, model: Any, function: Replacement, when_over: Callable[[], None]) -> None:
        self.model, self.function, self.when_over = model, function, [when_over]

    def __call__(self, force: bool = False) -> Any:
        if _inside_callback_of(self.model):
            # A callback of the running fit asks: still the same training.
            if force:
                self.function.retrace()
            return self.function
        self.end()
        return self.model.make_train_function(force=force)

    def settle(self) -> None:
        """Ends what an interrupted fit left installed, for somebody else who trains the model.

        Raises:
            ValueError: The fit is running.
        """
        if _inside_callback_of(self.model):
            allowed = "a model that is not in a fit with a ScheduleCallback"
            raise bad_argument("model", allowed, self.model)
        self.end()

    def end(self) -> None:
        """Takes everything out, after those who installed it have noted what was done."""
        with ExitStack() as stack:  # each of them, whatever happens in the others
            stack.callback(remove, self.model)
            for over in reversed(self.when_over):
                stack.callback(over)


def _inside_callback_of(model: Any) -> bool:
    # A fit that was interrupted between its steps tells nobody, and leaves all as in a running one:
    # only the stack knows whether a callback of it is at work.
    frame = inspect.currentframe()
    while frame is not None:
        caller: Any = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and caller.model is model:
            return True
        frame = frame.f_back
    return False
