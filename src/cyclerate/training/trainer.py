"""A Keras network trained one cell after another: every policy with every seed.

The same initial weights and the same order of the data belong to a seed, whatever the policy, so
that cells pair up. The rate is part of the compiled step (`cyclerate.keras.as_schedule`): a policy
is compiled once and serves all its seeds.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError, bad_argument, check_choice, check_count
from cyclerate.schedules import from_dict
from cyclerate.training.compare import evaluation_steps
from cyclerate.training.objective import Objective
from cyclerate.training.optimizers import OPTIMIZERS, make_optimizer
from cyclerate.training.record import Cell, PolicyInfo

if TYPE_CHECKING:
    from cyclerate.range_test import RangeTestResult

_HELDOUT_CHUNK = 16_384


class Length(Protocol):
    """How long every run is."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training rows."""
        ...

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a run."""
        ...


@dataclass(frozen=True)
class Split:
    """Inputs and targets of a training part and a held-out part."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_heldout: NDArray[Any]
    y_heldout: NDArray[Any]


@dataclass(kw_only=True)
class KerasTrainer(ABC):
    """Trains a network on a split; a `cyclerate.training.compare.Trainer`.

    Attributes:
        split: The data.
        objective: Loss and metric; the network's outputs are those that it names.
        budget: The length of every run.
        batch_size: Rows in a step. An epoch leaves out the few rows that fill no whole batch, each
            time others: a batch of another size would be compiled anew.
        optimizer: A name in `OPTIMIZERS`.
        metrics: What Keras measures in training besides the loss; a range test can record it.
    """

    split: Split
    objective: Objective
    budget: Length
    batch_size: int
    optimizer: str = "sgd"
    metrics: tuple[str, ...] = ()
    _prepared: tuple[PolicyInfo, Any, list[Any]] | None = field(
        default=None, init=False, repr=False
    )
    _initial: dict[int, list[Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        rows = len(self.split.x_train)
        if check_count("batch_size", self.batch_size) > rows:
            raise bad_argument("batch_size", f"at most the {rows} training rows", self.batch_size)

    @abstractmethod
    def network(self, seed: int) -> Any:
        """The network with the initial weights of a seed; global random state is left alone."""

    def range_test(self, seed: int, **options: Any) -> RangeTestResult:
        """Runs a range test on the network of a seed.

        Args:
            seed: Of the weights and of the order of the data.
            **options: Options of `cyclerate.keras.range_test`; by default those, for a training as
                long as the budget.
        """
        from cyclerate.keras import range_test

        settings: dict[str, Any] = {
            "batch_size": self.batch_size,
            "horizon_steps": self.budget.total_steps,
            "verbose": 0,
            **options,
        }
        model = self._compiled(make_optimizer(self.optimizer), seed)
        return range_test(model, self.split.x_train, self._targets(), seed=seed, **settings)

    def train(self, policy: PolicyInfo, seed: int, progress: Callable[[int], None]) -> Cell:
        """Trains one cell; a loss that is not finite ends it early, as diverged."""
        model = self._ready(policy, seed)
        curves: list[tuple[int, float, float, float]] = []
        seconds, targets = 0.0, self._targets()
        per_epoch = self.budget.steps_per_epoch
        order = DataOrder(len(targets), seed, self.batch_size, per_epoch)
        points = [0, *evaluation_steps(self.budget.total_steps, per_epoch)]
        for start, stop in pairwise(points):
            rows = order.rows(start, stop)
            began = time.perf_counter()
            train_loss = self._fit(model, self.split.x_train[rows], targets[rows])
            seconds += time.perf_counter() - began
            outputs = _predict(model, self.split.x_heldout)
            loss = self.objective.loss(outputs, self.split.y_heldout)
            score = self.objective.score(outputs, self.split.y_heldout)
            curves.append((stop, train_loss, loss, score))
            progress(stop)
            if not np.isfinite([train_loss, loss]).all():
                break
        steps, train_losses, losses, scores = zip(*curves, strict=True)
        diverged = not np.isfinite([train_losses[-1], losses[-1]]).all()
        return Cell(policy.name, seed, steps, train_losses, losses, scores, seconds, bool(diverged))

    def save(self, path: Path) -> None:
        """Saves the network trained last, giving probabilities (or the standardised number).

        It is saved without its optimizer, so that Keras alone can load it.
        """
        import keras

        if self._prepared is None:
            raise CyclerateError("no cell has been trained yet, so there is no network to save.")
        _, model, _ = self._prepared
        layers = [keras.Input(self.split.x_train.shape[1:]), *model.layers]
        last = {"binary_crossentropy": "sigmoid", "sparse_categorical_crossentropy": "softmax"}
        if activation := last.get(self.objective.loss_name):
            layers.append(keras.layers.Activation(activation))
        temporary = path.with_name(f".{path.stem}.part.keras")
        keras.Sequential(layers).save(temporary)
        temporary.replace(path)

    def _compiled(self, optimizer: Any, seed: int) -> Any:
        model = self.network(seed)
        loss = _keras_loss(self.objective.loss_name)
        model.compile(optimizer, loss=loss, metrics=list(self.metrics))
        optimizer.build(model.trainable_variables)
        return model

    def _ready(self, policy: PolicyInfo, seed: int) -> Any:
        """The policy's compiled model, as new: the seed's weights, a fresh optimizer."""
        if self._prepared is None or self._prepared[0] != policy:
            optimizer = make_optimizer(self.optimizer, from_dict(policy.schedule))
            model = self._compiled(optimizer, seed)
            fresh = [_numpy(variable) for variable in optimizer.variables]
            self._prepared = (policy, model, fresh)
            # Compiles the step outside the time that is measured.
            first = slice(0, self.batch_size)
            self._fit(model, self.split.x_train[first], self._targets()[first])
        _, model, fresh = self._prepared
        if seed not in self._initial:
            self._initial[seed] = self.network(seed).get_weights()
        model.set_weights(self._initial[seed])
        for variable, value in zip(model.optimizer.variables, fresh, strict=True):
            variable.assign(value)
        return model

    def _fit(self, model: Any, x: NDArray[Any], y: NDArray[Any]) -> float:
        history = model.fit(x, y, batch_size=self.batch_size, shuffle=False, verbose=0)
        return float(history.history["loss"][-1])

    def _targets(self) -> NDArray[Any]:
        y = self.split.y_train
        return y if self.objective.outputs > 1 else y.astype(np.float32)[:, None]


@dataclass(frozen=True)
class DataOrder:
    """The order of the training rows of a seed: a new permutation every epoch."""

    rows_in_all: int
    seed: int
    batch_size: int
    steps_per_epoch: int

    def rows(self, start: int, stop: int) -> NDArray[np.int_]:
        """The rows of steps `start` to `stop` - 1, one batch after another."""
        parts: list[NDArray[np.int_]] = []
        for epoch in range(start // self.steps_per_epoch, -(-stop // self.steps_per_epoch)):
            first = max(start - epoch * self.steps_per_epoch, 0)
            last = min(stop - epoch * self.steps_per_epoch, self.steps_per_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.rows_in_all)
            parts.append(order[first * self.batch_size : last * self.batch_size])
        return np.concatenate(parts)


def _keras_loss(name: str) -> Any:
    import keras

    if name == "binary_crossentropy":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    if name == "sparse_categorical_crossentropy":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.losses.MeanSquaredError()


def _numpy(variable: Any) -> NDArray[Any]:
    """A copy: on some backends a plain view would change with the variable."""
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))


def _predict(model: Any, x: NDArray[Any]) -> NDArray[np.float64]:
    chunks: Sequence[NDArray[Any]] = [
        x[i : i + _HELDOUT_CHUNK] for i in range(0, len(x), _HELDOUT_CHUNK)
    ]
    parts = [np.asarray(model.predict_on_batch(chunk), dtype=np.float64) for chunk in chunks]
    return np.concatenate(parts)
