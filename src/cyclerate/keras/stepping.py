"""A train function for a sweep: each step at the rate of the moment, each loss its own batch's."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cyclerate.keras.hyper import innermost
from cyclerate.keras.internals import RATE, rate_of, raw_iterations
from cyclerate.keras.scheduled_function import (
    Plan,
    ScheduledFunction,
    TrainFunction,
    untraced_function,
)
from cyclerate.range_test import Sweep


class SweepFunction:
    """Stands in for `model.train_function` during a sweep.

    Where the optimizer's rate is a variable, it is set before each step, and the function that the
    model had is used: nothing is compiled anew. Where it is a schedule, the sweep's own schedule is
    compiled into a new function. Metrics begin anew at each step, since Keras logs running means.

    Args:
        model: The model, compiled and built.
        sweep: The rates.

    Attributes:
        lr: The rate of the next step, to be set before it where the rate is a variable.
        plain: The model's own function, for a further sweep to use again.
    """

    def __init__(self, model: Any, sweep: Sweep) -> None:
        self.lr = sweep.start_lr
        self._model, self._sweep = model, sweep
        self._optimizer = innermost(model.optimizer)
        rate = rate_of(self._optimizer)
        self._rate = rate if isinstance(rate, keras.Variable) else None
        known: TrainFunction | None = model.train_function
        self._inner = self._make_inner(known)
        self.plain = known if self._rate is None else self._inner

    def __call__(self, *arguments: Any) -> Any:
        """Runs a step; what it takes and gives is the backend's own."""
        self._reset_metrics()
        if self._rate is not None:
            self._set_rate(self._rate, self.lr)
        return self._inner(*arguments)

    def _reset_metrics(self) -> None:
        self._model.reset_metrics()

    def _set_rate(self, rate: Any, value: float) -> None:
        rate.assign(value)

    def batches_counted(self) -> int:
        """The optimizer's own count; a step that a LossScaleOptimizer skips is not in it."""
        return int(raw_iterations(self._optimizer))

    def _make_inner(self, known: TrainFunction | None) -> TrainFunction:
        model = self._model
        whole_steps = model.steps_per_execution == 1
        # One step at a time: a rate and a loss for each.
        model.steps_per_execution = 1
        if self._rate is not None:
            return known if known is not None and whole_steps else untraced_function(model)
        scheduled = ScheduledFunction(model, self._optimizer)
        begin = int(self._optimizer.iterations)
        scheduled.add((Plan(RATE, self._sweep.schedule(), begin),))
        return scheduled


class TensorFlowSweepFunction(SweepFunction):
    """The same on TensorFlow, where assigning through Keras would cost as much as a small step."""

    def __init__(self, model: Any, sweep: Sweep) -> None:
        super().__init__(model, sweep)
        model.reset_metrics()
        variables = [v.value for metric in model.metrics for v in metric.variables]
        self._at_rest = [(variable, variable.read_value()) for variable in variables]

    def _reset_metrics(self) -> None:
        for variable, value in self._at_rest:
            variable.assign(value, read_value=False)

    def _set_rate(self, rate: Any, value: float) -> None:
        rate.value.assign(value, read_value=False)


class JaxSweepFunction(SweepFunction):
    """The same on JAX, where the state goes in and comes out, and variables are empty meanwhile."""

    def __init__(self, model: Any, sweep: Sweep) -> None:
        super().__init__(model, sweep)
        places = {id(variable): i for i, variable in enumerate(model.optimizer.variables)}
        self._rate_at = None if self._rate is None else places[id(self._rate)]
        self._iterations_at = places[id(raw_iterations(self._optimizer))]
        self._optimizer_state: list[Any] = []
        self._at_rest: list[Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        import jax.numpy as jnp

        (trainable, non_trainable, optimizer, metrics), iterator = arguments
        if self._at_rest is None:
            # A fit resets the metrics before its first step: these are their values at rest.
            self._at_rest = [np.array(value) for value in metrics]
        optimizer = list(optimizer)
        if self._rate_at is not None:
            old = optimizer[self._rate_at]
            optimizer[self._rate_at] = jnp.asarray(self.lr, dtype=old.dtype)
        metrics = [jnp.asarray(value) for value in self._at_rest]
        state = (trainable, non_trainable, optimizer, metrics)
        logs, state = self._inner(state, iterator)
        self._optimizer_state = state[2]
        return logs, state

    def batches_counted(self) -> int:
        return int(self._optimizer_state[self._iterations_at])


_KINDS = {"jax": JaxSweepFunction, "tensorflow": TensorFlowSweepFunction}


def sweep_function(model: Any, sweep: Sweep) -> SweepFunction:
    """The kind that the backend needs."""
    return _KINDS.get(keras.backend.backend(), SweepFunction)(model, sweep)
