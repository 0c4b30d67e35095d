"""A callback that says the rate of each batch, takes its loss, and can give the model back."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras._internals import end_of_data, innermost, rate_of
from cyclerate.keras._state import Snapshot
from cyclerate.keras._step import StepFunction, build_from_iterator, step_function
from cyclerate.keras._train_function import remove, take_over


class StepwiseCallback(keras.callbacks.Callback):
    """Says the rate of each batch and takes its loss; subclasses implement both.

    With `gives_back`, weights, optimizer and random state are as before after the fit, also after
    an interrupted one (interrupted outside of a step: when the next training begins).
    """

    def __init__(self, *, gives_back: bool) -> None:
        super().__init__()
        self._gives_back = gives_back
        self._snapshot: Snapshot | None = None

    def next_rate(self) -> float:
        """The rate of the next batch."""
        raise NotImplementedError

    def take(self, loss: float, logs: dict[str, Any]) -> None:
        """Takes the loss of the batch that used it, and all that Keras logged for it."""
        raise NotImplementedError

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        if model.steps_per_execution != 1:
            raise bad_argument("steps_per_execution", "1", model.steps_per_execution)
        if not isinstance(rate_of(innermost(model.optimizer)), keras.Variable):
            raise bad_argument(
                "model.optimizer", "one whose learning_rate is a number", model.optimizer
            )
        take_over(model, _Steps(self), when_over=self.give_back)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        self.take(float(logs["loss"]), logs)

    def on_train_end(self, logs: Any = None) -> None:
        remove(self.model)
        self.give_back()

    def keep(self) -> None:
        """Copies what the fit will change, if that is to be given back."""
        if self._gives_back:
            self._snapshot = Snapshot(self.model)

    def give_back(self) -> None:
        """Puts back what the fit changed, once."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            snapshot.put_back()


class _Steps:
    """The train function meanwhile."""

    def __init__(self, callback: StepwiseCallback) -> None:
        self._callback, self._model = callback, callback.model
        self.plain = self._model.train_function
        self._function: StepFunction | None = None
        # On TensorFlow, a fit builds the model, its metrics and its optimizer in its first step.
        if keras.backend.backend() != "tensorflow":
            self._function = self._prepared()

    def __call__(self, *arguments: Any) -> Any:
        try:
            if self._function is None:
                build_from_iterator(self._model, *arguments)
                self._function = self._prepared()
            self._function.lr = self._callback.next_rate()
            return self._function(*arguments)
        except end_of_data():
            raise
        except BaseException:
            self._callback.give_back()
            raise

    def retrace(self) -> None:
        """The compiled step does not depend on this callback: there is nothing to forget."""

    def _prepared(self) -> StepFunction:
        model = self._model
        self._callback.keep()
        mine, model.train_function = model.train_function, self.plain
        try:
            return step_function(model)
        finally:
            model.train_function = mine
