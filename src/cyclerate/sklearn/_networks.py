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
from sklearn.model_selection import train_test_split

from cyclerate._errors import CyclerateError
from cyclerate._randomness import remember_global_randomness, sole_use_of_generators
from cyclerate.compare._networks import (
    dense_network,
    keras_loss,
    losses_of_rows,
    make_optimizer,
)
from cyclerate.finder import RangeTestResult
from cyclerate.finder._range_test import rate_of
from cyclerate.keras import ScheduleCallback, range_test
from cyclerate.keras._internals import has_momentum, track
from cyclerate.keras._state import Snapshot
from cyclerate.schedules import CosLog, Schedule
from cyclerate.schedules._namespaces import Namespace, NumPy, PlainPython

Weights = tuple[NDArray[np.float32], ...]
"""Kernel and bias of each layer, in turn."""

_MOST_KEPT = 4
_CYCLES = 4
_LEAST_HELD_OUT = 20
_ROWS_AT_A_TIME = 2048
_MOMENTUM = (0.85, 0.95)


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

    In float64, where sums in another order make no difference that anyone would see; so many rows
    at a time as stay in the processor's cache.

    >>> outputs_of((np.eye(2), np.zeros(2), np.ones((2, 1)), np.ones(1)), np.array([[3.0, -2.0]]))
    array([[4.]])
    """
    wide = [values.astype(np.float64) for values in weights]
    outputs = np.empty((len(x), wide[-1].size))
    for start in range(0, len(x), _ROWS_AT_A_TIME):
        values = x[start : start + _ROWS_AT_A_TIME]
        for layer in range(0, len(wide), 2):
            if layer:
                np.maximum(values, 0.0, out=values)
            values = values @ wide[layer]
            values += wide[layer + 1]
        outputs[start : start + len(values)] = values
    return outputs


def weights_of(model: Any) -> Weights:
    """Copies the weights of a network."""
    return tuple(np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.weights)


@contextmanager
def lent_network(shape: Shape, weights: Weights) -> Generator[CompiledNetwork]:
    """Lends a compiled network that has these weights and a new optimizer."""
    with _guard:
        waiting = _kept.get(shape)
        compiled = waiting.pop() if waiting else None
    if compiled is None:
        with _leaving_generators_alone():
            compiled = CompiledNetwork(shape)
    compiled.model.set_weights(list(weights))
    yield compiled
    # Not reached after an error: a network in the middle of a fit is no use to the next one.
    with _leaving_generators_alone():
        compiled.new.put_back(again=True)
    with _guard:
        _kept[shape] = [compiled]
        _kept.move_to_end(shape)
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)


class CompiledNetwork:
    """A network with the state of one that was never trained.

    Attributes:
        model: The network.
        cycle: The cycle of its rate, which is to be begun before each fit.
        momentum: The opposite cycle; None if the optimizer has no momentum.
        new: The state of the beginning.
    """

    def __init__(self, shape: Shape) -> None:
        inputs, *hidden, outputs = shape.widths
        optimizer = make_optimizer(shape.optimizer)
        if shape.weight_decay is not None:
            optimizer.weight_decay = shape.weight_decay
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        self.model = dense_network(inputs, tuple(hidden), outputs, seed=0)
        self.model.compile(optimizer, loss=keras_loss(shape.loss))
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
def _leaving_generators_alone() -> Generator[None]:
    """Of the generators that all threads share; one thread at a time, or they mix them up."""
    with sole_use_of_generators(wait=True):
        put_back = remember_global_randomness()
        try:
            yield
        finally:
            put_back()


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
    """The training of some networks.

    Attributes:
        shape: The networks and their compiled step.
        batch_size: Rows in a step.
        epochs: Most passes over the rows.
        max_lr: The peak of the rate; None to find it.
        networks: How many.
        held_out: The share of the rows that a network does not see.
        seed: Of the weights, the rows that are held out, and the order of the others.
        verbose: As in Keras.
    """

    shape: Shape
    batch_size: int
    epochs: int
    max_lr: float | None
    networks: int
    held_out: float
    seed: int
    verbose: int


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit.

    Attributes:
        members: The weights of each network: kernel and bias of each layer, in turn.
        max_lr: The peak of the rate.
        found: What the range test found, or None if there was none.
        history: Of the first network: one value per epoch.
        epochs: Most epochs after which a network was kept.
    """

    members: tuple[Weights, ...]
    max_lr: float
    found: RangeTestResult | None
    history: dict[str, list[float]]
    epochs: int


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Attributes:
        x: Inputs.
        y: Targets.
        weights: How much each row counts.
        groups: The class of each row, of which each part of the rows has its share; or None.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    weights: NDArray[np.float32]
    groups: NDArray[Any] | None = None

    def parts(self, held_out: float, seed: int) -> tuple[Table, Table]:
        """Draws the rows to train on, and those that are held out: none of few rows."""
        rows = np.arange(len(self.x))
        count = int(held_out * len(rows))
        if count < _LEAST_HELD_OUT:
            return self, self._of(rows[:0])
        groups = self.groups
        if groups is not None and np.unique(groups, return_counts=True)[1].min() < 2:
            groups = None  # a class of one row has no shares
        train, test = train_test_split(rows, test_size=count, random_state=seed, stratify=groups)
        return self._of(np.sort(train)), self._of(np.sort(test))

    def _of(self, rows: NDArray[Any]) -> Table:
        return Table(self.x[rows], self.y[rows], self.weights[rows])


