"""One sweep of a range test: a fit of the model, at the sweep's rates, watched step by step."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras.batches import A_BATCH, Data
from cyclerate.keras.building import quiet_about_the_end_of_data
from cyclerate.keras.stepping import SweepFunction, sweep_function
from cyclerate.keras.updates import Updates
from cyclerate.keras.watching import Watch
from cyclerate.range_test import RangeTest
from cyclerate.range_test.progress import Progress

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
    function = sweep_function(model, test.sweep)
    watch = Watch(model, test, Updates(model, function), validation, progress)
    # TensorFlow is told of each batch's logs in any case, and waits for them.
    late = watch.can_be_late and keras.backend.backend() != "tensorflow"
    steps = (_OneBehind if late else _StepByStep)(model, function, watch, test)
    model.train_function = steps
    try:
        with quiet_about_the_end_of_data():
            # Passes without end: the watch stops it. Keras's own loop reads the data.
            model.fit(**data.lend(), epochs=_ENDLESS, verbose=0, callbacks=steps.callbacks())
        steps.finish()
    finally:
        model.train_function = function.plain


class _StepByStep:
    """The train function of a sweep in which each step is looked at before the next begins."""

    def __init__(self, model: Any, function: SweepFunction, watch: Watch, test: RangeTest) -> None:
        self.begun = 0
        self._model, self._function, self._watch, self._test = model, function, watch, test

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What the fit is to be given."""
        return [_Told(self._watch), _NoEmptyPass(self)]

    def __call__(self, *arguments: Any) -> Any:
        self._function.lr = self._test.lr
        answer = self._function(*arguments)
        self.begun += 1
        return answer

    def finish(self) -> None:
        """Looks at what has not been looked at."""


class _OneBehind(_StepByStep):
    """The same, but a step begins before its predecessor is looked at.

    So the device has work while the host reads a loss and prepares the next batch. The sweep stops
    a step late, which is undone with the rest.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._rates = self._test.sweep.lrs().tolist()
        self._waiting: Any = None

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return [_NoEmptyPass(self)]

    def __call__(self, *arguments: Any) -> Any:
        self._function.lr = self._rates[self.begun]
        answer = self._function(*arguments)
        self.begun += 1
        before, self._waiting = self._waiting, self._logs_in(answer)
        if before is not None:
            self._watch.take(before)
        if self.begun == len(self._rates):
            self._model.stop_training = True
        return answer

    def finish(self) -> None:
        if self._waiting is not None:
            self._watch.take(self._waiting)

    @staticmethod
    def _logs_in(answer: Any) -> Any:
        # A step on JAX gives its logs and the new state.
        return answer[0] if keras.backend.backend() == "jax" else answer


class _Told(keras.callbacks.Callback):
    """Hands on what Keras reports after each batch."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._watch.take(logs or {})


class _NoEmptyPass(keras.callbacks.Callback):
    """Ends a fit whose data have no batches: its passes would have no end."""

    def __init__(self, steps: _StepByStep) -> None:
        super().__init__()
        self._steps, self._before = steps, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = self._steps.begun

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._steps.begun == self._before:
            raise bad_argument("x", A_BATCH, f"none in pass {epoch + 1}")
