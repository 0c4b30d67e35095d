"""One copy of all that training changes in a model, to be put back to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from cyclerate._errors import bad_argument
from cyclerate._randomness import (
    PutBack,
    all_of,
    remember_global_randomness,
    seed_global_randomness,
)
from cyclerate.keras._internals import (
    RATE,
    global_seed_generator,
    innermost,
    rate_of,
    raw_iterations,
    set_global_seed_generator,
    set_tensorflow_seeds,
    tensorflow_seeds,
    track,
    untrack,
)
from cyclerate.keras._schedule import KerasSchedule
from cyclerate.keras._train_function import LATEST_FUNCTION, ScheduledFunction
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule

TRAINER_ATTRIBUTES = (
    "history",
    "stop_training",
    "stop_evaluating",
    "steps_per_execution",
    "train_function",
    "test_function",
    "_eval_epoch_iterator",
    "_initial_epoch",
    "_jax_state",
    "_jax_state_synced",
    LATEST_FUNCTION,
)
"""What Keras's training loop and this adapter leave on a model, beside its variables."""


class TrainerAttributes:
    """The attributes that a training loop leaves on a model. Taken before anything is built."""

    def __init__(self, model: Any) -> None:
        self._attributes = vars(model)
        self._values = {k: v for k, v in self._attributes.items() if k in TRAINER_ATTRIBUTES}

    def put_back(self) -> None:
        """Sets and deletes attributes so that they are as they were."""
        # Into `vars` directly: none of these is tracked state of the layer.
        for name in TRAINER_ATTRIBUTES:
            if name in self._values:
                self._attributes[name] = self._values[name]
            else:
                self._attributes.pop(name, None)


class Snapshot:
    """The values of all variables: weights, statistics, seeds, optimizer and metrics.

    Taken of a model whose state exists (built), since what does not exist cannot be copied. On
    PyTorch it includes the buffers, the gradients and the train/eval flags of its modules. It costs
    one copy of each variable, on the device that it lives on.

    Without `metrics` these go on.
    """

    def __init__(self, model: Any, *, metrics: bool = True) -> None:
        left_out = set() if metrics else {id(v) for v in metrics_variables_of(model)}
        variables = [v for v in variables_of(model) if id(v) not in left_out]
        self._values = [(v, _copy(v.value)) for v in variables]
        self._torch = _TorchState(model) if keras.backend.backend() == "torch" else None

    def put_back(self, *, again: bool = False) -> None:
        """Gives every variable its value; unless `again` follows, that may be the copy itself."""
        for variable, value in self._values:
            variable.assign(_copy(value) if again else value)
        if self._torch is not None:
            self._torch.put_back()


def variables_of(model: Any) -> list[Any]:
    """Every variable that a training step may change, each once."""
    found = [*model.variables, *metrics_variables_of(model)]
    found += [variable for optimizer in optimizers_of(model) for variable in optimizer.variables]
    return list({id(variable): variable for variable in found}.values())


def metrics_variables_of(model: Any) -> list[Any]:
    """The variables of the metrics, some of them twice."""
    own = [variable for metric in model.metrics for variable in metric.variables]
    return [*model.metrics_variables, *own]


def optimizers_of(model: Any) -> Iterator[Any]:
    """The optimizer, and those that a model with its own `train_step` keeps beside it."""
    for value in vars(model).values():
        if isinstance(value, keras.optimizers.Optimizer):
            yield value


def _copy(tensor: Any) -> Any:
    """A copy on the same device: JAX gives buffers away at each step, PyTorch changes them."""
    if keras.backend.backend() == "jax":
        import jax

        # `jax.numpy.copy` would compile a function for each shape.
        return jax.device_put(tensor, may_alias=False)
    return ops.copy(ops.stop_gradient(tensor))


class _TorchState:
    """The state of a PyTorch module beside its Keras variables."""

    def __init__(self, model: Any) -> None:
        known = {id(variable.value) for variable in variables_of(model)}
        tensors = [*model.parameters(), *model.buffers()]
        self._tensors = [(t, t.detach().clone()) for t in tensors if id(t) not in known]
        # Steps make new gradients and drop the old ones, so the old need no copy.
        self._gradients = [(p, p.grad) for p in model.parameters()]
        # By name: each fit of Keras makes new containers of its parameters.
        self._training = {name: module.training for name, module in model.named_modules()}
        self._model = model

    def put_back(self) -> None:
        for tensor, value in self._tensors:
            tensor.detach().copy_(value)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        for name, module in self._model.named_modules():
            module.training = self._training.get(name, module.training)


def remember_all_randomness() -> PutBack:
    """Notes the state of every global generator; the call that it returns puts it back.

    Python, NumPy, Keras, and PyTorch and TensorFlow if they are loaded.
    """
    actions = [remember_global_randomness(), _remember_keras()]
    if "tensorflow" in sys.modules:
        actions.append(_remember_tensorflow())
    return all_of(actions)


def seed_all_randomness(seed: int) -> None:
    """Seeds the generators that `remember_all_randomness` notes, and loads no framework."""
    seed_global_randomness(seed)
    set_global_seed_generator(keras.random.SeedGenerator(seed))
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


