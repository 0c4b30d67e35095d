"""The parts of Keras beyond its public names that this adapter uses, all in one place.

Keras offers no public way to do these things. Checked against Keras 3.12 to 3.15.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend import compute_output_spec
from keras.src.backend.common import global_state
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import array_slicing

from cyclerate._errors import bad_argument
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule

RATE = "_learning_rate"
"""The attribute of an optimizer that holds its rate: a Variable, a schedule or a function."""

HOOK = "make_train_function"
"""The method that a model has of its own while its train function is replaced."""

LATEST_FUNCTION = "_cyclerate_latest_function"
"""Kept on the model, so that both go together: the function holds the model."""

TrainFunction = Callable[..., Any]

_GLOBAL_SEED_GENERATOR = "global_seed_generator"


def rate_of(optimizer: Any) -> Any:
    """The rate as the optimizer holds it: a Variable, a LearningRateSchedule or a function.

    `optimizer.learning_rate` would give the value of a schedule instead of the schedule.
    """
    return getattr(optimizer, RATE)


def raw_iterations(optimizer: Any) -> Any:
    """The variable that counts batches; `iterations` counts updates where gradients accumulate."""
    return optimizer._iterations  # noqa: SLF001


def track(optimizer: Any, variable: Any) -> None:
    """Adds a variable to an optimizer's."""
    optimizer._track_variable(variable)  # noqa: SLF001


def untrack(optimizer: Any, variable: Any) -> None:
    """Takes a variable out of an optimizer's again."""
    optimizer._untrack_variable(variable)  # noqa: SLF001


def is_built(model: Any) -> bool:
    """Says whether all state that the first training step would make exists already."""
    parts = [model.optimizer, model._compile_metrics, model._compile_loss]  # noqa: SLF001
    parts += model._flatten_layers()  # noqa: SLF001
    return all(part is None or part.built for part in parts)


def build_from_batch(model: Any, batch: Any) -> None:
    """Makes the weights, the metrics and the optimizer's state, from the shapes of one batch."""
    model._symbolic_build(data_batch=batch)  # noqa: SLF001


def check_one_replica(model: Any) -> None:
    """Refuses a model of a `tf.distribute` strategy with several replicas.

    Raises:
        ValueError: It is one.
    """
    strategy = getattr(model, "distribute_strategy", None)  # of TensorFlow's alone
    if getattr(strategy, "num_replicas_in_sync", 1) > 1:
        kind = type(strategy).__name__
        allowed = "made outside of a tf.distribute strategy (on JAX, keras.distribution works)"
        raise bad_argument("model", allowed, kind)


@contextmanager
def state_in_place(model: Any, arguments: tuple[Any, ...]) -> Generator[None]:
    """Gives the variables, in the block, the values that a step on JAX takes beside the data.

    A fit has them in its state alone. Under a `keras.distribution` a step is made for the devices
    that the variables lie on, and only a value knows these.
    """
    spread = keras.backend.backend() == "jax" and keras.distribution.distribution() is not None
    if not spread or not arguments:
        yield
        return
    parts = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    lent = [
        (variable, value)
        for variables, values in zip(parts, arguments[0], strict=True)
        for variable, value in zip(variables, values, strict=True)
        if variable._value is None  # noqa: SLF001 - as Keras takes them away
    ]
    for variable, value in lent:
        variable._value = value  # noqa: SLF001
    try:
        yield
    finally:
        for variable, _ in lent:
            variable._value = None  # noqa: SLF001


def untraced_function(
    model: Any, wrap: Callable[[TrainFunction], TrainFunction] | None = None
) -> TrainFunction:
    """A new train function of the model, not traced yet; the model keeps the one it has.

    Made of what `wrap` makes of `model.train_step`, if it is given.

    JAX takes functions that compare equal for one function, and gives the second the trace of the
    first: here of `model.train_step`, whose every mention is equal to every other. So the new
    function is made of a step of its own.
    """
    attributes = vars(model)
    before = dict(attributes)
    step = model.train_step if wrap is None else wrap(model.train_step)

    def train_step(*arguments: Any) -> Any:
        return step(*arguments)

    attributes["train_step"] = train_step
    try:
        type(model).make_train_function(model, force=True)
        return model.train_function
    finally:
        for name in ("train_function", "train_step"):
            attributes.pop(name, None)
            if name in before:
                attributes[name] = before[name]


@contextmanager
def without_optimizer(model: Any) -> Generator[None]:
    """In the block the model has nothing that only training needs, and is saved without it."""
    trained_with = model.optimizer, model.compiled
    model.optimizer, model.compiled = None, False
    try:
        yield
    finally:
        model.optimizer, model.compiled = trained_with


def layers_of(model: Any) -> list[Any]:
    """All layers of a model, those inside of others too."""
    return list(model._flatten_layers(include_self=False))  # noqa: SLF001


def trace(function: Callable[[Any], Any]) -> None:
    """Calls a function of a whole number as a compiled step would, and computes nothing."""
    compute_output_spec(function, keras.KerasTensor((), "int32"))


def data_adapter(**arguments: Any) -> Any:
    """Returns the adapter by which Keras reads such arguments of `fit`."""
    return data_adapters.get_data_adapter(**arguments)


def split_rows(arrays: Any, share: float) -> tuple[Any, Any]:
    """Splits arrays as `validation_split` of `fit` does: the last rows are set aside."""
    return array_slicing.train_validation_split(arrays, validation_split=share)


