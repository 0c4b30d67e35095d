"""The 1cycle callback of a well-known textbook."""

from __future__ import annotations

from typing import Any

from cyclerate._errors import check_count, check_number
from cyclerate._plain import Columns
from cyclerate.keras._internals import innermost
from cyclerate.keras._schedule import ScheduleCallback
from cyclerate.keras.compat._lr_finder import StepwiseCallback
from cyclerate.schedules import Linear, Schedule, Sequence


class OneCycleScheduler(ScheduleCallback):
    """1cycle in straight lines: the `OneCycleScheduler` of "Hands-On Machine Learning" (Géron).

    With `half = (iterations - last_iterations) // 2`, the rate goes from `start_rate` to `max_rate`
    in `half` steps, back to `start_rate` in `half` more, and to `last_rate` in the rest.

    A `ScheduleCallback`, so computed inside the compiled step on all backends, with its `history`.
    It goes on counting in a further fit, as the original does. Beyond `iterations` the original
    went on along its last line, below 0; this one holds `last_rate`.

    Args:
        iterations: Steps of the whole cycle: the batches of all epochs.
        max_rate: The peak.
        start_rate: Where it begins. Default: a tenth of `max_rate`.
        last_iterations: Steps of the last phase. Default: `iterations // 10 + 1`.
        last_rate: Where it ends. Default: a thousandth of `start_rate`.

    Raises:
        ValueError: A rate below 0 or a length below 1; `last_iterations` above `iterations`.

    Source: the interface of Géron, Hands-On Machine Learning, 2nd edition, chapter 11; Smith 2018,
    arXiv 1803.09820.

    >>> cycle = OneCycleScheduler(iterations=12, max_rate=1.0)
    >>> rate = cycle.schedules["learning_rate"]
    >>> [round(rate(step), 4) for step in (0, 5, 10, 12)]
    [0.1, 1.0, 0.1, 0.0001]
    """

    def __init__(
        self,
        iterations: int,
        max_rate: float,
        start_rate: float | None = None,
        last_iterations: int | None = None,
        last_rate: float | None = None,
    ) -> None:
        self.iterations = check_count("iterations", iterations)
        self.max_rate = check_number("max_rate", max_rate, low=0)
        # `or`, as the original: a rate or a length of 0 asks for the default.
        given = 0 if start_rate is None else check_number("start_rate", start_rate, low=0)
        self.start_rate = given or self.max_rate / 10
        last = last_iterations
        last = 0 if last is None else check_count("last_iterations", last, low=0)
        self.last_iterations = last or self.iterations // 10 + 1
        check_number("last_iterations", self.last_iterations, high=self.iterations)
        self.half_iteration = (self.iterations - self.last_iterations) // 2
        given = 0 if last_rate is None else check_number("last_rate", last_rate, low=0)
        self.last_rate = given or self.start_rate / 1000
        super().__init__(lr=self._policy())

    @property
    def iteration(self) -> int:
        """Steps made; up to date at the end of an epoch."""
        return self.next_step

    def _policy(self) -> Schedule:
        half = self.half_iteration
        last = Linear(self.start_rate, self.last_rate, self.iterations - 2 * half)
        if half == 0:
            return last
        up = Linear(self.start_rate, self.max_rate, half)
        down = Linear(self.max_rate, self.start_rate, half)
        return Sequence((up, down, last), (half, 2 * half))


class ExponentialLearningRate(StepwiseCallback):
    """Multiplies the rate by a factor after every batch: after "Hands-On Machine Learning" (Géron).

    Batch n of the fit uses `lr * factor ** n`, `lr` being the optimizer's rate when the fit begins.
    As the original it gives nothing back, and goes on to infinity if the fit does:
    `cyclerate.keras.range_test` looks after both. Its losses are each batch's own.

    Args:
        factor: What the rate is multiplied by, above 0.

    Attributes:
        rates: The rate of each batch.
        losses: Its loss.

    Raises:
        ValueError: `factor` is not a number above 0; when the fit begins, an optimizer whose rate
            is a schedule.

    Source: the interface of Géron, Hands-On Machine Learning, 2nd edition, chapter 11.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(0.5), "mse")
    >>> grow = ExponentialLearningRate(factor=2.0)
    >>> x, y = np.ones((6, 2)), np.ones((6, 1))
    >>> _ = model.fit(x, y, batch_size=2, callbacks=[grow], verbose=0)
    >>> grow.rates, len(grow.losses)
    ([0.5, 1.0, 2.0], 3)
    """

    def __init__(self, factor: float) -> None:
        super().__init__(gives_back=False)
        self.factor = check_number("factor", factor, low=0, low_open=True)
        self._told = Columns("rates", "losses")
        self._rate = 0.0

    @property
    def rates(self) -> list[float]:
        """The rate of each batch so far; a new list each time."""
        return self._told.lists()["rates"]

    @property
    def losses(self) -> list[float]:
        """Its loss."""
        return self._told.lists()["losses"]

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._rate = float(innermost(self.model.optimizer).learning_rate)

    def next_rate(self) -> float:
        return self._rate

    def take(self, loss: float, logs: dict[str, Any]) -> None:
        self._told.add(rates=self._rate, losses=loss)
        self._rate *= self.factor
