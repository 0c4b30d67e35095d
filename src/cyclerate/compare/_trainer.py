"""A Keras network on one split, judged by an objective of ours: every policy with every seed.

The same initial weights and the same order of the data belong to a seed, whatever the policy, so
that cells pair up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument, check_choice, check_count
from cyclerate.compare._objective import Objective, keras_loss
from cyclerate.compare._optimizers import OPTIMIZERS, make_optimizer
from cyclerate.compare._plain import digest
from cyclerate.compare._record import Cell, PolicyInfo
from cyclerate.compare._running import DataOrder, Length, train_cell
from cyclerate.schedules import from_dict

if TYPE_CHECKING:
    from cyclerate.compare._keras_learner import KerasLearner
    from cyclerate.finder import RangeTestResult


@dataclass(frozen=True)
class Split:
    """Inputs and targets of a training part and a held-out part."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_heldout: NDArray[Any]
    y_heldout: NDArray[Any]


@dataclass(kw_only=True)
class KerasTrainer(ABC):
    """Trains a network on a split; a `cyclerate.compare._recording.Trainer`.

    Attributes:
        split: The data.
        objective: Loss and metric; the network's outputs are those that it names.
        budget: The length of every run.
        batch_size: Rows in a step.
        optimizer: A name in `OPTIMIZERS`.
        metrics: What Keras measures in training besides the loss; a range test can record it.
    """

    split: Split
    objective: Objective
    budget: Length
    batch_size: int
    optimizer: str = "sgd"
    metrics: tuple[str, ...] = ()
    _learner: KerasLearner | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        rows = len(self.split.x_train)
        if check_count("batch_size", self.batch_size) > rows:
            raise bad_argument("batch_size", f"at most the {rows} training rows", self.batch_size)

    @abstractmethod
    def network(self, seed: int) -> Any:
        """The network with the initial weights of a seed; global random state is left alone."""

    @property
    def learner(self) -> KerasLearner:
        """What trains the network; made when it is first asked for, as it loads Keras."""
        from cyclerate.compare._keras_learner import KerasLearner

        if self._learner is None:
            self._learner = KerasLearner(self._compiled, self.batch_size)
        return self._learner

    def decided_by(self) -> dict[str, Any]:
        """All that decides a cell, but for its policy and its seed, as JSON values."""
        start = self.learner.start(0, self.split.x_train, self._targets())
        return {
            "data": digest(vars(self.split).values()),
            "model": {**start.description, "initial_weights": start.weights},
            "objective": [self.objective.loss_name, self.objective.metric.name],
            "scale": self.objective.scale,
            "total_steps": self.budget.total_steps,
            "batch_size": self.batch_size,
            "versions": start.versions,
        }

    def range_test(self, seed: int, **options: Any) -> RangeTestResult:
        """Runs a range test on the network of a seed.

        Args:
            seed: Of the weights and of the order of the data.
            **options: Options of `cyclerate.keras.range_test`; by default those, for a training as
                long as the budget.
        """
        settings: dict[str, Any] = {"horizon_steps": self.budget.total_steps, **options}
        return self.learner.range_test(seed, self.split.x_train, self._targets(), **settings)

    def train(self, policy: PolicyInfo, seed: int, progress: Callable[[int], None]) -> Cell:
        """Trains one cell; a loss that is not finite ends it early, as diverged."""
        x, targets = self.split.x_train, self._targets()
        order = DataOrder(len(x), seed, self.batch_size, self.budget.steps_per_epoch)
        return train_cell(
            self.learner,
            lambda rows: (x[rows], targets[rows]),
            order,
            self._judged,
            policy=policy.name,
            schedule=from_dict(policy.schedule),
            total_steps=self.budget.total_steps,
            progress=progress,
        )

    def save(self, path: Path) -> None:
        """Saves the network trained last, giving probabilities (or the standardised number).

        It is saved without its optimizer, so that Keras alone can load it.
        """
        import keras

        layers = [keras.Input(self.split.x_train.shape[1:]), *self.learner.model.layers]
        last = {"binary_crossentropy": "sigmoid", "sparse_categorical_crossentropy": "softmax"}
        if activation := last.get(self.objective.loss_name):
            layers.append(keras.layers.Activation(activation))
        temporary = path.with_name(f".{path.stem}.part.keras")
        keras.Sequential(layers).save(temporary)
        temporary.replace(path)

    def _compiled(self, seed: int) -> Any:
        model = self.network(seed)
        loss = keras_loss(self.objective.loss_name)
        model.compile(make_optimizer(self.optimizer), loss=loss, metrics=list(self.metrics))
        return model

    def _judged(self) -> tuple[float, float]:
        outputs, y = self.learner.predict(self.split.x_heldout), self.split.y_heldout
        return self.objective.loss(outputs, y), self.objective.score(outputs, y)

    def _targets(self) -> NDArray[Any]:
        y = self.split.y_train
        return y if self.objective.outputs > 1 else y.astype(np.float32)[:, None]
