"""What a tracker of experiments is told, where one is active: nothing of it is imported for that.

A range test tells what it found, its curve and its picture, under "range_test"; a training that is
run here tells rate, momentum and loss of every step under "training"; a cycle that finds its own
top tells that under "cycle". A callback inside of another framework's training leaves the values of
the steps to that framework's own loggers.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from cyclerate._errors import MissingExtra, bad_argument, require
from cyclerate._files import PROGRESS, Progress, built, check_path, without_schema
from cyclerate._svg import MOST_POINTS, thinned

Values = Mapping[str, float | str]
SCHEMA = 1  # of the file that a folder has
_BATCH = 1000  # values that MLflow takes at once


class Tracker(ABC):
    """Where values are logged; a subclass of your own, given to `tracking`, may be any place.

    >>> class Lines(Tracker):
    ...     def steps(self, group, columns, first_step):
    ...         print(group, first_step, columns)
    ...     def found(self, group, values, curve, picture):
    ...         print(group, values)
    >>> with tracking(Lines()):
    ...     tell_found("cycle", {"max_lr": 0.1})
    cycle {'max_lr': 0.1}
    """

    @abstractmethod
    def steps(self, group: str, columns: Mapping[str, Sequence[float]], first_step: int) -> None:
        """Takes values of steps that follow each other.

        Args:
            group: What the names are to begin with, and a slash.
            columns: One value for each step, by name.
            first_step: The step of the first of them.
        """

    @abstractmethod
    def found(
        self,
        group: str,
        values: Values,
        curve: Mapping[str, Sequence[float]],
        picture: Callable[[], Any],
    ) -> None:
        """Takes an answer.

        Args:
            group: As in `steps`.
            values: Numbers and texts by name.
            curve: Columns of what it was read from; may be empty.
            picture: Gives a figure of matplotlib, or None.
        """


class _TensorBoard(Tracker):
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def steps(self, group: str, columns: Mapping[str, Sequence[float]], first_step: int) -> None:
        for name, values in columns.items():
            for step, value in enumerate(values, first_step):
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def found(
        self,
        group: str,
        values: Values,
        curve: Mapping[str, Sequence[float]],
        picture: Callable[[], Any],
    ) -> None:
        self.steps(group, curve, 0)
        for name, value in values.items():
            add = self._writer.add_text if isinstance(value, str) else self._writer.add_scalar
            add(f"{group}/{name}", value, 0)
        if (figure := picture()) is not None:
            self._writer.add_figure(f"{group}/picture", figure, 0, close=False)


class _MLflow(Tracker):
    def __init__(self, mlflow: Any, run: str) -> None:
        self._mlflow, self._client, self._run = mlflow, mlflow.MlflowClient(), run

    def steps(self, group: str, columns: Mapping[str, Sequence[float]], first_step: int) -> None:
        now = int(1000 * time.time())
        metric = self._mlflow.entities.Metric
        told = [
            metric(f"{group}/{name}", float(value), now, step)
            for name, values in columns.items()
            for step, value in enumerate(values, first_step)
        ]
        for start in range(0, len(told), _BATCH):
            self._client.log_batch(self._run, metrics=told[start : start + _BATCH])

    def found(
        self,
        group: str,
        values: Values,
        curve: Mapping[str, Sequence[float]],
        picture: Callable[[], Any],
    ) -> None:
        self.steps(group, curve, 0)
        for name, value in values.items():
            if isinstance(value, str):
                self._client.set_tag(self._run, f"{group}.{name}", value)
            else:
                self._client.log_metric(self._run, f"{group}/{name}", value)
        if (figure := picture()) is not None:
            self._client.log_figure(self._run, figure, f"{group}.png")


class _WeightsAndBiases(Tracker):
    def __init__(self, wandb: Any, run: Any) -> None:
        self._wandb, self._run = wandb, run

    def steps(self, group: str, columns: Mapping[str, Sequence[float]], first_step: int) -> None:
        names = list(columns)
        self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
        for step, row in enumerate(zip(*columns.values(), strict=True), first_step):
            told = {f"{group}/{name}": value for name, value in zip(names, row, strict=True)}
            self._run.log({**told, f"{group}/step": step})

    def found(
        self,
        group: str,
        values: Values,
        curve: Mapping[str, Sequence[float]],
        picture: Callable[[], Any],
    ) -> None:
        for name, value in values.items():
            self._run.summary[f"{group}/{name}"] = value
        told: dict[str, Any] = {}
        if curve:
            rows = [list(row) for row in zip(*curve.values(), strict=True)]
            told[f"{group}/curve"] = self._wandb.Table(columns=list(curve), data=rows)
        if (figure := picture()) is not None:
            told[f"{group}/picture"] = self._wandb.Image(figure)
        if told:
            self._run.log(told, commit=False)  # with the next values of the run, at its own step


class _Trackio(Tracker):
    def __init__(self, run: Any) -> None:
        self._run = run

    def steps(self, group: str, columns: Mapping[str, Sequence[float]], first_step: int) -> None:
        for step, row in enumerate(zip(*columns.values(), strict=True), first_step):
            names = (f"{group}/{name}" for name in columns)
            self._run.log(dict(zip(names, row, strict=True)), step=step)

    def found(
        self,
        group: str,
        values: Values,
        curve: Mapping[str, Sequence[float]],
        picture: Callable[[], Any],
    ) -> None:
        self._run.log({f"{group}/{name}": value for name, value in values.items()}, step=0)


class _Folder(Tracker):
    """Keeps what it is told in a file of a folder, for `cyclerate watch`."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._file = Progress(Path(folder) / f"{PROGRESS}.json")
        self._lines: dict[str, tuple[list[float], list[float]]] = {}
        self._found: dict[str, float | str] = {}

    def steps(self, group: str, columns: Mapping[str, Sequence[float]], first_step: int) -> None:
        for name, values in columns.items():
            x, y = self._lines.setdefault(f"{group}: {name}", ([], []))
            known = [(first_step + i, float(v)) for i, v in enumerate(values) if math.isfinite(v)]
            x += [step for step, _ in known]
            y += [value for _, value in known]
            if len(x) > 2 * MOST_POINTS:
                thin = thinned(x, y)
                x[:], y[:] = (values.tolist() for values in thin)
        self._file.tell(self._values)

    def found(
        self,
        group: str,
        values: Values,
        curve: Mapping[str, Sequence[float]],
        picture: Callable[[], Any],
    ) -> None:
        self._found |= {f"{group}: {name}": value for name, value in values.items()}
        self._file.tell(self._values)

    def close(self) -> None:
        """Writes what is left."""
        with _told_if_it_fails():
            self._file.tell(self._values, now=True)

    def _values(self) -> dict[str, Any]:
        lines = {name: {"x": x, "y": y} for name, (x, y) in self._lines.items()}
        found = {k: v if isinstance(v, str) else f"{v:.6g}" for k, v in self._found.items()}
        return {"schema": SCHEMA, "lines": lines, "found": found}


