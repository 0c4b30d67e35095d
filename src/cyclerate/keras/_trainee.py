"""A Keras model as the finder trains it: each run is a fit from the same start."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from cyclerate._errors import CyclerateError, bad_argument, check_function
from cyclerate._plain import versions
from cyclerate._randomness import PutBack, all_of, lending
from cyclerate.finder import Run, Trainee
from cyclerate.finder._prior import Prior, kind_of, prior_lr
from cyclerate.finder._run import described, fingerprint, one_number
from cyclerate.keras._data import (
    A_BATCH,
    Data,
    borrow,
    is_arrays,
    lent_again,
    rows_of,
    rows_of_an_update,
    whole,
)
from cyclerate.keras._internals import HOOK, data_adapter, innermost, raw_iterations
from cyclerate.keras._state import (
    Snapshot,
    lend_rate,
    remember_all_randomness,
    remember_trainer_attributes,
    seed_all_randomness,
)
from cyclerate.keras._step import (
    STEPS_WITH_ITS_OPTIMIZER,
    StepFunction,
    Updates,
    build,
    quiet_about_the_end_of_data,
    step_function,
)

VALIDATION = "val_"

HIGHEST_SEED = 2**32
"""NumPy's global generator takes no higher one."""

_ENDLESS = 10**9


def prior_of(model: Any, rows: int | None, total_steps: int, *, fine_tuned: bool) -> Prior:
    """Returns the rate to expect of a built model, for updates of so many rows; None: 64."""
    optimizer = innermost(model.optimizer)
    kind = kind_of(
        type(optimizer).__name__,
        momentum=getattr(optimizer, "momentum", 0.0),
        nesterov=getattr(optimizer, "nesterov", False),
    )
    return prior_lr(
        kind,
        batch_size=rows,
        total_steps=total_steps,
        fine_tuned=fine_tuned,
        parameters=sum(math.prod(v.shape) for v in model.trainable_variables) or 1,
    )


def told_of_data(x: Any, y: Any) -> str:
    """Returns a text by which these data can be told apart from others."""
    if not is_arrays((x, y)):
        return described(x)
    leaves = [leaf for leaf in keras.tree.flatten((x, y)) if leaf is not None]
    return fingerprint(leaves, keras.ops.convert_to_numpy)


def provenance_of(model: Any, x: Any, y: Any) -> dict[str, Any]:
    """Returns where a result of a built model and these data comes from."""
    backend = keras.backend.backend()
    return {
        "backend": backend,
        "device": str(getattr(model.variables[0].value, "device", "unknown")),
        "data": told_of_data(x, y),
        "versions": versions("keras", backend),
    }


