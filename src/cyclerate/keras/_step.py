"""A train function for a range test: each step at the rate of the moment, each loss its batch's."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cyclerate.keras._internals import rate_of, raw_iterations
from cyclerate.keras._train_function import TrainFunction, untraced_function
from cyclerate.keras.hyper import innermost


class StepFunction:
    """Stands in for `model.train_function` during all runs of a range test.

    The rate, a variable, is set before each step. If the model has a compiled function, that is
    used; otherwise one is made, and kept for all runs. Metrics begin anew at each step, since
    Keras logs running means.

    Args:
        model: The model, compiled and built, with a rate that is a variable.

    Attributes:
        lr: The rate of the next step, to be set before it.
    """

    def __init__(self, model: Any) -> None:
        self.lr = 0.0
        self._model, self._optimizer = model, innermost(model.optimizer)
        self._rate = rate_of(self._optimizer)
        known: TrainFunction | None = model.train_function
        whole_steps = model.steps_per_execution == 1
        if not whole_steps:
            # One step at a time: a rate and a loss for each.
            model.steps_per_execution = 1
            model.test_function = None
        self._inner = known if known is not None and whole_steps else untraced_function(model)

    def __call__(self, *arguments: Any) -> Any:
        """Runs a step; what it takes and gives is the backend's own."""
        self._model.reset_metrics()
        self._rate.assign(self.lr)
        return self._inner(*arguments)

    def batches_counted(self) -> int:
        """The optimizer's own count; a step that a LossScaleOptimizer skips is not in it."""
        return int(raw_iterations(self._optimizer))


class TensorFlowStepFunction(StepFunction):
    """The same on TensorFlow, where assigning through Keras would cost as much as a small step."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        model.reset_metrics()
        variables = [v.value for metric in model.metrics for v in metric.variables]
        self._at_rest = [(variable, variable.read_value()) for variable in variables]

    def __call__(self, *arguments: Any) -> Any:
        for variable, value in self._at_rest:
            variable.assign(value, read_value=False)
        self._rate.value.assign(self.lr, read_value=False)
        return self._inner(*arguments)


class JaxStepFunction(StepFunction):
    """The same on JAX, where the state goes in and comes out, and variables are empty meanwhile."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        places = {id(variable): i for i, variable in enumerate(model.optimizer.variables)}
        self._rate_at = places[id(self._rate)]
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
        optimizer[self._rate_at] = jnp.asarray(self.lr, dtype=optimizer[self._rate_at].dtype)
        metrics = [jnp.asarray(value) for value in self._at_rest]
        state = (trainable, non_trainable, optimizer, metrics)
        logs, state = self._inner(state, iterator)
        self._optimizer_state = state[2]
        return logs, state

    def batches_counted(self) -> int:
        return int(self._optimizer_state[self._iterations_at])


_KINDS = {"jax": JaxStepFunction, "tensorflow": TensorFlowStepFunction}


def step_function(model: Any) -> StepFunction:
    """The kind that the backend needs."""
    return _KINDS.get(keras.backend.backend(), StepFunction)(model)
