"""A Keras network on one split, judged by an objective: one seed and one schedule a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument, check_count
from cyclerate.compare._learner import DataOrder, train_run
from cyclerate.compare._networks import dense_network
from cyclerate.compare._objective import Objective
from cyclerate.compare._record import PolicyInfo, Run
from cyclerate.schedules import from_dict

if TYPE_CHECKING:
    from cyclerate.compare._keras_learner import ObjectiveLearner
    from cyclerate.finder import RangeTestResult


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
    """Trains the network that `network` builds on a split."""

    split: Split
    objective: Objective
    budget: Length
    batch_size: int
    optimizer: str = "sgd"
    metrics: tuple[str, ...] = ()
    _learner: ObjectiveLearner | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        rows = len(self.split.x_train)
        if check_count("batch_size", self.batch_size) > rows:
            raise bad_argument("batch_size", f"at most the {rows} training rows", self.batch_size)

    @abstractmethod
    def network(self, seed: int) -> Any:
        """The network with the initial weights of a seed; global random state is left alone."""

    @property
    def learner(self) -> ObjectiveLearner:
        """What trains the network; made when it is first asked for, as it loads Keras."""
        from cyclerate.compare._keras_learner import objective_learner

        if self._learner is None:
            self._learner = objective_learner(
                self.network,
                self.objective,
                self.batch_size,
                optimizer=self.optimizer,
                metrics=self.metrics,
            )
        return self._learner

    def range_test(self, seed: int, **options: Any) -> RangeTestResult:
        """Runs a range test on the network of a seed, for a training as long as the budget."""
        settings: dict[str, Any] = {"horizon_steps": self.budget.total_steps, **options}
        return self.learner.range_test(seed, self.split.x_train, self.split.y_train, **settings)

    def train(self, policy: PolicyInfo, seed: int, progress: Callable[[int], None]) -> Run:
        """Trains one run; a loss that is not finite ends it early, as diverged."""
        x, y = self.split.x_train, self.split.y_train
        return train_run(
            self.learner,
            lambda rows: (x[rows], y[rows]),
            DataOrder(len(x), seed, self.batch_size, self.budget.steps_per_epoch),
            self._judged,
            policy=policy.name,
            schedule=from_dict(policy.schedule),
            total_steps=self.budget.total_steps,
            progress=progress,
        )

    def _judged(self) -> tuple[float, float]:
        outputs, y = self.learner.predict(self.split.x_heldout), self.split.y_heldout
        return self.objective.loss(outputs, y), self.objective.score(outputs, y)


@dataclass(kw_only=True)
class DenseTrainer(KerasTrainer):
    """Trains a dense network with these widths of hidden layers."""

    hidden: tuple[int, ...] = (64, 32)

    def network(self, seed: int) -> Any:
        """The network with the initial weights of a seed."""
        inputs: int = np.shape(self.split.x_train)[1]
        return dense_network(inputs, self.hidden, self.objective.outputs, seed)
