"""What a sweep's steps gave: told to the range test, which says when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras.batches import Data
from cyclerate.keras.internals import tensorflow_pipeline
from cyclerate.keras.updates import Updates
from cyclerate.range_test import RangeTest
from cyclerate.range_test.progress import Progress

VALIDATION = "val_"


class Watch:
    """Tells a range test the value of each update, and stops the model's fit when it is done.

    Args:
        model: The model in its fit.
        test: The range test.
        updates: Which batches lead to an update.
        validation: What to measure on after each update; None to take the value of its batch.
        progress: Shown after each update.
    """

    def __init__(
        self,
        model: Any,
        test: RangeTest,
        updates: Updates,
        validation: Data | None,
        progress: Progress,
    ) -> None:
        self._model, self._test = model, test
        self._updates, self._progress = updates, progress
        self._validation = None if validation is None else _for_evaluate(validation.lend())

    @property
    def can_be_late(self) -> bool:
        """Whether a step may begin before the one before it is looked at."""
        return self._validation is None and self._updates.each_batch_is_one

    def take(self, logs: Mapping[str, Any]) -> None:
        """Takes what a step logged, as numbers or as scalars of the backend."""
        if self._validation is None:
            value = self._updates.loss_after(_find(self._test.metric, logs))
        elif (value := self._updates.loss_after(0.0)) is not None:
            value = self._measure(self._validation)
        if value is None or self._test.done:
            return
        self._test.tell(value)
        self._progress.show(self._test, value)
        if self._test.done:
            self._model.stop_training = True

    def _measure(self, validation: dict[str, Any]) -> float:
        model = self._model
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        logs = model.evaluate(**validation, verbose=0, return_dict=True)
        if keras.backend.backend() == "torch":
            model.train()
        return _find(self._test.metric.removeprefix(VALIDATION), logs)


def _find(name: str, logs: Mapping[str, Any]) -> float:
    if name not in logs:
        raise bad_argument("metric", f"one that the model has: {', '.join(logs)}", name)
    return float(logs[name])


def _for_evaluate(arguments: dict[str, Any]) -> dict[str, Any]:
    """`evaluate` neither shuffles nor weighs classes; it is called after every step."""
    arguments = {k: v for k, v in arguments.items() if k not in ("shuffle", "class_weight")}
    if keras.backend.backend() == "tensorflow" and "y" in arguments:
        return {"x": tensorflow_pipeline(**arguments)}
    return arguments