def _remember_keras() -> PutBack:
    generator = global_seed_generator()
    state = None if generator is None else keras.ops.convert_to_numpy(generator.state).copy()

    def put_back() -> None:
        if generator is not None:
            generator.state.assign(state)
        set_global_seed_generator(generator)

    return put_back


def _remember_tensorflow() -> PutBack:
    seeds = tensorflow_seeds()
    generator = seeds[-1]
    state = None if generator is None else generator.getstate()

    def put_back() -> None:
        set_tensorflow_seeds(seeds)
        if generator is not None:
            generator.setstate(state)

    return put_back


class VariableRate:
    """Gives the model's optimizer a rate that is a variable, if it has none.

    So the runs of a range test, each at rates of its own, share one compiled step.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._optimizer = model, innermost(model.optimizer)
        self._own = rate_of(self._optimizer)
        self._lent: Any = None

    def lend(self) -> None:
        """Replaces a schedule, and puts aside what was compiled with it."""
        if isinstance(self._own, keras.Variable):
            return
        self._lent = keras.Variable(0.0, dtype=keras.config.floatx(), trainable=False, name="rate")
        track(self._optimizer, self._lent)
        vars(self._optimizer)[RATE] = self._lent
        vars(self._model)["train_function"] = None

    def put_back(self) -> None:
        """Gives the optimizer its own rate back; the train function is the caller's to put back."""
        if self._lent is not None:
            vars(self._optimizer)[RATE] = self._own
            untrack(self._optimizer, self._lent)


@dataclass(frozen=True)
class RateInUse:
    """The schedule of the rate, and how a fit goes through it.

    Attributes:
        schedule: The schedule.
        offset: Steps that were made before the schedule's step 0.
        batches_before: Batches that the optimizer had counted before the fit.
        batches_per_epoch: Batches of an epoch; None if Keras does not know.
        epochs: Epochs that are to come.
        accumulated: Batches of a step of the schedule.
    """

    schedule: Schedule
    offset: int
    batches_before: int
    batches_per_epoch: int | None
    epochs: int
    accumulated: int = 1

    def step_at(self, batches: int) -> int:
        """The step of the schedule that comes next, when the optimizer has counted so many."""
        return batches // self.accumulated - self.offset

    def batches_until(self, step: int) -> int:
        """Batches of this fit until a step of the schedule has been made."""
        return (step + 1 + self.offset) * self.accumulated - self.batches_before

    @property
    def start_step(self) -> int:
        """The step of the schedule that the fit begins with."""
        return self.step_at(self.batches_before)

    @property
    def epoch_ends(self) -> list[int]:
        """The step that comes after each epoch."""
        if self.batches_per_epoch is None:
            allowed = "given in fit where the data's length is unknown: when does a cycle end?"
            raise bad_argument("steps_per_epoch", allowed, None)
        before, batches = self.batches_before, self.batches_per_epoch
        return [self.step_at(before + (i + 1) * batches) for i in range(self.epochs)]


def rate_in_use(
    model: Any,
    schedule: Schedule | None,
    params: Mapping[str, Any],
    first_epoch: int,
    *,
    must_be_scheduled: bool = False,
) -> RateInUse:
    """Looks at a fit whose first epoch begins: all callbacks have had their `on_train_begin`.

    Args:
        model: The model in its fit.
        schedule: What to take where the fit has no schedule; if it has one, that must be it.
        params: What Keras tells a callback about the fit: "epochs" and "steps".
        first_epoch: The number of the epoch that begins.
        must_be_scheduled: Refuse a fit without a schedule, also where one is given here.
    """
    optimizer = innermost(model.optimizer)
    batches_before = int(raw_iterations(optimizer))
    found, offset, accumulated = _found(model, optimizer)
    if found is None:
        if schedule is None or must_be_scheduled:
            allowed = "set by ck.ScheduleCallback(lr=schedule) or ck.as_schedule(schedule)"
            raise bad_argument("schedule", allowed, "a fit whose rate is not scheduled")
        offset = batches_before // accumulated
    elif schedule not in (None, found):
        raise bad_argument("schedule", f"that of the fit, {found!r}, or left out", schedule)
    return RateInUse(
        check_schedule("schedule", schedule if found is None else found),
        offset,
        batches_before,
        batches_per_epoch=params.get("steps"),
        epochs=params["epochs"] - first_epoch,
        accumulated=accumulated,
    )


def _found(model: Any, optimizer: Any) -> tuple[Schedule | None, int, int]:
    """The schedule, the steps before its step 0, and the number of batches in a step of it."""
    function, accumulated = model.train_function, optimizer.gradient_accumulation_steps or 1
    for plan in function.plans if isinstance(function, ScheduledFunction) else ():
        if plan.attribute == RATE:
            return plan.schedule, plan.offset, accumulated
    rate = rate_of(optimizer)
    if isinstance(rate, KerasSchedule):  # Keras gives it the count of batches, not of updates
        return rate.schedule, 0, 1
    return None, 0, accumulated