class KerasTrainee(Trainee):
    """A compiled Keras model with its data, lent to the finder.

    Args:
        model: The model, compiled.
        x: As `range_test` takes it, as all that follows.
        metric: What to record; measured on the validation data after each step if it begins with
            "val_".

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
        score_fn: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        if score_fn is not None:
            check_function("score_fn", score_fn, "(model, batch)")
        check_targets(model, x, y)
        self._model, self._metric, self._score_fn = model, metric, score_fn
        self._data = borrow(
            x, y, batch_size=batch_size, sample_weight=sample_weight, class_weight=class_weight
        )
        self._given = x, y
        self._rows = rows_of_an_update(x, batch_size, innermost(model.optimizer))
        self._validation_data = validation_of(validation_data, batch_size)
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

        Raises:
            CyclerateError: Another thread tests.
        """
        model = self._model
        if HOOK in vars(model):
            vars(model)[HOOK].settle()
        with lending() as stack:
            put_back_attributes = remember_trainer_attributes(model)
            undo = [put_back_attributes, self._remember_randomness()]

            def put_back() -> None:
                all_of(undo)()

            stack.callback(put_back)
            build(model, self._data)
            put_back_attributes()
            if keras.backend.backend() != "tensorflow":
                # Building drew what the first fit would have drawn; that is not drawn again.
                undo[1] = self._remember_randomness()
            self._snapshot = Snapshot(model)
            undo.append(self._snapshot.put_back)
            lend_rate(model, undo)
            self._function = step_function(model)
            if self._validation_data is not None:
                self._validation = whole(self._validation_data)
            yield

    def _remember_randomness(self) -> PutBack:
        data = [d for d in (self._data, self._validation_data) if d is not None]
        # The generators last: whoever still reads the data draws from them.
        return all_of([*(d.remember() for d in data), remember_all_randomness()])

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

    def prior(self, total_steps: int, *, fine_tuned: bool = False) -> Prior:
        return prior_of(self._model, self._rows, total_steps, fine_tuned=fine_tuned)

    def provenance(self) -> dict[str, Any]:
        return provenance_of(self._model, *self._given)

    def score(self, seed: int) -> float:
        if self._sample is None:
            seed_all_randomness(seed)
            self._sample = rows_of(self._data)
        model, score_fn = self._model, self._score_fn
        if score_fn is not None:
            return mean_score(model, score_fn, self._sample)
        try:
            logs = model.evaluate(**self._sample, verbose=0, return_dict=True)
        except (NotImplementedError, AttributeError, KeyError, TypeError) as error:
            raise CyclerateError(
                f"A race is scored by model.evaluate, which this model does not bear "
                f"({type(error).__name__}: {str(error)[:100]}). Give score_fn, or "
                'method="range" for the sweep alone.'
            ) from error
        return value_of(self._metric.removeprefix(VALIDATION), logs)

    def train(self, run: Run) -> None:
        if run.done:
            return
        optimizer = innermost(self._model.optimizer)
        updates, before = (
            Updates(self._model, self._function.batches_counted),
            int(raw_iterations(optimizer)),
        )
        each_step = self._validation if self._metric.startswith(VALIDATION) else None
        # TensorFlow is told of each batch's logs in any case, and waits for them.
        late = each_step is None and updates.each_batch_is_one
        kind = _OneBehind if late and keras.backend.backend() != "tensorflow" else _StepByStep
        steps = kind(self._function, run, updates, self._metric, each_step)
        self._model.train_function = steps
        with quiet_about_the_end_of_data():
            # Passes without end: the steps stop it. Keras's own loop reads the data.
            self._model.fit(**self._lend(), epochs=_ENDLESS, verbose=0, callbacks=[steps])
        skips = optimizer is not self._model.optimizer
        if (
            int(raw_iterations(optimizer)) == before
            and not skips
            and self._model.trainable_variables
        ):
            raise bad_argument("model", STEPS_WITH_ITS_OPTIMIZER, self._model)
        if steps.waiting is not None:
            steps.look_at(steps.waiting)


def check_targets(model: Any, x: Any, y: Any) -> None:
    """Refuses arrays without targets where only the loss of the model's compilation is computed."""
    own = [
        n
        for n in ("train_step", "compute_loss")
        if getattr(type(model), n, None) is not getattr(keras.Model, n)
    ]
    losses = [loss for loss in keras.tree.flatten(model.loss) if loss is not None]
    if y is None and is_arrays((x,)) and losses and not own:
        raise bad_argument("y", "the targets that the model's loss compares with", None)


def validation_of(
    validation_data: Any, batch_size: int | None, *, endless: bool = False
) -> Data | None:
    """Looks at what kind of validation data this is, without reading any; None for None.

    Raises:
        ValueError: It is none, or has no end where it must have one.
    """
    if validation_data is None:
        return None
    allowed = "(x, y), (x, y, sample_weight) or a data set that ends"
    if isinstance(validation_data, list):
        validation_data = tuple(validation_data)  # as Keras does
    parts = validation_data if isinstance(validation_data, tuple) else (validation_data,)
    if not 1 <= len(parts) <= 3:
        raise bad_argument("validation_data", allowed, validation_data)
    x, y, sample_weight = (*parts, None, None, None)[:3]
    size = batch_size if y is not None else None
    try:
        data = borrow(x, y, batch_size=size, sample_weight=sample_weight)
    except ValueError as error:
        raise bad_argument("validation_data", allowed, str(error)[:100]) from error
    if data.endless and not endless:
        raise bad_argument("validation_data", allowed, validation_data)
    return data