def told_in(values: Any) -> dict[str, Any]:
    """What such a file holds: by name, the columns of its steps as `lines`, answers as `found`.

    Raises:
        ValueError: It is no such file.
    """
    told = without_schema(values, SCHEMA)
    kind = dict[str, dict[str, tuple[float | None, ...]]]
    found = built(dict[str, str], told["found"], "found")
    return {"lines": built(kind, told["lines"], "lines"), "found": found}


_chosen: ContextVar[tuple[Tracker, ...] | None] = ContextVar("trackers", default=None)


@contextmanager
def tracking(*trackers: Any) -> Generator[None]:
    """Tells these trackers of the range tests and trainings in the block, in place of the active.

    Without it they tell the run of MLflow, Weights & Biases or Trackio that is active in this
    process, if there is one. `tracking()` tells none.

    Args:
        *trackers: A `SummaryWriter` of TensorBoard, a `Tracker` of your own, or a folder, whose
            `progress.json` then says how far it is: see it by `cyclerate watch`.

    Raises:
        ValueError: Something else.

    >>> with tracking():
    ...     tell_found("cycle", {"max_lr": 0.1})
    """
    chosen: list[Tracker] = []
    for tracker in trackers:
        if isinstance(tracker, Tracker):
            chosen.append(tracker)
        elif isinstance(tracker, (str, os.PathLike)):
            chosen.append(_Folder(check_path("trackers", tracker)))
        elif callable(getattr(tracker, "add_scalar", None)):
            chosen.append(_TensorBoard(tracker))
        else:
            allowed = "SummaryWriters of TensorBoard, Trackers, or folders"
            raise bad_argument("trackers", allowed, tracker)
    token = _chosen.set(tuple(chosen))
    try:
        yield
    finally:
        _chosen.reset(token)
        for tracker in chosen:
            if isinstance(tracker, _Folder):
                tracker.close()


