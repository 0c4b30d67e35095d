"""What a range test does from beginning to end, as runs that an adapter drives.

A procedure says which run is next. Each run starts from the same weights, optimizer state, random
state and batches; the adapter trains its steps, and ends it with a score where one is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cyclerate._errors import CyclerateError, bad_argument, check_choice, check_count
from cyclerate.finder._probe import LEAST_RACING_STEPS, POLICIES, Probe
from cyclerate.finder._result import RangeTestResult
from cyclerate.finder._settings import Sweep
from cyclerate.finder._sweep import RangeTest
from cyclerate.range_test.race import Race

METHODS = ("probe", "range")
DEFAULT_MAX_STEPS = 400
_USUAL_RACING_STEPS = 300

SCORE_ROWS = 512
"""Rows of the fixed sample on which a run is scored, where the data have as many."""


_SAMPLE_SEEDS_FROM, _SAMPLE_SEEDS_BELOW = 2**30, 2**31


def sample_seed(seed: int) -> int:
    """Returns the seed by which that sample is drawn: another one than its runs have.

    >>> sample_seed(0), sample_seed(2**30 + 1)
    (1073741824, 1)
    """
    return (seed + _SAMPLE_SEEDS_FROM) % _SAMPLE_SEEDS_BELOW


def given_seed(seed: Any) -> int:
    """Returns the seed of a range test: 0 where none was given.

    Raises:
        ValueError: It is not a whole number of at least 0.

    >>> given_seed(None), given_seed(7)
    (0, 7)
    """
    return 0 if seed is None else check_count("seed", seed, low=0)


class Procedure(Protocol):
    """A `Probe`, or a single sweep."""

    @property
    def run(self) -> RangeTest | Race | None:
        """What to do next; None when there is nothing more to do."""
        ...

    @property
    def wants_score(self) -> bool:
        """Whether the present run ends with a score; otherwise it may be None."""
        ...

    def tell(self, score: Any) -> None:
        """Ends the present run."""
        ...

    def result(self, *, seconds: float | None = None) -> RangeTestResult:
        """Reads what the runs told so far."""
        ...


class SingleSweep:
    """The procedure of one run: the sweep itself."""

    wants_score = False

    def __init__(self, test: RangeTest) -> None:
        self._test = test
        self._over = False

    @property
    def run(self) -> RangeTest | None:
        """The sweep; None when it is over."""
        return None if self._over else self._test

    def tell(self, score: Any = None) -> None:
        """Ends the sweep.

        Raises:
            CyclerateError: It is not over yet.
        """
        if not self._test.done:
            raise CyclerateError("this sweep is not over")
        self._over = True

    def result(self, *, seconds: float | None = None) -> RangeTestResult:
        """Reads the curve told so far."""
        return self._test.result(seconds=seconds)


def conduct(
    procedure: Procedure,
    *,
    restore: Callable[[], None],
    train: Callable[[RangeTest | Race], None],
    score: Callable[[], Any],
) -> None:
    """Does everything, run by run; for who trains several steps before their losses are told.

    Args:
        procedure: What to do.
        restore: Puts weights, optimizer, random state and batches back to the start.
        train: Trains the steps of a run, and tells it what they gave, until it is done.
        score: Evaluates the metric on a fixed sample, in evaluation mode.
    """
    while (run := procedure.run) is not None:
        restore()
        train(run)
        procedure.tell(score() if procedure.wants_score else None)


def drive(
    procedure: Procedure,
    *,
    restore: Callable[[], None],
    step: Callable[[float], Any],
    score: Callable[[], Any],
) -> None:
    """Does everything, step by step, with the three things that only a framework can do.

    Args:
        procedure: What to do.
        restore: Puts weights, optimizer, random state and batches back to the start.
        step: Trains one step at a rate, on the next batch, and returns its metric.
        score: Evaluates the metric on a fixed sample, in evaluation mode.
    """

    def train(run: RangeTest | Race) -> None:
        while not run.done:
            run.tell(step(run.lr))

    conduct(procedure, restore=restore, train=train, score=score)


class RangeTestPlan:
    """The arguments of a range test that no framework needs to know, checked.

    Args:
        sweep: The rates of the sweep.
        method: "probe", a sweep and the races after it; or "range", the sweep alone.
        policy: What the rate is for: "one_cycle", "constant" or "triangular". The sweep alone has
            no use for it.
        horizon_steps: Optimizer steps of the training to come, or None. The same.
        max_steps: Most optimizer steps in all, the sweep included. Default None: 400, or 300 more
            than the sweep, whichever is more. The same.
        metric: Name of what is told.
        mode: "min" if lower values of it are better, "max" if higher ones are.
        stop_early: Whether the sweep stops when the metric diverges.

    Raises:
        ValueError: An argument is not as described.

    >>> RangeTestPlan(Sweep(steps=50), method="range").new().run.index
    0
    >>> RangeTestPlan(Sweep(steps=50), max_steps=60)
    Traceback (most recent call last):
        ...
    ValueError: max_steps must be at least 80 with this sweep. Received: 60
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        method: str = "probe",
        policy: str = "one_cycle",
        horizon_steps: int | None = None,
        max_steps: int | None = None,
        metric: str = "loss",
        mode: str = "min",
        stop_early: bool = True,
    ) -> None:
        self.sweep = sweep
        self.method = check_choice("method", method, METHODS)
        self._races: dict[str, Any] = {
            "policy": check_choice("policy", policy, POLICIES),
            "horizon_steps": _count_or_none("horizon_steps", horizon_steps),
            "max_steps": _count_or_none("max_steps", max_steps)
            or max(DEFAULT_MAX_STEPS, sweep.steps + _USUAL_RACING_STEPS),
        }
        least = sweep.steps + LEAST_RACING_STEPS
        if method == "probe" and self._races["max_steps"] < least:
            raise bad_argument("max_steps", f"at least {least} with this sweep", max_steps)
        check_choice("stop_early", stop_early, (True, False))
        self._told: dict[str, Any] = {"metric": metric, "mode": mode, "stop_early": stop_early}

    def new(self) -> Procedure:
        """Returns a procedure that has not begun; one for each repeat."""
        if self.method == "range":
            return SingleSweep(RangeTest(self.sweep, **self._told))
        return Probe(self.sweep, **self._races, **self._told)


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else check_count(name, value)
