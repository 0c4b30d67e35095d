"""One sweep of a range test: a fit of the model, at the sweep's rates, watched batch by batch."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras.batches import A_BATCH, Data
from cyclerate.keras.building import quiet_about_the_end_of_data
from cyclerate.keras.internals import tensorflow_pipeline
from cyclerate.keras.stepping import sweep_function
from cyclerate.keras.updates import Updates
from cyclerate.range_test import RangeTest
from cyclerate.range_test.progress import Progress

VALIDATION = "val_"

_ENDLESS = 10**9


def sweep(
    model: Any, test: RangeTest, data: Data, validation: Data | None, progress: Progress
) -> None:
    """Drives `test` to its end; the caller gives the model back.

    Args:
        model: The model, built.
        test: A new range test.
        data: What to train on.
        validation: What to measure on, if the metric begins with "val_".
        progress: Shown after each step.
    """
    function = sweep_function(model, test)
    watch = _Watch(model, test, Updates(model, function), validation, progress)
    model.train_function = function
    try:
        with quiet_about_the_end_of_data():
            # Passes without end: the watch stops it. Keras's own loop reads the data.
            model.fit(**data.lend(), epochs=_ENDLESS, verbose=0, callbacks=[watch])
    finally:
        model.train_function = function.plain


class _Watch(keras.callbacks.Callback):
    """Tells the range test each loss, and stops the fit when the test is done."""

    def __init__(
        self,
        model: Any,
        test: RangeTest,
        updates: Updates,
        validation: Data | None,
        progress: Progress,
    ) -> None:
        super().__init__()
        # Not `self.model`: on JAX each look at that attribute copies the state into the variables.
        self._watched = model
        self._test, self._updates = test, updates
        self._validation = None if validation is None else _for_evaluate(validation.lend())
        self._progress = progress
        self._batches_in_epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._batches_in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches_in_epoch += 1
        loss = self._updates.loss_after(self._value(logs or {}))
        if loss is None:
            return
        if self._validation is not None:
            loss = self._measure(self._validation)
        self._test.tell(loss)
        self._progress.show(self._test, loss)
        if self._test.done:
            self._watched.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._batches_in_epoch:
            raise bad_argument("x", A_BATCH, f"none in pass {epoch + 1}")

    def _value(self, logs: dict[str, Any]) -> float:
        return 0.0 if self._validation is not None else self._find(self._test.metric, logs)

    def _measure(self, validation: dict[str, Any]) -> float:
        model = self._watched
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        logs = model.evaluate(**validation, verbose=0, return_dict=True)
        if keras.backend.backend() == "torch":
            model.train()
        return self._find(self._test.metric.removeprefix(VALIDATION), logs)

    @staticmethod
    def _find(name: str, logs: dict[str, Any]) -> float:
        if name not in logs:
            raise bad_argument("metric", f"one that the model has: {', '.join(logs)}", name)
        return float(logs[name])


def _for_evaluate(arguments: dict[str, Any]) -> dict[str, Any]:
    """`evaluate` neither shuffles nor weighs classes; it is called after every step."""
    arguments = {k: v for k, v in arguments.items() if k not in ("shuffle", "class_weight")}
    if keras.backend.backend() == "tensorflow" and "y" in arguments:
        return {"x": tensorflow_pipeline(**arguments)}
    return arguments