def tensorflow_pipeline(**arrays: Any) -> Any:
    """The `tf.data.Dataset` that `fit` would make of such arguments, to make it only once."""
    import tensorflow as tf

    adapter = data_adapter(**arrays)
    # A pass over data of unknown length ends with a step that fails, and is counted all the same.
    known = tf.data.experimental.assert_cardinality(adapter.num_batches)
    # The thread that tunes sleeps for 10 ms, then twice as long each time; the end of a pass waits
    # until it wakes, as long again as the pass took if that was at the wrong moment.
    untuned = tf.data.Options()
    untuned.autotune.enabled = False
    return adapter.get_tf_dataset().apply(known).with_options(untuned)


def global_seed_generator() -> Any:
    """The generator behind unseeded `keras.random` calls, or None if none was needed yet."""
    return global_state.get_global_attribute(_GLOBAL_SEED_GENERATOR)


def set_global_seed_generator(generator: Any) -> None:
    """Puts a generator (or None) behind unseeded `keras.random` calls."""
    global_state.set_global_attribute(_GLOBAL_SEED_GENERATOR, generator)


class TracedNumber(keras.Variable):
    """A scalar that is known only when the compiled step runs.

    Optimizers ask `if self.momentum != 0` while they are traced, where a tensor has no answer. This
    one is a number that is in use, so it answers that it is not zero. In all else it is its tensor.
    """

    def __init__(self, tensor: Any) -> None:
        # Not `super().__init__`: that would make a variable of the backend, with a copy of a value.
        self._value = tensor
        self._dtype = keras.backend.standardize_dtype(tensor.dtype)
        self._shape, self._ndim = (), 0
        self._name = self._path = "scheduled"
        self._trainable = self._autocast = self._overwrite_with_gradient = False

    def __ne__(self, other: object) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __gt__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


def tensorflow_seeds() -> Any:
    """Returns what `tf.random.set_seed` sets: the seed, and the generator of operations' seeds."""
    from tensorflow.python.eager import context

    eager = context.context()
    return eager, getattr(eager, "_seed", None), getattr(eager, "_rng", None)


def set_tensorflow_seeds(seeds: Any) -> None:
    """Restores what `tensorflow_seeds` gave."""
    eager, seed, generator = seeds
    eager._seed = seed  # noqa: SLF001
    if generator is not None:
        eager._rng = generator  # noqa: SLF001


def end_of_data() -> tuple[type[Exception], ...]:
    """Returns the errors of a train function when the data of an epoch are used up."""
    if keras.backend.backend() != "tensorflow":
        return (StopIteration,)
    import tensorflow as tf

    return (StopIteration, tf.errors.OutOfRangeError)


def innermost(optimizer: Any) -> Any:
    """The optimizer that makes the updates: the one inside a LossScaleOptimizer."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return innermost(optimizer.inner_optimizer)
    several = getattr(keras.optimizers, "MultiOptimizer", ())
    if not isinstance(optimizer, keras.optimizers.Optimizer) or isinstance(optimizer, several):
        raise bad_argument(
            "model.optimizer",
            "a single Keras optimizer (give each part of a MultiOptimizer its own as_schedule)",
            optimizer,
        )
    return optimizer


def attribute_for(optimizer: Any, hyper: str) -> str:
    """The attribute behind "learning_rate", "momentum" or "weight_decay"."""
    if hyper == "learning_rate":
        return RATE
    if hyper == "weight_decay":
        return "weight_decay"  # every Keras optimizer has it, None at first
    return momentum_attribute(optimizer)


def momentum_attribute(optimizer: Any) -> str:
    """`momentum` or `beta_1`, whichever the optimizer has in use."""
    name = type(optimizer).__name__
    # Schedule-free methods recover their average with the beta_1 that it was made with.
    if "ScheduleFree" in name:
        raise bad_argument("momentum", "None for a schedule-free optimizer", name)
    if hasattr(optimizer, "momentum"):
        if not optimizer.momentum:
            raise bad_argument(
                "momentum",
                f"None, or the optimizer made with momentum, as {name}(momentum=0.9): made with 0 "
                "it keeps no velocity that could be scheduled",
                optimizer.momentum,
            )
        return "momentum"
    if hasattr(optimizer, "beta_1"):
        return "beta_1"
    raise bad_argument("momentum", f"None: {name} has neither momentum nor beta_1", name)


def has_momentum(optimizer: Any) -> bool:
    """Says whether `momentum_attribute` would find one that is not 0."""
    try:
        return bool(getattr(optimizer, momentum_attribute(optimizer)))
    except ValueError:
        return False


def check_maybe_schedule(schedule: Any) -> Schedule | None:
    """Returns a schedule, or None for that of the fit."""
    return None if schedule is None else check_schedule("schedule", schedule)


def check_model(model: Any) -> None:
    """Checks that a model can be trained.

    Raises:
        ValueError: It is no Keras model, not compiled, has several optimizers, or several replicas.
    """
    if not isinstance(model, keras.Model):
        raise bad_argument("model", "a Keras model", model)
    if not model.compiled or model.optimizer is None:
        raise bad_argument("model", "compiled: call model.compile(optimizer, loss) first", model)
    check_one_replica(model)
    innermost(model.optimizer)
