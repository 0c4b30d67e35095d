"""The contract between the finder, which decides, and an adapter, which trains.

The finder says which run comes next: steps at given rates, each run from the same start. A
`Trainee` takes the steps, on batches that do not end (`Passes`). Whoever brings a framework of
their own writes a `Trainee`; nothing else.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_number
from cyclerate._plain import digest
from cyclerate.finder._prior import Prior

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

    def __init__(self, lrs: Iterable[float], over: str) -> None:
        if not isinstance(lrs, Iterable):
            raise bad_argument("lrs", "a list of rates", lrs)
        # Eight bytes a rate, where a tuple of floats takes 32.
        floats = isinstance(lrs, np.ndarray) and lrs.dtype == np.float64 and lrs.ndim == 1
        known = floats and bool(np.isfinite(cast(Any, lrs)).all())
        self._rates = array("d", lrs if known else map(partial(check_number, "lrs"), lrs))
        self.index = 0
        """How many values have been told: the number of the step to come, counted from 0."""
        self.watcher: Callable[[Run, float], None] | None = None
        """Called with the run and each value told."""
        self._over = over

    @property
    def lrs(self) -> tuple[float, ...]:
        """The rate of each step; a new tuple each time."""
        return tuple(self._rates)

    @property
    def planned_steps(self) -> int:
        """How many steps there are, if it does not end early."""
        return len(self._rates)

    def lrs_from(self, start: int, steps: int = 1) -> Sequence[float]:
        """Returns the rates of the steps from one on, at most so many."""
        return self._rates[start : start + steps]

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
        return self._rates[self.index]

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

    def clock(self) -> float:
        """Seconds, by a clock that all processes share which train together, to decide the same.

        Default: `time.perf_counter`.
        """
        return time.perf_counter()

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

    def prior(self, total_steps: int, *, fine_tuned: bool = False) -> Prior | None:  # noqa: B027
        """Returns the rate to expect of 1cycle, before any step; see `prior_lr`.

        Default: None, nothing is known.

        Args:
            total_steps: Length of the training to come.
            fine_tuned: Whether the weights were trained before.
        """

    def provenance(self) -> dict[str, Any]:
        """Returns what a result shall say of its origin: `backend`, `device`, `data` as texts.

        And `versions`, texts by names. Default: nothing.
        """
        return {}

    @abstractmethod
    def score(self, seed: int) -> Any:
        """Evaluates the metric as the last run left the model, in evaluation mode.

        Args:
            seed: Draws the sample: the same for all runs of a repeat.
        """


class FunctionTrainee(Trainee):
    """Makes a trainee of three functions, for whoever has no class.

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


def one_number(value: Any, name: str = "value") -> float:
    """Returns what a framework gives for a loss as a float.

    Raises:
        ValueError: It is not a single number.
    """
    allowed = "a single number"
    if isinstance(value, (str, bytes)):
        raise bad_argument(name, allowed, value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_argument(name, allowed, value) from error


_FINGERPRINT_ROWS, _FINGERPRINT_VALUES = 4, 4096


def fingerprint(arrays: Iterable[Any], values: Callable[[Any], Any] = np.asarray) -> str:
    """Returns a text by which data can be told apart: shapes, and a hash of the first values.

    Args:
        arrays: Of whose rows the first are looked at.
        values: Gives an array of NumPy for rows of one of them.

    >>> import numpy as np
    >>> fingerprint([np.zeros((8, 2)), np.arange(8.0)])
    '(8, 2), (8,): c337adc4'
    """
    known = [*arrays]
    first = [values(a[:_FINGERPRINT_ROWS]).ravel()[:_FINGERPRINT_VALUES] for a in known]
    return f"{', '.join(str(tuple(a.shape)) for a in known)}: {digest(first)[:8]}"


def described(data: Any) -> str:
    """Returns the same of data that are no arrays: their kind, and how many batches they have."""
    count = length_of(data)
    return type(data).__name__ + ("" if count is None else f" of {count} batches")


BeginPass = Callable[[int | None], Iterator[Any]]
"""Begins a pass over the data; an order of its own is drawn by the seed, if it has one.

Without a seed from the process's own generator."""


def length_of(batches: Any) -> int | None:
    """Returns how many there are, or None where they do not say.

    >>> length_of([1, 2]), length_of(iter([1, 2]))
    (2, None)
    """
    try:
        return len(batches)
    except TypeError:
        return None


class Passes:
    """Batches without end: when the data are used up, they are gone through again.

    Every run of a repeat begins at the same batch: data that are drawn have an order for each
    repeat, others go on where the repeat before stopped.

    Args:
        begin: Begins a pass over the data.
        drawn: Whether each repeat draws an order.
        rows: How many rows there are, where a pass has no end.
        rows_in: Counts the rows of a batch.
        a_batch: What there must be, for the error where a pass has nothing.

    >>> passes = Passes(lambda seed: iter("abc"), drawn=False, rows_in=len, a_batch="a letter")
    >>> passes.begin_repeat()
    >>> first = [next(passes) for _ in range(4)]
    >>> passes.rewind()
    >>> first, next(passes)
    (['a', 'b', 'c', 'a'], 'a')
    >>> passes.begin_repeat()
    >>> passes.rewind()
    >>> next(passes)
    'b'
    """

    def __init__(
        self,
        begin: BeginPass,
        *,
        drawn: bool,
        rows: int | None = None,
        rows_in: Callable[[Any], int],
        a_batch: str,
    ) -> None:
        self._begin, self._drawn, self._rows = begin, drawn, rows
        self._rows_in, self._a_batch = rows_in, a_batch
        self._seed: int | None = None
        self._stream = self._passes()
        self._place = 0  # where the present repeat began, counted from the beginning of a pass
        self._taken = self._most_taken = 0  # in the present run, and in the longest of the repeat
        self._pass_length: int | None = None

    def __next__(self) -> Any:
        self._taken += 1
        return next(self._stream)

    def begin_repeat(self, seed: int | None = None) -> None:
        """Draws another order, if there is one to draw; otherwise notes the place in the data."""
        if self._drawn:
            self._seed = seed
            self.rewind()
            return
        self._place += max(self._taken, self._most_taken)
        if self._pass_length is not None:
            self._place %= self._pass_length
        self._taken = self._most_taken = 0

    def rewind(self) -> None:
        """Begins a pass again, at the place where the present repeat began."""
        self.close()
        self._most_taken = max(self._taken, self._most_taken)
        self._taken = 0
        self._stream = self._passes(skipped=self._place)

    def sample(self, rows: int, seed: int | None = None) -> list[Any]:
        """Returns the first batches of a pass of its own that have together so many rows.

        Raises:
            ValueError: There is no batch.
        """
        wanted = rows if self._rows is None else min(rows, self._rows)
        taken: list[Any] = []
        count = 0
        for batch in self._begin(seed):
            taken.append(batch)
            count += self._rows_in(batch)
            if count >= wanted:
                break
        if not taken:
            raise self._nothing_in(1)
        return taken

    def close(self) -> None:
        """Ends the pass that is under way."""
        self._stream.close()

    def _passes(self, skipped: int = 0) -> Generator[Any]:
        for number in itertools.count(1):
            length = 0
            for batch in self._begin(self._seed):
                length += 1
                if number > 1 or length > skipped:
                    yield batch
            if not length:
                raise self._nothing_in(number)
            self._pass_length = length

    def _nothing_in(self, number: int) -> ValueError:
        return bad_argument("data", self._a_batch, f"none in pass {number}")
