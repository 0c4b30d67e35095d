"""Several dense networks side by side in one compiled step, and their weights as arrays.

A step of small networks is mostly the way to it, so all are trained in one. Tracing and compiling
takes longer than a fit on a small table. Folds of a cross-validation and the points of a grid
mostly have networks of one shape, so compiled ones are lent to a fit and taken back afterwards,
their state put back; two threads never have the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cyclerate._randomness import remember_global_randomness, sole_use_of_generators
from cyclerate.compare._networks import make_optimizer
from cyclerate.keras._internals import has_momentum, track
from cyclerate.keras._state import Snapshot
from cyclerate.schedules import CosLog, Schedule
from cyclerate.schedules._namespaces import Namespace, NumPy, PlainPython
from cyclerate.sklearn._inputs import Constants, Group, expanded

Weights = tuple[NDArray[np.float32], ...]
"""Kernel and bias of each layer, in turn."""

_MOST_KEPT = 4
_ROWS_AT_A_TIME = 512
_MOST_IN_DOUBLE = 4096  # rows; with more it would take twice as long
_MOMENTUM = (0.85, 0.95)


@dataclass(frozen=True)
class Shape:
    """The properties that decide the compiled step of the networks.

    Attributes:
        groups: How the inputs are expanded.
        widths: Of the hidden layers and the outputs.
        networks: How many, side by side.
        loss: As Keras names it.
        optimizer: A name in `cyclerate.compare._networks.OPTIMIZERS`.
        weight_decay: Decoupled, of the kernels; None for the optimizer's own.
    """

    groups: tuple[Group, ...]
    widths: tuple[int, ...]
    networks: int
    loss: str
    optimizer: str
    weight_decay: float | None

    @property
    def layers(self) -> tuple[int, ...]:
        """The widths of the inputs of a network, its hidden layers and its outputs."""
        return (sum(group.columns * group.width for group in self.groups), *self.widths)


def initial_weights(widths: Sequence[int], seed: int) -> Weights:
    """Draws kernels after Glorot and Bengio 2010, the same ones on every backend; no biases.

    >>> kernel, bias = initial_weights([2, 1], seed=0)
    >>> kernel.shape, bool(abs(kernel).max() <= 2**0.5), bias
    ((2, 1), True, array([0.], dtype=float32))
    """
    random = np.random.default_rng(seed)
    weights: list[NDArray[np.float32]] = []
    for inputs, outputs in pairwise(widths):
        limit = np.sqrt(6 / (inputs + outputs))
        kernel = random.uniform(-limit, limit, (inputs, outputs))
        weights += [kernel.astype(np.float32), np.zeros(outputs, np.float32)]
    return tuple(weights)


def side_by_side(members: Sequence[Weights]) -> Weights:
    """Returns the weights of several networks as one has them that computes all.

    Their first layers are one; of each further layer, theirs lie behind each other.

    >>> one = (np.ones((2, 3)), np.ones(3), np.ones((3, 1)), np.ones(1))
    >>> [part.shape for part in side_by_side([one, one])]
    [(2, 6), (6,), (2, 3, 1), (2, 1, 1)]
    """
    first = [np.concatenate(parts, axis=-1) for parts in zip(*members, strict=True)][:2]
    further = [np.stack(parts) for parts in zip(*members, strict=True)][2:]
    return (*first, *(part if part.ndim == 3 else part[:, None] for part in further))


def outputs_side_by_side(inputs: Any, weights: Sequence[Any], networks: int, xp: Any) -> Any:
    """The outputs of each network, (networks, rows, outputs); `xp` is NumPy or `keras.ops`.

    >>> relu = (np.eye(2), np.zeros(2), np.ones((1, 2, 1)), np.ones((1, 1, 1)))
    >>> outputs_side_by_side(np.array([[3.0, -2.0]]), relu, 1, np)
    array([[[4.]]])
    """
    values = xp.matmul(inputs, weights[0]) + weights[1]
    values = xp.transpose(
        xp.reshape(values, (-1, networks, weights[0].shape[1] // networks)), (1, 0, 2)
    )
    for layer in range(2, len(weights), 2):
        values = xp.matmul(xp.maximum(values, 0.0), weights[layer]) + weights[layer + 1]
    return values


def outputs_of(
    x: NDArray[np.float32], weights: Weights, constants: Constants, shape: Shape
) -> NDArray[np.float64]:
    """The outputs of each network, (networks, rows, outputs).

    As many rows at a time as stay in the processor's cache. In which order a row is summed depends
    on its place among them, on some processors: few rows are computed in double precision, where
    that changes nothing that anybody sees.
    """
    kind: Any = np.float64 if len(x) <= _MOST_IN_DOUBLE else np.float32
    constants, weights = (tuple(part.astype(kind) for part in of) for of in (constants, weights))
    outputs = np.empty((shape.networks, len(x), shape.widths[-1]))
    for start in range(0, len(x), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        inputs = expanded(x[rows].astype(kind), shape.groups, constants, np)
        outputs[:, rows] = outputs_side_by_side(inputs, weights, shape.networks, np)
    return outputs


class SideBySide(keras.layers.Layer):
    """Expands its inputs, and computes several dense networks, (rows, networks, outputs)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape

    def build(self, input_shape: Any) -> None:
        """Makes the bins, which are not trained, and the kernels and biases."""
        of = self._shape
        self.constants = [
            self.add_weight(name=f"constant_{i}", shape=part.shape, trainable=False)
            for i, part in enumerate(_empty_constants(of.groups))
        ]
        start = side_by_side([initial_weights(of.layers, 0)] * of.networks)
        self.networks = [
            self.add_weight(name=f"{'bias' if i % 2 else 'kernel'}_{i // 2}", shape=part.shape)
            for i, part in enumerate(start)
        ]
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the outputs of each network."""
        ops, of = keras.ops, self._shape
        wide = expanded(inputs, of.groups, self.constants, ops)
        outputs = outputs_side_by_side(wide, self.networks, of.networks, ops)
        return ops.transpose(outputs, (1, 0, 2))


def _empty_constants(groups: Sequence[Group]) -> Constants:
    parts = {"as it is": 0, "ramps": 3, "one of": 1}
    return tuple(
        np.zeros((group.columns, group.width), np.float32)
        for group in groups
        for _ in range(parts[group.kind])
    )


class EachLoss(keras.losses.Loss):
    """The mean loss of the networks; each has the gradient of its own loss."""

    def __init__(self, name: str, networks: int) -> None:
        super().__init__(name=name)
        self._kind, self._networks = name, networks

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each row in each network."""
        ops = keras.ops
        if self._kind == "sparse_categorical_crossentropy":
            classes = y_pred.shape[-1]
            one = ops.one_hot(ops.cast(ops.reshape(y_true, (-1, 1)), "int32"), classes)
            losses = ops.logsumexp(y_pred, axis=-1) - ops.sum(one * y_pred, axis=-1)
        else:
            y_true = ops.expand_dims(y_true, 1)
            if self._kind == "binary_crossentropy":
                each = ops.softplus(y_pred) - y_true * y_pred
            else:
                each = ops.square(y_pred - y_true)
            losses = ops.mean(each, axis=-1)
        # The mean over the networks would give each a part of its gradient.
        return losses + (self._networks - 1) * (losses - ops.stop_gradient(losses))


