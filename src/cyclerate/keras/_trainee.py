"""The runs of a range test: each a fit of the model from the same start, watched step by step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate._randomness import PutBack, all_of
from cyclerate.finder import Procedure, Race, RangeTest, conduct
from cyclerate.finder._progress import Progress
from cyclerate.finder._run import sample_seed
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


@contextmanager
def lent(model: Any, *data: Data) -> Generator[Snapshot]:
    """Builds the model, and undoes afterwards whatever training in the block did.

    Also after an exception and after Ctrl-C. What stays is that the model, its metrics and its
    optimizer are built, in the state in which their first fit would find them. In the block, the
    optimizer's rate is a variable.

    Args:
        model: The model, compiled.
        *data: What the block will read; the model is built with the first.

    Yields:
        The snapshot, to begin the block's work again with.
    """

    def remember_randomness() -> PutBack:
        return all_of([remember_all_randomness(), *(part.remember() for part in data)])

    settle(model)
    attributes = TrainerAttributes(model)
    undo: list[PutBack] = [attributes.put_back, remember_randomness()]
    try:
        build(model, data[0])
        attributes.put_back()
        if keras.backend.backend() != "tensorflow":
            # Building drew what the first fit would have drawn; that is not drawn again.
            undo[1] = remember_randomness()
        snapshot = Snapshot(model)
        undo.append(snapshot.put_back)
        rate = VariableRate(model)
        undo.append(rate.put_back)
        rate.lend()
        yield snapshot
    finally:
        _do_all(undo)


def _do_all(actions: list[PutBack]) -> None:
    """Does all of it even if Ctrl-C comes in between, and lets that through afterwards."""
    interrupted: KeyboardInterrupt | None = None
    for action in actions:
        try:
            action()
        except KeyboardInterrupt as again:
            interrupted = again
            action()
    if interrupted is not None:
        raise interrupted


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


HIGHEST_SEED = 2**32
"""NumPy's global generator takes no higher one."""


_ENDLESS = 10**9


class Runner:
    """Makes the runs of procedures; the caller gives the model back.

    Args:
        model: The model, built, its rate a variable.
        snapshot: Its state at the start of every run.
        metric: What to record; measured on the validation data after each step if it begins with
            "val_".
        data: What to train on.
        validation: What to measure on, and to score runs on; None to score them on training rows.
        progress: Shown after each step.
    """

    def __init__(
        self,
        model: Any,
        snapshot: Snapshot,
        *,
        metric: str,
        data: Data,
        validation: Data | None,
        progress: Progress,
    ) -> None:
        self._model, self._snapshot, self._metric = model, snapshot, metric
        self._data, self._progress = data, progress
        self._function = step_function(model)
        self._untouched = True
        self._validation = None if validation is None else whole(validation)
        self._each_step = self._validation if metric.startswith(VALIDATION) else None

    def conduct(self, procedure: Procedure, seed: int) -> None:
        """Makes all runs of a procedure, on data in the order of a seed."""
        rewind = self._data.remember()
        lend = lent_again(self._data)
        sample: dict[str, Any] | None = self._validation

        def restore() -> None:
            if not self._untouched:
                self._snapshot.put_back(again=True)
                rewind()
            self._untouched = False
            seed_all_randomness(seed)

        def score() -> float:
            nonlocal sample
            if sample is None:
                seed_all_randomness(sample_seed(seed))
                sample = rows_of(self._data)
            return evaluated(self._model, self._metric, sample)

        conduct(procedure, restore=restore, train=lambda run: self._train(run, lend), score=score)

    def _train(self, run: Run, lend: Callable[[], dict[str, Any]]) -> None:
        if run.done:
            return
        model, function = self._model, self._function
        updates = Updates(model, function)
        watch = Watch(
            model,
            run,
            updates,
            metric=self._metric,
            validation=self._each_step,
            progress=self._progress,
        )
        # TensorFlow is told of each batch's logs in any case, and waits for them.
        late = watch.can_be_late and keras.backend.backend() != "tensorflow"
        steps = (_OneBehind if late else _StepByStep)(model, function, watch, run)
        model.train_function = steps
        with quiet_about_the_end_of_data():
            # Passes without end: the watch stops it. Keras's own loop reads the data.
            model.fit(**lend(), epochs=_ENDLESS, verbose=0, callbacks=steps.callbacks())
        steps.finish()


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


@contextmanager
def conducting(
    model: Any,
    x: Any,
    y: Any,
    *,
    metric: str,
    batch_size: int | None,
    sample_weight: Any,
    class_weight: dict[int, float] | None,
    validation_data: Any,
    progress: Progress,
) -> Generator[Callable[[Procedure, int], None]]:
    """Lends model and data for a while, and gives them back as they were.

    Args:
        model: The model, compiled.
        x: As `range_test` takes it, like all that follows.
        y: The targets.
        metric: What to record.
        batch_size: Rows of a batch.
        sample_weight: Weights of the rows.
        class_weight: Weights of the classes.
        validation_data: What to score on.
        progress: Shown after each step, and closed.

    Yields:
        What makes all runs of a procedure, on data in the order of a seed.

    Raises:
        ValueError: Data of another kind.
    """
    data = borrow(
        x, y, batch_size=batch_size, sample_weight=sample_weight, class_weight=class_weight
    )
    validation = _validation(validation_data, batch_size)
    read = [data, validation] if validation else [data]
    with closing(progress), lent(model, *read) as snapshot:
        runner = Runner(
            model, snapshot, metric=metric, data=data, validation=validation, progress=progress
        )
        yield runner.conduct


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
