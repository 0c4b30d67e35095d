"""Range tests as callbacks of a fit, by their older names, and what callbacks of batches share.

With them Géron's 1cycle, whose rates follow from such a test.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras

from cyclerate._errors import (
    CyclerateError,
    bad_argument,
    check_count,
    check_flag,
    check_number,
    check_rate,
    require,
)
from cyclerate._plain import Columns
from cyclerate.finder import RangeTest, RangeTestResult, Sweep
from cyclerate.finder._sweep import MIN_STEPS, STEPS_LIMIT
from cyclerate.keras._clock import loss_in
from cyclerate.keras._finder import range_test
from cyclerate.keras._internals import end_of_data, innermost, rate_of
from cyclerate.keras._state import Snapshot
from cyclerate.keras._step import StepFunction, build_from_iterator, step_function
from cyclerate.keras._train_function import remove, take_over

if TYPE_CHECKING:
    from matplotlib.axes import Axes


from cyclerate.keras._schedule import ScheduleCallback
from cyclerate.schedules import Linear, Schedule, Sequence
from cyclerate.schedules._base import check_steps


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
        self.take(loss_in(logs), logs or {})

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


def show(result: RangeTestResult) -> None:
    """Prints the result and draws its curve, in a window or a notebook where there is one.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    pyplot = require("matplotlib.pyplot", "plot")
    print(result)  # noqa: T201 - the purpose of this function
    result.plot()
    if pyplot.get_backend().lower() != "agg":  # which has nowhere to show it
        pyplot.show()