def evaluated(model: Any, metric: str, sample: dict[str, Any]) -> float:
    """The metric in evaluation mode.

    Args:
        model: The model.
        metric: Its name, with or without "val_".
        sample: Arguments of `evaluate`.
    """
    logs = model.evaluate(**sample, verbose=0, return_dict=True)
    return value_of(metric.removeprefix(VALIDATION), logs)


def mean_score(model: Any, score_fn: Callable[[Any, Any], Any], sample: dict[str, Any]) -> float:
    """The mean of what a function of the model and a batch gives, by rows."""
    total, rows = 0.0, 0
    for batch in data_adapter(**{"shuffle": False, **sample}).get_numpy_iterator():
        count = len(keras.tree.flatten(batch)[0])
        # Tensors of the backend: on PyTorch, arrays do not mix with what has a gradient.
        value = score_fn(model, keras.tree.map_structure(keras.ops.convert_to_tensor, batch))
        total += count * one_number(keras.ops.convert_to_numpy(value))
        rows += count
    return total / rows


def value_of(name: str, logs: Mapping[str, Any]) -> float:
    """The value of a metric in what Keras logged.

    Raises:
        ValueError: The model has no such metric; the message lists those that it has.
    """
    if name not in logs:
        raise bad_argument("metric", f"one that the model has: {', '.join(logs)}", name)
    return float(logs[name])


class _Steps(keras.callbacks.Callback):
    """The fit of a run: its train function, and the callback that ends a fit without batches.

    Attributes:
        waiting: What the latest step logged, if it was not looked at.
    """

    def __init__(
        self,
        function: StepFunction,
        run: Run,
        updates: Updates,
        metric: str,
        validation: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        # Not by Keras's `self.model`, which copies the state of all variables on JAX.
        self._trained, self._function, self._run = function.model, function, run
        self._updates, self._metric, self._validation = updates, metric, validation
        self._begun = self._begun_before_this_pass = 0
        self.waiting: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._begun == self._begun_before_this_pass:
            raise bad_argument("x", A_BATCH, f"none in pass {epoch + 1}")
        self._begun_before_this_pass = self._begun

    def look_at(self, logs: Mapping[str, Any]) -> None:
        """Takes what a step logged, as numbers or as scalars of the backend; ends the fit."""
        if self._validation is None:
            value = self._updates.loss_after(value_of(self._metric, logs))
        elif (value := self._updates.loss_after(0.0)) is not None:
            value = self._measured(self._validation)
        if value is not None and not self._run.done:
            self._run.tell(value)
            if self._run.done:
                self._trained.stop_training = True

    def _measured(self, validation: dict[str, Any]) -> float:
        if keras.backend.backend() == "jax":
            self._trained.jax_state_sync()
        value = evaluated(self._trained, self._metric, validation)
        if keras.backend.backend() == "torch":
            self._trained.train()
        return value


class _StepByStep(_Steps):
    """Each step is looked at before the next begins."""

    def __call__(self, *arguments: Any) -> Any:
        self._function.lr = self._run.lr
        self._begun += 1
        return self._function(*arguments)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.look_at(logs or {})


class _OneBehind(_Steps):
    """A step begins before its predecessor is looked at.

    So the device has work while the host reads a loss and prepares the next batch. A run that ends
    early stops a step late, which is undone with the rest.
    """

    def __call__(self, *arguments: Any) -> Any:
        run, before = self._run, self.waiting
        self._function.lr = run.lrs_from(self._begun)[0]
        answer = self._function(*arguments)
        self._begun += 1
        # A step on JAX gives its logs and the new state.
        self.waiting = answer[0] if keras.backend.backend() == "jax" else answer
        if before is not None:
            self.look_at(before)
        if self._begun == run.planned_steps:
            self._trained.stop_training = True
        return answer
