"""A Keras model as the finder trains it: each run is a fit from the same start."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate._randomness import PutBack, all_of
from cyclerate.finder import Run, Trainee
from cyclerate.keras._data import A_BATCH, Data, borrow, lent_again, rows_of, whole
from cyclerate.keras._state import (
    Snapshot,
    TrainerAttributes,
    VariableRate,
    remember_all_randomness,
    seed_all_randomness,
)
from cyclerate.keras._step import (
    StepFunction,
    Updates,
    build,
    quiet_about_the_end_of_data,
    step_function,
)
from cyclerate.keras._train_function import settle

VALIDATION = "val_"

HIGHEST_SEED = 2**32
"""NumPy's global generator takes no higher one."""

_ENDLESS = 10**9


class KerasTrainee(Trainee):
    """A compiled Keras model with its data, lent to the finder.

    Args:
        model: The model, compiled.
        x: As `range_test` takes it, like all that follows.
        y: The targets.
        metric: What to record; measured on the validation data after each step if it begins with
            "val_".
        batch_size: Rows of a batch.
        sample_weight: Weights of the rows.
        class_weight: Weights of the classes.
        validation_data: What to measure on, and to score runs on; None for training rows.

    Raises:
        ValueError: Data of another kind.
    """

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        *,
        metric: str,
        batch_size: int | None,
        sample_weight: Any,
        class_weight: dict[int, float] | None,
        validation_data: Any,
    ) -> None:
        self._model, self._metric = model, metric
        self._data = borrow(
            x, y, batch_size=batch_size, sample_weight=sample_weight, class_weight=class_weight
        )
        self._validation_data = _validation(validation_data, batch_size)
        self._validation: dict[str, Any] | None = None
        self._sample: dict[str, Any] | None = None
        self._seed: int | None = None
        self._untouched = True

    @contextmanager
    def lent(self) -> Generator[None]:
        """Builds the model, and restores afterwards whatever training in the block changes.

        Also after an exception and after Ctrl-C. What stays is that the model, its metrics and its
        optimizer are built, in the state in which their first fit would find them. In the block,
        the optimizer's rate is a variable.
        """
        model = self._model
        settle(model)
        attributes = TrainerAttributes(model)
        undo: list[PutBack] = [attributes.put_back, self._remember_randomness()]
        try:
            build(model, self._data)
            attributes.put_back()
            if keras.backend.backend() != "tensorflow":
                # Building drew what the first fit would have drawn; that is not drawn again.
                undo[1] = self._remember_randomness()
            self._snapshot = Snapshot(model)
            undo.append(self._snapshot.put_back)
            rate = VariableRate(model)
            undo.append(rate.put_back)
            rate.lend()
            self._function = step_function(model)
            if self._validation_data is not None:
                self._validation = whole(self._validation_data)
            yield
        finally:
            all_of(undo)()

    def _remember_randomness(self) -> PutBack:
        read = [self._data, self._validation_data]
        return all_of([remember_all_randomness(), *(data.remember() for data in read if data)])

    def restore(self, seed: int) -> None:
        if not self._untouched:
            self._snapshot.put_back(again=True)
        if seed != self._seed:
            self._seed, self._sample = seed, self._validation
            self._rewind, self._lend = self._data.remember(), lent_again(self._data)
        else:
            self._rewind()
        self._untouched = False
        seed_all_randomness(seed)

    def score(self, seed: int) -> float:
        if self._sample is None:
            seed_all_randomness(seed)
            self._sample = rows_of(self._data)
        return evaluated(self._model, self._metric, self._sample)

    def train(self, run: Run) -> None:
        if run.done:
            return
        model, function = self._model, self._function
        each_step = self._validation if self._metric.startswith(VALIDATION) else None
        updates = Updates(model, function)
        watch = Watch(model, run, updates, metric=self._metric, validation=each_step)
        # TensorFlow is told of each batch's logs in any case, and waits for them.
        late = watch.can_be_late and keras.backend.backend() != "tensorflow"
        steps = (_OneBehind if late else _StepByStep)(model, function, watch, run)
        model.train_function = steps
        with quiet_about_the_end_of_data():
            # Passes without end: the watch stops it. Keras's own loop reads the data.
            model.fit(**self._lend(), epochs=_ENDLESS, verbose=0, callbacks=steps.callbacks())
        steps.finish()


def _validation(validation_data: Any, batch_size: int | None) -> Data | None:
    if validation_data is None:
        return None
    allowed = "(x, y), (x, y, sample_weight) or a data set that ends"
    parts = validation_data if isinstance(validation_data, tuple) else (validation_data,)
    if len(parts) > 3:
        raise bad_argument("validation_data", allowed, validation_data)
    x, y, sample_weight = (*parts, None, None)[:3]
    size = batch_size if y is not None else None
    data = borrow(x, y, batch_size=size, sample_weight=sample_weight)
    if data.endless:
        raise bad_argument("validation_data", allowed, validation_data)
    return data


class Watch:
    """Tells a run the value of each update, and stops the model's fit when it is done.

    Args:
        model: The model in its fit.
        run: The run.
        updates: Which batches lead to an update.
        metric: The name of what it is told.
        validation: Arguments of `evaluate` for measuring after each update; None to take the value
            of its batch.
    """

    def __init__(
        self,
        model: Any,
        run: Run,
        updates: Updates,
        *,
        metric: str,
        validation: dict[str, Any] | None,
    ) -> None:
        self._model, self._run, self._metric = model, run, metric
        self._updates = updates
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


class _StepByStep:
    """The train function of a run in which each step is looked at before the next begins."""

    def __init__(self, model: Any, function: StepFunction, watch: Watch, run: Run) -> None:
        self.begun = 0
        self._model, self._function, self._watch, self._run = model, function, watch, run

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What the fit is to be given."""
        return [_Told(self._watch), _NoEmptyPass(self)]

    def __call__(self, *arguments: Any) -> Any:
        self._function.lr = self._run.lr
        answer = self._function(*arguments)
        self.begun += 1
        return answer

    def finish(self) -> None:
        """Looks at what has not been looked at."""


class _OneBehind(_StepByStep):
    """The same, but a step begins before its predecessor is looked at.

    So the device has work while the host reads a loss and prepares the next batch. A run that ends
    early stops a step late, which is undone with the rest.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._rates = self._run.lrs
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