def ends_of_cycles(epochs: int) -> list[int]:
    """Returns the epochs after which a cycle is over: each is about twice as long as the last.

    >>> ends_of_cycles(30), ends_of_cycles(4)
    ([2, 6, 14, 30], [1, 2, 4])
    """
    shares = 2**_CYCLES - 1
    ends = {round(epochs * (2**i - 1) / shares) for i in range(1, _CYCLES + 1)}
    return sorted(ends - {0})


def fit_networks(table: Table, settings: Settings) -> Fitted:
    """Trains networks of one shape in cycles, each up to the best of its low points."""
    random = np.random.default_rng(settings.seed)
    seeds = [settings.seed, *random.integers(2**31 - 1, size=settings.networks - 1).tolist()]
    found, max_lr, members, histories, kept = None, settings.max_lr, [], [], []
    for seed in seeds:
        start = initial_weights(settings.shape.widths, seed)
        with lent_network(settings.shape, start) as network:
            if max_lr is None:
                found = _find(network.model, table, settings)
                max_lr = _usable_rate(found)
            weights, history, epochs = _fit_one(network, table, settings, max_lr, seed)
        if not all(np.isfinite(values).all() for values in weights):
            raise CyclerateError(
                f"The training diverged: its weights are not finite after a cycle up to "
                f"{max_lr:.3g}. Give a lower max_lr, or standardize=True."
            )
        members.append(weights)
        histories.append(history)
        kept.append(epochs)
    assert max_lr is not None  # noqa: S101 - there is one network at least
    return Fitted(tuple(members), max_lr, found, histories[0], max(kept))


def _fit_one(
    network: CompiledNetwork, table: Table, settings: Settings, max_lr: float, seed: int
) -> tuple[Weights, dict[str, list[float]], int]:
    """Trains a network until a cycle ends no better than the one before; the best is kept."""
    train, test = table.parts(settings.held_out, seed)
    size = min(settings.batch_size, len(train.x))
    rows = WholeBatches(train.x, train.y, train.weights, batch_size=size, seed=seed)
    history: dict[str, list[float]] = {}
    best: tuple[float, Weights, int] | None = None
    before = 0
    for end in ends_of_cycles(settings.epochs):
        first = before * rows.num_batches
        steps = (end - before) * rows.num_batches
        network.cycle.begin(CosLog(max_lr, steps, cycles=1), first)
        told = network.model.fit(
            rows,
            epochs=end - before,
            callbacks=[ScheduleCallback(network.cycle, network.momentum, start_step=first)],
            shuffle=False,
            verbose=settings.verbose,
        )
        before = end
        for name, values in told.history.items():
            history.setdefault(name, []).extend(values)
        weights = weights_of(network.model)
        loss = _held_out_loss(weights, test, settings.shape.loss)
        history.setdefault("held_out_loss", []).extend([loss] if len(test.x) else [])
        if best is not None and len(test.x) and not loss < best[0]:
            break
        best = loss, weights, end
    assert best is not None  # noqa: S101 - there is one cycle at least
    return best[1], history, best[2]


def _held_out_loss(weights: Weights, table: Table, loss: str) -> float:
    if not len(table.x):
        return 0.0
    outputs = outputs_of(weights, table.x.astype(np.float64))
    return float(np.average(losses_of_rows(loss, outputs, table.y), weights=table.weights))


def _find(model: Any, table: Table, settings: Settings) -> RangeTestResult:
    size = min(settings.batch_size, len(table.x))
    rows = WholeBatches(table.x, table.y, table.weights, batch_size=size, seed=settings.seed)
    with _leaving_generators_alone():
        return range_test(
            model,
            rows,
            policy="one_cycle",
            horizon_steps=settings.epochs * rows.num_batches,
            seed=settings.seed,
            verbose=settings.verbose,
        )


def _usable_rate(found: RangeTestResult | None) -> float:
    assert found is not None  # noqa: S101 - nothing was given, so it was looked for
    rate = rate_of(found)
    if found.max_lr is None:
        warnings.warn(
            f"The range test found no clear answer; trained up to {rate:.3g}, the rate to expect. "
            f"{found.verdict} Give max_lr to choose another.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return rate
