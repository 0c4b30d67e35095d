"""The runs of a range test: each a fit of the model from the same start, watched step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.finder import Procedure, conduct
from cyclerate.finder._progress import Progress
from cyclerate.finder._run import sample_seed
from cyclerate.keras._data import A_BATCH, Data
from cyclerate.keras._state import Snapshot
from cyclerate.keras._step import StepFunction, step_function
from cyclerate.keras.building import quiet_about_the_end_of_data
from cyclerate.keras.randomness import seed_all_randomness
from cyclerate.keras.reading import lent_again, rows_of, whole
from cyclerate.keras.updates import Updates
from cyclerate.keras.watching import VALIDATION, Run, Watch, evaluated

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
