"""Compiled dense networks, kept for the next fit of the same shape; and their weights as arrays.

Tracing and compiling takes longer than a fit on a small table. Folds of a cross-validation and the
points of a grid mostly have networks of one shape, so a compiled one is lent to a fit and taken
back afterwards, its state put back; two threads never have the same.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from cyclerate._errors import CyclerateError
from cyclerate.compare._networks import default_rate, dense_network, keras_loss, make_optimizer
from cyclerate.finder import RangeTestResult
from cyclerate.keras import fit_one_cycle, range_test
from cyclerate.keras._state import Snapshot

Weights = tuple[NDArray[np.float32], ...]
"""Kernel and bias of each layer, in turn."""

_MOST_KEPT = 4


@dataclass(frozen=True)
class Shape:
    """The properties that decide the compiled step of a network.

    Attributes:
        widths: Of the inputs, the hidden layers and the outputs.
        loss: As Keras names it.
        optimizer: A name in `cyclerate.compare._networks.OPTIMIZERS`.
        weight_decay: Decoupled, of the kernels; None for the optimizer's own.
    """

    widths: tuple[int, ...]
    loss: str
    optimizer: str
    weight_decay: float | None


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


def outputs_of(weights: Weights, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outputs of a network with these weights: a row's do not depend on the other rows.

    In float64, where sums in another order make no difference that anyone would see.

    >>> outputs_of((np.eye(2), np.zeros(2), np.ones((2, 1)), np.ones(1)), np.array([[3.0, -2.0]]))
    array([[4.]])
    """
    values = x
    for layer in range(0, len(weights), 2):
        if layer:
            values = np.maximum(values, 0.0)
        values = values @ weights[layer].astype(np.float64) + weights[layer + 1]
    return values


def weights_of(model: Any) -> Weights:
    """Copies the weights of a network."""
    return tuple(np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.weights)


@contextmanager
def lent_network(shape: Shape, weights: Weights) -> Generator[Any]:
    """Lends a compiled network that has these weights and a new optimizer."""
    compiled = _take(shape) or _Compiled(shape)
    compiled.model.set_weights(list(weights))
    yield compiled.model
    # Not reached after an error: a network in the middle of a fit is no use to the next one.
    compiled.new.put_back(again=True)
    _keep(shape, compiled)


class _Compiled:
    """A network with the state of one that was never trained."""

    def __init__(self, shape: Shape) -> None:
        inputs, *hidden, outputs = shape.widths
        optimizer = make_optimizer(shape.optimizer)
        if shape.weight_decay is not None:
            optimizer.weight_decay = shape.weight_decay
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        self.model = dense_network(inputs, tuple(hidden), outputs, seed=0)
        self.model.compile(optimizer, loss=keras_loss(shape.loss))
        optimizer.build(self.model.trainable_variables)
        # Made now, they stay: a range test gives back what was there before it.
        self.model.make_train_function()
        self.model.make_test_function()
        self.new = Snapshot(self.model)


_kept: OrderedDict[Shape, list[_Compiled]] = OrderedDict()
_guard = threading.Lock()


def _take(shape: Shape) -> _Compiled | None:
    with _guard:
        waiting = _kept.get(shape)
        return waiting.pop() if waiting else None


def _keep(shape: Shape, compiled: _Compiled) -> None:
    with _guard:
        _kept[shape] = [compiled]
        _kept.move_to_end(shape)
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)


class WholeBatches(keras.utils.PyDataset):
    """Batches of (inputs, targets, weights), shuffled again every epoch.

    An epoch leaves out the few rows that fill no whole batch, each time others: a batch of another
    size would be compiled again.
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        y: NDArray[Any],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._data, self._size, self._seed = (x, y, weights), batch_size, seed
        self._epoch = 0
        self._shuffle()

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return len(self._rows) // self._size

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        """Returns one batch of this epoch."""
        rows = self._rows[index * self._size : (index + 1) * self._size]
        return tuple(part[rows] for part in self._data)

    def on_epoch_end(self) -> None:
        """Shuffles."""
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        # From the epoch's own seed: the global generators are left alone.
        random = np.random.default_rng([self._seed, self._epoch])
        self._rows = random.permutation(len(self._data[0]))


@dataclass(frozen=True)
class Settings:
    """The training of a network.

    Attributes:
        shape: The network and its compiled step.
        batch_size: Rows in a step.
        epochs: Passes over the rows.
        max_lr: The peak of the rate; None to find it.
        seed: Of the weights and of the order of the rows.
        verbose: As in Keras.
    """

    shape: Shape
    batch_size: int
    epochs: int
    max_lr: float | None
    seed: int
    verbose: int


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit.

    Attributes:
        weights: Kernel and bias of each layer, in turn.
        max_lr: The peak of the rate.
        found: What the range test found, or None if there was none.
        history: Keras's: one value per epoch.
    """

    weights: Weights
    max_lr: float
    found: RangeTestResult | None
    history: dict[str, list[float]]


def fit_network(
    x: NDArray[np.float32], y: NDArray[Any], row_weights: NDArray[np.float32], settings: Settings
) -> Fitted:
    """Trains a network of this shape by one cycle."""
    rows = WholeBatches(x, y, row_weights, batch_size=settings.batch_size, seed=settings.seed)
    start = initial_weights(settings.shape.widths, settings.seed)
    with lent_network(settings.shape, start) as model:
        found = None if settings.max_lr is not None else _find(model, rows, settings)
        max_lr = settings.max_lr or _usable_rate(found, settings.shape.optimizer)
        history = fit_one_cycle(
            model,
            rows,
            epochs=settings.epochs,
            max_lr=max_lr,
            shuffle=False,
            verbose=settings.verbose,
        )
        weights = weights_of(model)
    if not all(np.isfinite(values).all() for values in weights):
        raise CyclerateError(
            f"The training diverged: its weights are not finite after a cycle up to {max_lr:.3g}. "
            "Give a lower max_lr, or standardize=True."
        )
    return Fitted(weights, max_lr, found, dict(history.history))


def _find(model: Any, rows: WholeBatches, settings: Settings) -> RangeTestResult:
    return range_test(
        model,
        rows,
        policy="one_cycle",
        horizon_steps=settings.epochs * rows.num_batches,
        seed=settings.seed,
        verbose=settings.verbose,
    )


def _usable_rate(found: RangeTestResult | None, optimizer: str) -> float:
    if found is not None and found.max_lr is not None:
        return found.max_lr
    rate = default_rate(optimizer)
    verdict = "" if found is None else f" {found.verdict}"
    warnings.warn(
        f"The range test found no clear answer; trained up to {rate:g}, the default rate of "
        f"{optimizer}.{verdict} Give max_lr to choose another.",
        ConvergenceWarning,
        stacklevel=4,
    )
    return rate
