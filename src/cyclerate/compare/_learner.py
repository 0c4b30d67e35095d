"""What trains one network for any recipe, in Keras or in PyTorch, and one run by it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._record import ModelInfo, Run
from cyclerate.schedules import Schedule

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

_FINE_EPOCHS = 4

MakeModel = Callable[..., Any]
"""Returns a new model: with its seed as argument, or with none."""

Rows = Callable[[NDArray[np.int_]], tuple[NDArray[Any], NDArray[Any]]]
"""Gives inputs and targets of training rows, by their places."""

Judge = Callable[[], tuple[float, float]]
"""Gives the held-out loss and the held-out metric of the network as it is now."""

Points = list[tuple[int, float, float, float]]
"""Of each evaluation: the steps done, the mean loss of training since the last, what was judged."""


@dataclass(frozen=True)
class Start:
    """What a seed starts from."""

    description: dict[str, Any]  # network, optimizer, loss: texts that every process writes alike
    weights: str  # a hash of the initial ones
    default_lr: float | None  # of the optimizer; None if it is itself scheduled
    versions: dict[str, str]  # of the frameworks that compute
    model: ModelInfo  # the same in words, for people


class Learner(Protocol):
    """Trains one network at a time; the seed decides its weights and all else that is random."""

    def fresh(self) -> Learner:
        """Another one like it that has trained nothing, to be sent to another process."""
        ...

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """Seeds the global generators for a run, and gives them back after it."""
        ...

    def start(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Start:
        """Says what a seed starts from; `x` and `y` are rows to build the network for."""
        ...

    def range_test(
        self, seed: int, x: NDArray[Any], y: NDArray[Any], **options: Any
    ) -> RangeTestResult:
        """Runs a range test on rows, with the network of a seed."""
        ...

    def begin(self, seed: int, schedule: Schedule, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Begins a run: the seed's own weights, a new optimizer, the schedule at step 0.

        Called inside `seeded`. Rows of one batch are given to compile the step with.
        """
        ...

    def fit(
        self, x: NDArray[Any], y: NDArray[Any], after: Callable[[int], None] | None = None
    ) -> float:
        """Trains on rows in the order given, a step for each batch; returns the mean loss.

        `after` is told after a step how many are done; on some backends in another thread.
        """
        ...

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """The outputs for rows, as the network is used: in evaluation mode."""
        ...

    def evaluate(self, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """The loss of rows, as "loss" and first, and the metrics by their names."""
        ...

    def save(self, path: Path) -> None:
        """Saves the network of the run begun last."""
        ...


def call(make_model: MakeModel, seed: int) -> Any:
    """Calls it with the seed if it takes an argument that has no default, or one named `seed`."""
    try:
        parameters = inspect.signature(make_model).parameters.values()
    except (TypeError, ValueError):
        return make_model()
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [p for p in parameters if p.name == "seed" or p.default is p.empty]
    if any(p.name == "seed" for p in wanted):
        return make_model(seed=seed)
    return make_model(seed) if any(p.kind in by_place for p in wanted) else make_model()


def in_words(config: dict[str, Any]) -> str:
    """Writes an optimizer's class and the settings that are not its defaults.

    >>> in_words({"class": "SGD", "settings": {"momentum": 0.9, "nesterov": True}})
    'SGD (momentum 0.9, nesterov)'
    """
    settings = config["settings"].items()
    given = [key if value is True else f"{key} {value}" for key, value in settings]
    return f"{config['class']} ({', '.join(given)})" if given else config["class"]


def spelled(thing: Any) -> str:
    """Writes a loss, a metric or a layer as a text that is the same in every process.

    >>> spelled("mse"), spelled(sum), spelled([None, "mae"])
    ('mse', 'builtins.sum', "['none', 'mae']")
    """
    if thing is None or isinstance(thing, str):
        return thing or "none"
    if isinstance(thing, (list, tuple)):
        return str([spelled(part) for part in thing])
    if isinstance(thing, dict):
        return str({str(key): spelled(part) for key, part in thing.items()})
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if callable(getattr(thing, "get_config", None)):
        return f"{kind}{_config(thing)}"
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    text = repr(thing)
    return kind if " at 0x" in text else text


def _config(thing: Any) -> str:
    try:
        return str(_nameless(thing.get_config()))
    except (NotImplementedError, TypeError, ValueError):
        return ""


def _nameless(value: Any) -> Any:
    """Keras numbers its names within a process: they say nothing about the thing itself."""
    if isinstance(value, dict):
        # Of a layer in a layer: what it was built with holds its name, too.
        kept = {k: v for k, v in value.items() if k not in ("name", "build_config")}
        return {str(key): _nameless(part) for key, part in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_nameless(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else spelled(value)


@dataclass(frozen=True)
class DataOrder:
    """The order of the training rows of a seed: a new permutation every epoch.

    An epoch leaves out the few rows that fill no whole batch, each time others: a batch of another
    size would be compiled again.
    """

    rows_in_all: int
    seed: int
    batch_size: int
    steps_per_epoch: int

    def rows(self, start: int, stop: int) -> NDArray[np.int_]:
        """The rows of steps `start` to `stop` - 1, one batch after another."""
        return np.concatenate(list(self._parts(start, stop)))

    def _parts(self, start: int, stop: int) -> Iterator[NDArray[np.int_]]:
        for epoch in range(start // self.steps_per_epoch, -(-stop // self.steps_per_epoch)):
            first = max(start - epoch * self.steps_per_epoch, 0)
            last = min(stop - epoch * self.steps_per_epoch, self.steps_per_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.rows_in_all)
            yield order[first * self.batch_size : last * self.batch_size]


def evaluation_steps(total_steps: int, steps_per_epoch: int) -> list[int]:
    """Says when a run is judged: after every epoch, and four times in each of the first 4.

    A good policy does in its first epochs what the reference does in all of them, so that is where
    "steps to reach" needs a finer measure.

    >>> evaluation_steps(total_steps=20, steps_per_epoch=4)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20]
    """
    quarters = (steps_per_epoch * part // 4 for part in range(1, 4 * _FINE_EPOCHS))
    whole = range(steps_per_epoch, total_steps, steps_per_epoch)
    return sorted({step for step in quarters if 0 < step < total_steps} | {*whole, total_steps})


def _told(progress: Callable[[Points, int], None], points: Points, start: int, done: int) -> None:
    progress(points, start + done)


def train_run(
    learner: Learner,
    rows: Rows,
    order: DataOrder,
    judge: Judge,
    *,
    policy: str,
    schedule: Schedule,
    total_steps: int,
    fold: int = 0,
    progress: Callable[[Points, int], None] = lambda _points, _step: None,
) -> Run:
    """Trains one run; a loss that is not finite ends it early, as diverged.

    Args:
        learner: Trains the network; afterwards it holds the trained one.
        rows: Gives the training rows.
        order: Their order, and the seed.
        judge: Measures the network on the held-out rows.
        policy: The policy's name.
        schedule: The rate of every step.
        total_steps: Optimizer steps.
        fold: The number of the fold.
        progress: Called with the points so far and the steps, after each step.

    Returns:
        The curves, and the seconds that the training itself took.
    """
    curves: Points = []
    seconds = 0.0
    points = [0, *evaluation_steps(total_steps, order.steps_per_epoch)]
    with learner.seeded(order.seed):
        learner.begin(order.seed, schedule, *rows(order.rows(0, 1)))
        for start, stop in pairwise(points):
            x, y = rows(order.rows(start, stop))
            began = time.perf_counter()
            train_loss = learner.fit(x, y, partial(_told, progress, curves, start))
            seconds += time.perf_counter() - began
            loss, score = judge()
            curves.append((stop, train_loss, loss, score))
            progress(curves, stop)
            if not np.isfinite([train_loss, loss]).all():
                break
    steps, train_losses, losses, scores = zip(*curves, strict=True)
    diverged = not np.isfinite([train_losses[-1], losses[-1]]).all()
    return Run(
        policy, order.seed, steps, train_losses, losses, scores, seconds, bool(diverged), fold
    )
