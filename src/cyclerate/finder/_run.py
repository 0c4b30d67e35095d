"""The contract between the finder, which decides, and an adapter, which trains.

The finder says which run comes next: steps at given rates, each run from the same start. A
`Trainee` takes the steps. Whoever brings a framework of their own writes a `Trainee`; nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from cyclerate._errors import CyclerateError, bad_argument

SCORE_ROWS = 512
"""Rows of the fixed sample on which a run is scored, where the data have as many."""


class Run(ABC):
    """Steps at given rates: `lr` is the rate of the next step, `tell` takes what that step gave.

    Args:
        lrs: The rate of each step.
        over: The error's text where a run that is over is told a value.

    >>> from cyclerate.finder import RangeTest, Sweep
    >>> run = RangeTest(Sweep(0.1, 1.0, steps=10))
    >>> isinstance(run, Run), run.lr, run.tell(2.0), run.index, run.done
    (True, 0.1, True, 1, False)
    """

    def __init__(self, lrs: Sequence[float], over: str) -> None:
        self.lrs: tuple[float, ...] = tuple(map(float, lrs))
        """The rate of each step."""
        self.index = 0
        """How many values have been told: the number of the step to come, counted from 0."""
        self.watcher: Callable[[Run, float], None] | None = None
        """Called with the run and each value told."""
        self._over = over

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the run is over."""

    @property
    def lr(self) -> float:
        """The rate to use for the next optimizer step.

        Raises:
            CyclerateError: The run is over.
        """
        if self.done:
            raise CyclerateError(self._over)
        return self.lrs[self.index]

    def tell(self, value: Any) -> bool:
        """Takes the value that a step at `lr` caused.

        Args:
            value: A number, or an array or tensor that holds one. NaN and infinity end the run.

        Returns:
            Whether to go on.

        Raises:
            ValueError: `value` is not a single number.
            CyclerateError: The run is over.
        """
        if self.done:
            raise CyclerateError(self._over)
        number = one_number(value)
        self.index += 1
        self._take(number)
        if self.watcher is not None:
            self.watcher(self, number)
        return not self.done

    @abstractmethod
    def _take(self, number: float) -> None:
        """Takes a value; `index` counts it already."""


class Trainee(ABC):
    """A model with its optimizer and data, which the finder trains for a while.

    The finder enters `lent` once. For each run it calls `restore`, then `train`, then `score` where
    the run wants one. Seeds, repeats, budgets and progress are the finder's.

    >>> from cyclerate.finder import RangeTestSettings, Sweep, range_test
    >>> class Bowl(Trainee):
    ...     def restore(self, seed):
    ...         self.weights = [1.0, 1.0]
    ...     def step(self, lr):
    ...         self.weights = [w - lr * c * w for w, c in zip(self.weights, [1.0, 20.0])]
    ...         return self.score(0)
    ...     def score(self, seed):
    ...         return self.weights[0] ** 2 + 20 * self.weights[1] ** 2
    >>> result = range_test(Bowl(), RangeTestSettings(horizon_steps=500))
    >>> 0.01 < result.max_lr < 0.1, result.steps <= 400
    (True, True)
    """

    def lent(self) -> AbstractContextManager[Any]:
        """Lends model, optimizer and data, and gives everything back as it was at its end.

        Also after an exception and after Ctrl-C. Default: there is nothing to give back.
        """
        return nullcontext()

    @abstractmethod
    def restore(self, seed: int) -> None:
        """Puts weights, optimizer and random states back to the start of every run.

        Args:
            seed: That of the repeat. The batches of a run are the same whenever it is the same;
                another one than last time begins another repeat.
        """

    def train(self, run: Run) -> None:
        """Takes the steps of a run and tells it what each gave, until it is done.

        Steps that were taken before the run was told that it should have ended do not count.
        Default: one `step` after the other.
        """
        while not run.done:
            run.tell(self.step(run.lr))

    def step(self, lr: float) -> Any:
        """Takes one optimizer step at a rate, on the next batch, and returns its metric.

        Not called where `train` is overridden.
        """
        raise NotImplementedError

    @abstractmethod
    def score(self, seed: int) -> Any:
        """Evaluates the metric as the last run left the model, in evaluation mode.

        Args:
            seed: Draws the sample: the same for all runs of a repeat.
        """


class FunctionTrainee(Trainee):
    """A trainee of three functions, for whoever has no class.

    Args:
        restore: Puts weights, optimizer, random state and batches back to the start.
        step: Takes one step at a rate, on the next batch, and returns its metric.
        score: Evaluates the metric on a fixed sample, in evaluation mode.

    >>> from cyclerate.finder import range_test
    >>> weights = [1.0, 1.0]
    >>> def restore():
    ...     weights[:] = [1.0, 1.0]
    >>> def step(lr):
    ...     weights[:] = [w - lr * c * w for w, c in zip(weights, [1.0, 20.0])]
    ...     return score()
    >>> def score():
    ...     return weights[0] ** 2 + 20 * weights[1] ** 2
    >>> 0.01 < range_test(FunctionTrainee(restore, step, score)).max_lr < 0.1
    True
    """

    def __init__(
        self,
        restore: Callable[[], object],
        step: Callable[[float], Any],
        score: Callable[[], Any],
    ) -> None:
        self._restore, self._step, self._score = restore, step, score

    def restore(self, seed: int) -> None:
        self._restore()

    def step(self, lr: float) -> Any:
        return self._step(lr)

    def score(self, seed: int) -> Any:
        return self._score()


def one_number(value: Any) -> float:
    """Returns what a framework gives for a loss as a float.

    Raises:
        ValueError: It is not a single number.
    """
    allowed = "a single number"
    if isinstance(value, (str, bytes)):
        raise bad_argument("value", allowed, value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise bad_argument("value", allowed, value) from error