class LRFinder(StepwiseCallback):
    """A range test in the fit that it is a callback of: the `LRFinder` of Keras gists, put right.

    Raises the rate from `min_lr` to `max_lr` over all batches of all epochs of the fit, records
    each batch's own loss, stops where training diverges, and then gives the model back as it was,
    draws the curve and prints which rate to use. Arguments and attributes are those of the callback
    after F. Wittmann that articles on Keras use.

    The original loaded the first weights again at every rate; this one trains on.
    `cyclerate.keras.range_test` does the same without a fit, and can race rates against each other.

    Args:
        min_lr: The first rate, above 0.
        max_lr: The last rate.
        mom: Smoothing of `losses`: `losses[i] = mom * losses[i - 1] + (1 - mom) * loss`. Default
            0.9. The suggestion does not depend on it.
        stop_multiplier: Stop where `losses` exceed this many times their lowest (if that is above
            0). Default None: where the range test's own rule says so.
        reload_weights: Whether to give back the model. Default True; False leaves it as the sweep
            left it.
        batches_lr_update: Batches at each rate. Default 1 (the original: 5).
        steps_per_epoch: Batches of an epoch, where the fit does not know.
        show: Whether to draw and print when done. Default True.

    Attributes:
        learning_rates: The rates tried.
        losses: The smoothed loss at each of them.
        result: The `RangeTestResult`, with raw losses, bounds, interval and reason.

    Raises:
        ValueError: An argument is not as described; when the fit begins, a number of batches that
            is not known or below 10 rates, or an optimizer whose rate is a schedule.
        MissingExtra: `show` without matplotlib.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> x = np.random.default_rng(0).normal(size=(400, 4))
    >>> finder = LRFinder(min_lr=1e-4, max_lr=10.0, show=False)
    >>> _ = model.fit(x, x.sum(axis=1), batch_size=20, epochs=4, callbacks=[finder], verbose=0)
    >>> 0.01 < finder.result.max_lr < 1.0
    True
    """

    def __init__(
        self,
        min_lr: float,
        max_lr: float,
        mom: float = 0.9,
        stop_multiplier: float | None = None,
        reload_weights: bool = True,
        batches_lr_update: int = 1,
        *,
        steps_per_epoch: int | None = None,
        show: bool = True,
    ) -> None:
        super().__init__(gives_back=check_flag("reload_weights", reload_weights))
        self.min_lr = check_rate("min_lr", min_lr)
        self.max_lr = check_rate("max_lr", max_lr, low=self.min_lr)
        self.mom = check_number("mom", mom, low=0, high=1, high_open=True)
        if stop_multiplier is not None:
            check_number("stop_multiplier", stop_multiplier, low=1, low_open=True)
        self.stop_multiplier = stop_multiplier
        self.batches_lr_update = check_count("batches_lr_update", batches_lr_update)
        if steps_per_epoch is not None:
            check_count("steps_per_epoch", steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        self.show = check_flag("show", show)
        if self.show:
            require("matplotlib.pyplot", "plot")
        self._told, self._lowest = Columns("learning_rates", "losses"), math.inf
        self._test: RangeTest | None = None
        self._at_this_rate: list[float] = []

    @property
    def learning_rates(self) -> list[float]:
        """The rates tried; a new list each time."""
        return self._told.lists()["learning_rates"]

    @property
    def losses(self) -> list[float]:
        """The smoothed loss at each of them."""
        return self._told.lists()["losses"]

    @property
    def result(self) -> RangeTestResult:
        """The result of the latest fit.

        Raises:
            CyclerateError: There was none.
        """
        return self._running.result()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the curve of the latest fit."""
        return self.result.plot(ax)

    def on_train_begin(self, logs: Any = None) -> None:
        batches = self.params.get("steps") or self.steps_per_epoch
        if batches is None:
            allowed = "given where the fit does not know how many batches it has"
            raise bad_argument("steps_per_epoch", allowed, None)
        rates = self.params["epochs"] * batches // self.batches_lr_update
        sweep = Sweep(self.min_lr, self.max_lr, steps=rates)
        super().on_train_begin(logs)
        self._test = RangeTest(sweep, stop_early=self.stop_multiplier is None)
        self._told, self._lowest = Columns("learning_rates", "losses"), math.inf
        self._at_this_rate = []

    def next_rate(self) -> float:
        return self._running.lr

    def take(self, loss: float, logs: dict[str, Any]) -> None:
        test = self._running
        self._at_this_rate.append(loss)
        if test.done or len(self._at_this_rate) < self.batches_lr_update:
            return
        mean = math.fsum(self._at_this_rate) / len(self._at_this_rate)
        self._at_this_rate = []
        before = self._told.last("losses") if len(self._told) else mean
        smoothed = self.mom * before + (1 - self.mom) * mean
        self._told.add(learning_rates=test.lr, losses=smoothed)
        self._lowest = min(self._lowest, smoothed)
        going_on = test.tell(mean)
        if not going_on or self._is_far_above_the_lowest(smoothed):
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        super().on_train_end(logs)
        if self.show:
            show(self.result)

    @property
    def _running(self) -> RangeTest:
        if self._test is None:
            raise CyclerateError("this LRFinder was not in a fit yet")
        return self._test

    def _is_far_above_the_lowest(self, smoothed: float) -> bool:
        most, lowest = self.stop_multiplier, self._lowest
        return most is not None and lowest > 0 and smoothed > most * lowest


def lr_find(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_it: int = 100,
    stop_div: bool = True,
    show_plot: bool = True,
    **options: Any,
) -> RangeTestResult:
    """Draws a single sweep and prints its answer, in the words of fastai's `learn.lr_find()`.

    The same as `range_test(model, x, y, method="range", steps=num_it, stop_early=stop_div)`.
    fastai's suggestions are `result.suggest("valley")`, "slide", "steepest" and "minimum".

    Args:
        model: A compiled Keras model; it comes back as it was.
        x: As in `fit`.
        y: As in `fit`.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        num_it: How many rates, one step each. Default 100.
        stop_div: Whether to stop where training diverges. Default True.
        show_plot: Whether to draw the curve and print the result. Default True.
        **options: More options of `range_test`, as `batch_size` or `repeats`.

    Returns:
        The result.

    Raises:
        ValueError: As `range_test`.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> found = lr_find(model, x, x.sum(axis=1), num_it=60, batch_size=16, show_plot=False)
    >>> 0.01 < found.max_lr < 1.0
    True
    """
    check_flag("show_plot", show_plot)
    check_flag("stop_div", stop_div)
    check_count("num_it", num_it, low=MIN_STEPS, below=STEPS_LIMIT)
    rates = {"start_lr": start_lr, "end_lr": end_lr, "steps": num_it, "stop_early": stop_div}
    found = range_test(model, x, y, method="range", **rates, **options)
    if show_plot:
        show(found)
    return found


class OneCycleScheduler(ScheduleCallback):
    """1cycle in straight lines: the `OneCycleScheduler` of "Hands-On Machine Learning" (Géron).

    With `half = (iterations - last_iterations) // 2`, the rate goes from `start_rate` to `max_rate`
    in `half` steps, back to `start_rate` in `half` more, and to `last_rate` in the rest.

    A `ScheduleCallback`, so computed inside the compiled step on all backends, with its `history`.
    It goes on counting in a further fit, as the original does. Beyond `iterations` the original
    went on along its last line, below 0; this one holds `last_rate`.

    Args:
        iterations: Steps of the whole cycle: the batches of all epochs.
        max_rate: The peak.
        start_rate: Where it begins. Default: a tenth of `max_rate`.
        last_iterations: Steps of the last phase. Default: `iterations // 10 + 1`.
        last_rate: Where it ends. Default: a thousandth of `start_rate`.

    Raises:
        ValueError: A rate below 0 or a length below 1; `last_iterations` above `iterations`.

    Source: the interface of Géron, Hands-On Machine Learning, 2nd edition, chapter 11; Smith 2018,
    arXiv 1803.09820.

    >>> cycle = OneCycleScheduler(iterations=12, max_rate=1.0)
    >>> rate = cycle.schedules["learning_rate"]
    >>> [round(rate(step), 4) for step in (0, 5, 10, 12)]
    [0.1, 1.0, 0.1, 0.0001]
    """

    def __init__(
        self,
        iterations: int,
        max_rate: float,
        start_rate: float | None = None,
        last_iterations: int | None = None,
        last_rate: float | None = None,
    ) -> None:
        self.iterations = check_steps("iterations", iterations)
        self.max_rate = check_rate("max_rate", max_rate, low_open=False)
        # `or`, as the original: a rate or a length of 0 asks for the default.
        given = 0 if start_rate is None else check_rate("start_rate", start_rate, low_open=False)
        self.start_rate = given or self.max_rate / 10
        last = last_iterations
        last = 0 if last is None else check_count("last_iterations", last, low=0)
        self.last_iterations = last or self.iterations // 10 + 1
        check_number("last_iterations", self.last_iterations, high=self.iterations)
        self.half_iteration = (self.iterations - self.last_iterations) // 2
        given = 0 if last_rate is None else check_rate("last_rate", last_rate, low_open=False)
        self.last_rate = given or self.start_rate / 1000
        super().__init__(lr=self._policy())

    @property
    def iteration(self) -> int:
        """Steps made; up to date at the end of an epoch."""
        return self.next_step

    def _policy(self) -> Schedule:
        half = self.half_iteration
        last = Linear(self.start_rate, self.last_rate, self.iterations - 2 * half)
        if half == 0:
            return last
        up = Linear(self.start_rate, self.max_rate, half)
        down = Linear(self.max_rate, self.start_rate, half)
        return Sequence((up, down, last), (half, 2 * half))


class ExponentialLearningRate(StepwiseCallback):
    """Multiplies the rate by a factor after every batch: after "Hands-On Machine Learning" (Géron).

    Batch n of the fit uses `lr * factor ** n`, `lr` being the optimizer's rate when the fit begins.
    As the original it gives nothing back, and goes on to infinity if the fit does:
    `cyclerate.keras.range_test` looks after both. Its losses are each batch's own.

    Args:
        factor: What the rate is multiplied by, above 0.

    Attributes:
        rates: The rate of each batch.
        losses: Its loss.

    Raises:
        ValueError: `factor` is not a number above 0; when the fit begins, an optimizer whose rate
            is a schedule.

    Source: the interface of Géron, Hands-On Machine Learning, 2nd edition, chapter 11.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(0.5), "mse")
    >>> grow = ExponentialLearningRate(factor=2.0)
    >>> x, y = np.ones((6, 2)), np.ones((6, 1))
    >>> _ = model.fit(x, y, batch_size=2, callbacks=[grow], verbose=0)
    >>> grow.rates, len(grow.losses)
    ([0.5, 1.0, 2.0], 3)
    """

    def __init__(self, factor: float) -> None:
        super().__init__(gives_back=False)
        self.factor = check_number("factor", factor, low=0, low_open=True)
        self._told = Columns("rates", "losses")
        self._rate = 0.0

    @property
    def rates(self) -> list[float]:
        """The rate of each batch so far; a new list each time."""
        return self._told.lists()["rates"]

    @property
    def losses(self) -> list[float]:
        """Its loss."""
        return self._told.lists()["losses"]

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._rate = float(innermost(self.model.optimizer).learning_rate)

    def next_rate(self) -> float:
        return self._rate

    def take(self, loss: float, logs: dict[str, Any]) -> None:
        self._told.add(rates=self._rate, losses=loss)
        self._rate *= self.factor
