"""The training of an estimator's networks: rows, rate, cycles, and the best low point."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from cyclerate._errors import CyclerateError
from cyclerate.compare._networks import losses_of_rows
from cyclerate.finder import RangeTestResult
from cyclerate.finder._range_test import rate_of
from cyclerate.keras import ScheduleCallback, range_test
from cyclerate.schedules import CosLog
from cyclerate.sklearn._inputs import Constants
from cyclerate.sklearn._networks import (
    CompiledNetwork,
    Shape,
    Weights,
    initial_weights,
    leaving_generators_alone,
    lent_network,
    outputs_of,
    side_by_side,
    weights_of,
)

_CYCLES = 4
_LEAST_HELD_OUT = 20


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
        held_out: The share of the rows that a network does not see.
        seed: Of the weights, the rows that are held out, and the order of the others.
        verbose: As in Keras.
    """

    shape: Shape
    batch_size: int
    epochs: int
    max_lr: float | None
    held_out: float
    seed: int
    verbose: int


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit.

    Attributes:
        weights: Of the networks, side by side.
        max_lr: The peak of the rate.
        found: What the range test found, or None if there was none.
        history: One value per epoch, of all networks together.
        epochs: Epochs after which the networks were kept.
    """

    weights: Weights
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
        constants: The bins of the numbers among the inputs.
        classes: The class of each row, of which each part of the rows has its share; or None.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    weights: NDArray[np.float32]
    constants: Constants = ()
    classes: NDArray[Any] | None = None

    def held_out(self, share: float, seed: int) -> NDArray[np.int64]:
        """Draws the rows that a network does not see: none of few rows."""
        rows = np.arange(len(self.x))
        count = int(share * len(rows))
        if count < _LEAST_HELD_OUT:
            return rows[:0]
        classes = self.classes
        if classes is not None:
            sizes = np.unique(classes, return_counts=True)[1]
            if sizes.min() < 2 or len(sizes) > count:
                classes = None  # a class of one row has no shares, nor have more than there is room
        _, test = train_test_split(rows, test_size=count, random_state=seed, stratify=classes)
        return np.sort(test)

    def seen_by(self, held_out: list[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Returns how much each row counts in each network: not at all where it is held out."""
        weights = np.repeat(self.weights[:, None], len(held_out), axis=1)
        for network, rows in enumerate(held_out):
            weights[rows, network] = 0
            weights[:, network] *= len(weights) / (len(weights) - len(rows))
        return weights


def ends_of_cycles(epochs: int) -> list[int]:
    """Returns the epochs after which a cycle is over: each is about twice as long as the last.

    >>> ends_of_cycles(30), ends_of_cycles(4)
    ([2, 6, 14, 30], [1, 2, 4])
    """
    shares = 2**_CYCLES - 1
    ends = {round(epochs * (2**i - 1) / shares) for i in range(1, _CYCLES + 1)}
    return sorted(ends - {0})


def fit_networks(table: Table, settings: Settings) -> Fitted:
    """Trains networks side by side in cycles, up to the best of their low points."""
    shape, max_lr, found = settings.shape, settings.max_lr, None
    random = np.random.default_rng(settings.seed)
    seeds = [settings.seed, *random.integers(2**31 - 1, size=shape.networks - 1).tolist()]
    start = side_by_side([initial_weights(shape.layers, seed) for seed in seeds])
    held_out = [table.held_out(settings.held_out, seed) for seed in seeds]
    data = table.x, table.y, table.seen_by(held_out)
    size = min(settings.batch_size, len(table.x))
    judge = functools.partial(held_out_loss, held_out=held_out, table=table, shape=shape)
    with lent_network(shape, start, table.constants) as network:
        if max_lr is None:
            rows = WholeBatches(*data, batch_size=size, seed=settings.seed)
            found = _find(network.model, rows, settings)
            max_lr = _usable_rate(found)
        rows = WholeBatches(*data, batch_size=size, seed=settings.seed)
        judged = judge if len(held_out[0]) else None
        weights, history, epochs = _in_cycles(network, rows, judged, settings, max_lr)
    return Fitted(weights, max_lr, found, history, epochs)


def _in_cycles(
    network: CompiledNetwork,
    rows: WholeBatches,
    judge: Callable[[Weights], float] | None,
    settings: Settings,
    max_lr: float,
) -> tuple[Weights, dict[str, list[float]], int]:
    """Trains until a cycle ends no better than the one before; the best is kept."""
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
        if not all(np.isfinite(values).all() for values in weights):
            raise CyclerateError(
                f"The training diverged: its weights are not finite after a cycle up to "
                f"{max_lr:.3g}. Give a lower max_lr or weight_decay, or standardize=True."
            )
        loss = 0.0 if judge is None else judge(weights)
        history.setdefault("held_out_loss", []).extend([loss] if judge else [])
        if best is not None and judge and not loss < best[0]:
            break
        best = loss, weights, end
    assert best is not None  # noqa: S101 - there is one cycle at least
    return best[1], history, best[2]


def held_out_loss(
    weights: Weights, *, held_out: list[NDArray[np.int64]], table: Table, shape: Shape
) -> float:
    """The mean over the networks of their loss on the rows that they do not see."""
    rows = np.unique(np.concatenate(held_out))
    outputs = outputs_of(table.x[rows], weights, table.constants, shape)
    losses = []
    for each, mine in zip(outputs, held_out, strict=True):
        own = losses_of_rows(shape.loss, each[np.searchsorted(rows, mine)], table.y[mine])
        losses.append(np.average(own, weights=table.weights[mine]))
    return float(np.mean(losses))


def _find(model: Any, rows: WholeBatches, settings: Settings) -> RangeTestResult:
    with leaving_generators_alone():
        return range_test(
            model,
            rows,
            policy="one_cycle",
            horizon_steps=settings.epochs * rows.num_batches,
            seed=settings.seed,
            verbose=settings.verbose,
        )


def _usable_rate(found: RangeTestResult) -> float:
    """The middle of what prior, sweep and races say together.

    Where few rows decide the loss, a race of a hundred steps may be won by chance.
    """
    rate = rate_of(found)
    if found.max_lr is None:
        warnings.warn(
            f"The range test found no clear answer; trained up to {rate:.3g}, the rate to expect. "
            f"{found.verdict} Give max_lr to choose another.",
            ConvergenceWarning,
            stacklevel=4,
        )
        return rate
    if found.posterior is None:
        return rate
    rates, density = found.posterior
    return float(np.exp(np.average(np.log(rates), weights=density)))
