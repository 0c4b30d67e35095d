"""The callback that a well-known textbook finds a rate with."""

from __future__ import annotations

from typing import Any

from cyclerate._errors import check_number
from cyclerate.keras.compat.stepwise import StepwiseCallback
from cyclerate.keras.hyper import innermost


class ExponentialLearningRate(StepwiseCallback):
    """Multiplies the rate by a factor after every batch: after "Hands-On Machine Learning" (Géron).

    Batch n of the fit uses `lr * factor ** n`, `lr` being the optimizer's rate when the fit begins.
    As the original it gives nothing back, and goes on to infinity if the fit does:
    `cyclerate.keras.range_test` looks after both. Its losses are each batch's own; the original
    took the running mean that Keras logs.

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
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._rate = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._rate = float(innermost(self.model.optimizer).learning_rate)

    def next_rate(self) -> float:
        return self._rate

    def take(self, loss: float, logs: dict[str, Any]) -> None:
        self.rates.append(self._rate)
        self.losses.append(loss)
        self._rate *= self.factor