def weights_of(model: Any) -> Weights:
    """Copies the weights of the networks."""
    variables = model.trainable_variables
    return tuple(np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables)


@contextmanager
def lent_network(
    shape: Shape, weights: Weights, constants: Constants
) -> Generator[CompiledNetwork]:
    """Lends compiled networks that have these weights and bins, and a new optimizer."""
    with _guard:
        waiting = _kept.get(shape)
        compiled = waiting.pop() if waiting else None
    if compiled is None:
        with leaving_generators_alone():
            compiled = CompiledNetwork(shape)
    model = compiled.model
    variables = [*model.non_trainable_variables, *model.trainable_variables]
    for variable, values in zip(variables, (*constants, *weights), strict=True):
        variable.assign(values)
    yield compiled
    # Not reached after an error: a network in the middle of a fit is no use to the next one.
    with leaving_generators_alone():
        compiled.new.put_back(again=True)
    with _guard:
        _kept[shape] = [compiled]
        _kept.move_to_end(shape)
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)


class CompiledNetwork:
    """Networks with the state of such as were never trained.

    Attributes:
        model: The networks, as one of Keras.
        cycle: The cycle of its rate, which is to be begun before each fit.
        momentum: The opposite cycle; None if the optimizer has no momentum.
        new: The state of the beginning.
    """

    def __init__(self, shape: Shape) -> None:
        optimizer = make_optimizer(shape.optimizer)
        if shape.weight_decay is not None:
            optimizer.weight_decay = shape.weight_decay
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        inputs = keras.Input((sum(group.columns for group in shape.groups),))
        self.model = keras.Sequential([inputs, SideBySide(shape)])
        self.model.compile(optimizer, loss=EachLoss(shape.loss, shape.networks))
        optimizer.build(self.model.trainable_variables)
        self.cycle = SharedCycle(optimizer)
        self.momentum = self.cycle.mirrored(*_MOMENTUM) if has_momentum(optimizer) else None
        # Made now, they stay: a range test gives back what was there before it.
        self.model.make_train_function()
        self.model.make_test_function()
        self.new = Snapshot(self.model)


class SharedCycle(Schedule):
    """A cycle of `CosLog` whose numbers are inputs of the compiled step: others compile nothing.

    `max_lr * sin(pi * log2(1 + s))**2` with `s = (step - first) / steps`.
    """

    def __init__(self, optimizer: Any) -> None:
        self._policy, self._first = CosLog(1.0, 2, cycles=1), 0
        self._numbers = keras.Variable(np.zeros(3), dtype="float32", trainable=False)
        track(optimizer, self._numbers)

    def begin(self, policy: CosLog, first: int) -> None:
        """Has this cycle from a step of the training on."""
        self._policy, self._first = policy, first
        self._numbers.assign([policy.max_lr, policy.total_steps, first])

    def value_at(self, n: Any, xp: Namespace) -> Any:
        if isinstance(xp, (PlainPython, NumPy)):
            return self._policy.value_at(n - self._first, xp)
        return self._corners()[0] * self.height_at(n, xp)

    def height_at(self, n: Any, xp: Namespace) -> Any:
        if isinstance(xp, (PlainPython, NumPy)):
            return self._policy.height_at(n - self._first, xp)
        _, steps, first = self._corners()
        step = keras.ops.clip(keras.ops.cast(n, "float32") - first, 0.0, steps - 1.0)
        root = keras.ops.sin(np.pi * keras.ops.log2(1.0 + step / steps))
        # A cycle of a single step is at its top.
        return keras.ops.where(steps > 1.0, root * root, 1.0)

    @property
    def bounds(self) -> tuple[float, float]:
        return self._policy.bounds

    def _corners(self) -> Any:
        return keras.ops.unstack(keras.ops.convert_to_tensor(self._numbers), 3)


_kept: OrderedDict[Shape, list[CompiledNetwork]] = OrderedDict()
_guard = threading.Lock()


@contextmanager
def leaving_generators_alone() -> Generator[None]:
    """Of the generators that all threads share; one thread at a time, or they mix them up."""
    with sole_use_of_generators(wait=True):
        put_back = remember_global_randomness()
        try:
            yield
        finally:
            put_back()
