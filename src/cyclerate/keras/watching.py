"""What the steps of a run gave: told to the run, which says when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.finder import Race, RangeTest
from cyclerate.finder._progress import Progress
from cyclerate.keras.updates import Updates

VALIDATION = "val_"

Run = RangeTest | Race


class Watch:
    """Tells a run the value of each update, and stops the model's fit when it is done.

    Args:
        model: The model in its fit.
        run: The run.
        updates: Which batches lead to an update.
        metric: The name of what it is told.
        validation: Arguments of `evaluate` for measuring after each update; None to take the value
            of its batch.
        progress: Shown after each update.
    """

    def __init__(
        self,
        model: Any,
        run: Run,
        updates: Updates,
        *,
        metric: str,
        validation: dict[str, Any] | None,
        progress: Progress,
    ) -> None:
        self._model, self._run, self._metric = model, run, metric
        self._updates, self._progress = updates, progress
        self._validation = validation

    @property
    def can_be_late(self) -> bool:
        """Whether a step may begin before the one before it is looked at."""
        return self._validation is None and self._updates.each_batch_is_one

    def take(self, logs: Mapping[str, Any]) -> None:
        """Takes what a step logged, as numbers or as scalars of the backend."""
        if self._validation is None:
            value = self._updates.loss_after(value_of(self._metric, logs))
        elif (value := self._updates.loss_after(0.0)) is not None:
            value = self._measure(self._validation)
        if value is None or self._run.done:
            return
        self._run.tell(value)
        self._progress.show(self._run, value)
        if self._run.done:
            self._model.stop_training = True

    def _measure(self, validation: dict[str, Any]) -> float:
        model = self._model
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        value = evaluated(model, self._metric, validation)
        if keras.backend.backend() == "torch":
            model.train()
        return value


def evaluated(model: Any, metric: str, sample: dict[str, Any]) -> float:
    """The metric in evaluation mode.

    Args:
        model: The model.
        metric: Its name, with or without "val_".
        sample: Arguments of `evaluate`.
    """
    logs = model.evaluate(**sample, verbose=0, return_dict=True)
    return value_of(metric.removeprefix(VALIDATION), logs)


def value_of(name: str, logs: Mapping[str, Any]) -> float:
    """The value of a metric in what Keras logged.

    Raises:
        ValueError: The model has no such metric; the message lists those that it has.
    """
    if name not in logs:
        raise bad_argument("metric", f"one that the model has: {', '.join(logs)}", name)
    return float(logs[name])
