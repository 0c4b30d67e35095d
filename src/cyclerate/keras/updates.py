"""When a batch has led to an update of the weights, and what loss that update had."""

from __future__ import annotations

import math
from typing import Any

import keras

from cyclerate.keras._internals import raw_iterations
from cyclerate.keras._step import StepFunction
from cyclerate.keras.hyper import innermost

MOST_SKIPPED_BATCHES = 50
"""So many batches in a row without an update: a LossScaleOptimizer sees only infinite gradients."""


class Updates:
    """Turns the losses of batches into the losses of updates.

    With `gradient_accumulation_steps` = k, an update has the mean loss of its batches. A batch that
    a LossScaleOptimizer skips, because its gradient overflowed, has led to no update.
    """

    def __init__(self, model: Any, function: StepFunction) -> None:
        optimizer = innermost(model.optimizer)
        self._function = function
        self._batches_per_update = optimizer.gradient_accumulation_steps or 1
        self._skips = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        self._counted = int(raw_iterations(optimizer))
        self._losses: list[float] = []
        self._skipped_in_a_row = 0

    @property
    def each_batch_is_one(self) -> bool:
        """Whether every batch leads to an update."""
        return self._batches_per_update == 1 and not self._skips

    def loss_after(self, batch_loss: float) -> float | None:
        """The loss of the update that this batch completed, or None if it completed none."""
        counted = self._function.batches_counted() if self._skips else self._counted + 1
        if counted == self._counted:
            self._skipped_in_a_row += 1
            return math.nan if self._skipped_in_a_row > MOST_SKIPPED_BATCHES else None
        self._counted, self._skipped_in_a_row = counted, 0
        self._losses.append(batch_loss)
        if counted % self._batches_per_update:
            return None
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        return mean
