"""One copy of all that training changes in a model, to be put back to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from cyclerate.keras._train_function import LATEST_FUNCTION

TRAINER_ATTRIBUTES = (
    "history",
    "stop_training",
    "stop_evaluating",
    "steps_per_execution",
    "train_function",
    "test_function",
    "_eval_epoch_iterator",
    "_initial_epoch",
    "_jax_state",
    "_jax_state_synced",
    LATEST_FUNCTION,
)
"""What Keras's training loop and this adapter leave on a model, beside its variables."""


class TrainerAttributes:
    """What the training loop keeps on a model. Taken before anything is built."""

    def __init__(self, model: Any) -> None:
        self._attributes = vars(model)
        self._values = {k: v for k, v in self._attributes.items() if k in TRAINER_ATTRIBUTES}

    def put_back(self) -> None:
        """Sets and deletes attributes so that they are as they were."""
        # Into `vars` directly: none of these is tracked state of the layer.
        for name in TRAINER_ATTRIBUTES:
            if name in self._values:
                self._attributes[name] = self._values[name]
            else:
                self._attributes.pop(name, None)


class Snapshot:
    """The values of all variables: weights, statistics, seeds, optimizer and metrics.

    Taken of a model whose state exists (built), since what does not exist cannot be copied. On
    PyTorch it includes the buffers, the gradients and the train/eval flags of its modules. It costs
    one copy of each variable, on the device that it lives on.

    Args:
        model: The model.
        metrics: Whether the metrics are in it; if not, they go on.
    """

    def __init__(self, model: Any, *, metrics: bool = True) -> None:
        left_out = set() if metrics else {id(v) for v in metrics_variables_of(model)}
        variables = [v for v in variables_of(model) if id(v) not in left_out]
        self._values = [(v, _copy(v.value)) for v in variables]
        self._torch = _TorchState(model) if keras.backend.backend() == "torch" else None

    def put_back(self, *, again: bool = False) -> None:
        """Gives every variable its value.

        Args:
            again: Whether it will be asked for once more. If not, the copies themselves may become
                the values.
        """
        for variable, value in self._values:
            variable.assign(_copy(value) if again else value)
        if self._torch is not None:
            self._torch.put_back()


def variables_of(model: Any) -> list[Any]:
    """Every variable that a training step may change, each once."""
    found = [*model.variables, *metrics_variables_of(model)]
    found += [variable for optimizer in optimizers_of(model) for variable in optimizer.variables]
    return list({id(variable): variable for variable in found}.values())


def metrics_variables_of(model: Any) -> list[Any]:
    """The variables of the metrics, some of them twice."""
    own = [variable for metric in model.metrics for variable in metric.variables]
    return [*model.metrics_variables, *own]


def optimizers_of(model: Any) -> Iterator[Any]:
    """The optimizer, and those that a model with its own `train_step` keeps beside it."""
    for value in vars(model).values():
        if isinstance(value, keras.optimizers.Optimizer):
            yield value


def _copy(tensor: Any) -> Any:
    """A copy on the same device: JAX gives buffers away at each step, PyTorch changes them."""
    if keras.backend.backend() == "jax":
        import jax

        # `jax.numpy.copy` would compile a function for each shape.
        return jax.device_put(tensor, may_alias=False)
    return ops.copy(ops.stop_gradient(tensor))


class _TorchState:
    """What a PyTorch module has beside Keras variables."""

    def __init__(self, model: Any) -> None:
        known = {id(variable.value) for variable in variables_of(model)}
        tensors = [*model.parameters(), *model.buffers()]
        self._tensors = [(t, t.detach().clone()) for t in tensors if id(t) not in known]
        # Steps make new gradients and drop the old ones, so the old need no copy.
        self._gradients = [(p, p.grad) for p in model.parameters()]
        # By name: each fit of Keras makes the containers of its parameters anew.
        self._training = {name: module.training for name, module in model.named_modules()}
        self._model = model

    def put_back(self) -> None:
        for tensor, value in self._tensors:
            tensor.detach().copy_(value)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        for name, module in self._model.named_modules():
            module.training = self._training.get(name, module.training)