def listened() -> bool:
    """Whether a tracker is there: for those to whom it costs something to have what to tell."""
    return any(True for _ in _trackers())


def tell_steps(group: str, columns: Mapping[str, Sequence[float]], first_step: int = 0) -> None:
    """Tells the trackers the values of steps, which follow each other from `first_step` on."""
    if not any(map(len, columns.values())):
        return
    for tracker in _trackers():
        with _told_if_it_fails():
            tracker.steps(group, columns, first_step)


def tell_found(
    group: str,
    values: Values,
    curve: Mapping[str, Sequence[float]] | None = None,
    plot: Callable[[], Any] | None = None,
) -> None:
    """Tells the trackers an answer; `plot` gives Axes of matplotlib."""
    for tracker in _trackers():
        with _told_if_it_fails(), _picture_of(plot) as picture:
            tracker.found(group, values, curve or {}, picture)


def tell_cycle(found: Mapping[str, Any], verdict: str) -> None:
    """Tells the trackers what a cycle that finds its own top has found and repaired."""
    told: dict[str, float | str] = {"max_lr": found["top"], "source": found["source"]}
    told |= {"repairs": len(found["repairs"]), "clipped_steps": found["clipped_steps"]}
    tell_found("cycle", {**told, "verdict": verdict})


def _trackers() -> Iterator[Tracker]:
    chosen = _chosen.get()
    if chosen is not None:
        yield from chosen
        return
    mlflow = sys.modules.get("mlflow")
    run = mlflow.active_run() if mlflow and hasattr(mlflow, "active_run") else None
    if run is not None:
        yield _MLflow(mlflow, run.info.run_id)
    wandb = sys.modules.get("wandb")
    if wandb and getattr(wandb, "run", None) is not None:
        yield _WeightsAndBiases(wandb, wandb.run)
    variables = sys.modules.get("trackio.context_vars")
    run = variables.current_run.get() if variables and hasattr(variables, "current_run") else None
    if run is not None:
        yield _Trackio(run)


@contextmanager
def _told_if_it_fails() -> Generator[None]:
    """A tracker that fails is no reason for a training to end: it is warned of."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a tracker's server or disk may raise
        text = f"{type(error).__name__}: {str(error)[:200]}"
        warnings.warn(f"a tracker could not be told: {text}", RuntimeWarning, stacklevel=4)


@contextmanager
def _picture_of(plot: Callable[[], Any] | None) -> Generator[Callable[[], Any]]:
    figures: list[Any] = []

    def picture() -> Any:
        if plot is None:
            return None
        try:
            figures.append(plot().figure)
        except MissingExtra:
            return None
        return figures[-1]

    try:
        yield picture
    finally:
        for figure in figures:
            require("matplotlib.pyplot", "plot").close(figure)
