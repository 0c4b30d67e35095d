"""What `compare`, `cross_validate` and the command share: data, folds, rates, and runs as cells."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_items,
    check_rate,
)
from cyclerate._files import built, check_path
from cyclerate._plain import digest
from cyclerate._randomness import remember_global_randomness
from cyclerate.compare._cells import Cell, Folder, finish
from cyclerate.compare._engines import choose_engine
from cyclerate.compare._folds import Fold
from cyclerate.compare._learner import (
    DataOrder,
    Learner,
    MakeModel,
    Points,
    Start,
    call,
    spelled,
    train_run,
)
from cyclerate.compare._policies import Rates, plan_budget
from cyclerate.compare._record import Going, Run, cell_name
from cyclerate.finder import RangeTestResult
from cyclerate.finder._progress import StatusLine
from cyclerate.finder._range_test import rate_of
from cyclerate.schedules import Schedule
from cyclerate.schedules._namespaces import Namespace

_MOST_SEEDS = 10**6
_MOST_TOLD = 1000  # points of a run that goes on
RANGE_TESTS = ("run", "fold")
_FRAMEWORKS = {"keras": "Keras", "torch": "PyTorch"}


@dataclass(frozen=True)
class Shifted(Schedule):
    """A schedule that begins at a later step of its own."""

    schedule: Schedule
    first_step: int

    def value_at(self, n: Any, xp: Namespace) -> Any:
        """The value of the later step."""
        return self.schedule.value_at(n + self.first_step, xp)

    @property
    def bounds(self) -> tuple[float, float]:
        """Those of the schedule."""
        return self.schedule.bounds


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets, whole; the runs take rows of them."""

    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Job:
    """A run to do; it begins at the schedule's step `first_step`.

    With `predicts` the outputs for the held-out rows are kept.
    """

    policy: str
    schedule: Schedule
    seed: int
    fold: int
    first_step: int = 0
    predicts: bool = False

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"cells/{cell_name(self.policy, self.seed, self.fold)}"


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run, the name of its metric, and its outputs for the held-out rows."""

    run: Run
    metric: str | None
    outputs: NDArray[Any] | None


Watch = Callable[[Job, int], None]
"""Told how many steps of a job are done."""


@dataclass(kw_only=True, eq=False)
class Study:
    """Policies, seeds and folds on one model; each run is done once, and kept.

    Its settings are arguments of `compare`.
    """

    learner: Learner
    data: Data
    folds: tuple[Fold, ...]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    fixed_lr: float | None = None
    max_lr: float | None = None
    range_test: str = "run"
    range_test_options: Mapping[str, Any] | None = None
    metric: str | None = None
    out: str | os.PathLike[str] | None = None
    n_jobs: int | None = None
    executor: Any = None
    verbose: str | int = "auto"
    found: dict[tuple[int, int], RangeTestResult] = field(default_factory=dict, init=False)
    last: Job | None = field(default=None, init=False)  # whose network the learner holds
    _starts: dict[int, Start] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        check_choice("range_test", self.range_test, RANGE_TESTS)
        choose_engine(self.executor, self.n_jobs)  # refuses what is none
        if self.metric is not None and not isinstance(self.metric, str):
            raise bad_argument("metric", "the name of a metric, or None", self.metric)
        for name in ("fixed_lr", "max_lr"):
            if getattr(self, name) is not None:
                check_rate(name, getattr(self, name))
        if self.out is not None:
            check_path("out", self.out)
        fewest = min(len(fold.train) for fold in self.folds)
        self.batch_size = check_count("batch_size", self.batch_size)
        if self.batch_size > fewest:
            raise bad_argument("batch_size", f"at most the {fewest} training rows", self.batch_size)
        self.epochs = check_count("epochs", self.epochs, below=2**31)
        self.budgets = tuple(
            plan_budget(self.epochs, len(fold.train) // self.batch_size) for fold in self.folds
        )
        self.folder = Folder(self.out)
        self._line = StatusLine(self.verbose)
        self._of_data = {"x": digest([self.data.x]), "y": digest([self.data.y])}
        self._of_rows = [digest([fold.train, fold.heldout]) for fold in self.folds]

    def start(self, seed: int) -> Start:
        """Says what a seed starts from."""
        if seed not in self._starts:
            rows = self.folds[0].train[: self.batch_size]
            self._starts[seed] = self.learner.start(seed, self.data.x[rows], self.data.y[rows])
        return self._starts[seed]

    @property
    def settings(self) -> dict[str, Any]:
        """All that every run has in common, whatever its policy, seed and fold."""
        start = self.start(self.seeds[0])
        described = {k: v for k, v in start.description.items() if k != "network"}
        model = {"network": start.model.description, "parameters": start.model.parameters}
        return {
            "data": self._of_data,
            "rows": self._of_rows,
            "model": {**described, **model},
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "metric": self.metric,
        }

    def rates(self, seed: int, fold: int, kind: str) -> Rates:
        """The rates that policies are made of, for a seed and a fold.

        Without a clear answer of the range test, the highest one is that to expect.

        Raises:
            ValueError: The optimizer has no rate of its own, and `fixed_lr` is not given.
        """
        start = self.start(seed)
        default = start.default_lr if self.fixed_lr is None else self.fixed_lr
        if default is None:
            raise bad_argument("fixed_lr", "given where the optimizer is scheduled itself", None)
        framework = _FRAMEWORKS.get(start.model.optimizer_config.get("framework", ""))
        of = f"{start.model.optimizer} in {framework}" if framework else "the optimizer"
        of = of if self.fixed_lr is None else ""
        if not kind or self.max_lr is not None:
            return Rates(default, max_lr=self.max_lr, default_of=of)
        result = self.find(seed, fold, kind)
        return Rates(default, base_lr=result.base_lr, max_lr=rate_of(result), default_of=of)

    def find(self, seed: int, fold: int, kind: str) -> RangeTestResult:
        """Runs the range test that a seed and a fold go by, unless it has been run."""
        seed, fold = self._tested(seed, fold)
        if (seed, fold) not in self.found:
            horizon = {"horizon_steps": self.budgets[fold].total_steps, "policy": kind}
            options = {**horizon, **(self.range_test_options or {})}
            settings = {**self._decided_by(seed, fold), "range_test": _plain_options(options)}
            rows = self.folds[fold].train

            def test(_: Cell) -> dict[str, Any]:
                self._line.show(f"range test, seed {seed}, fold {fold}")
                x, y = self.data.x[rows], self.data.y[rows]
                return self.learner.range_test(seed, x, y, **options).to_dict()

            cell = Cell(f"range_tests/{kind}-{seed}-{fold}", settings)
            ((_, done),) = finish([cell], test, self.folder)
            self.found[seed, fold] = RangeTestResult.from_dict(done.result)
        return self.found[seed, fold]

    def _tested(self, seed: int, fold: int) -> tuple[int, int]:
        return (self.seeds[0], 0) if self.range_test == "run" else (seed, fold)

    def run(
        self, jobs: Sequence[Job], watch: Watch | None = None
    ) -> Generator[tuple[Job, Trained]]:
        """Yields every job with its run, the finished ones first."""
        by_name = {job.name: job for job in jobs}
        cells = [Cell(job.name, self.settings_of(job)) for job in jobs]
        watch = watch or self._shown(len(jobs))
        work, folder = partial(_train, self, by_name, watch), self.folder
        if (execute := choose_engine(self.executor, self.n_jobs)) is not None:
            folder = Folder(self.out and Path(self.out).absolute())
            work = partial(_train, self._elsewhere(folder), by_name, _unwatched)
        try:
            for cell, done in finish(cells, work, folder, execute):
                job, result = by_name[cell.name], done.result
                watch(job, self.budgets[job.fold].total_steps)
                run = built(Run, result["run"], cell.name)
                yield job, Trained(run, result["metric"], result.get("outputs"))
        finally:
            self._line.close()

    def _elsewhere(self, folder: Folder) -> Study:
        """The study as other processes take it: models stay here, each makes its own."""
        other = copy.copy(self)
        other.folder = folder
        other.learner, other.executor, other.last = self.learner.fresh(), None, None
        return other

    def _shown(self, number: int) -> Watch:
        finished: set[str] = set()

        def watch(job: Job, steps: int) -> None:
            total = self.budgets[job.fold].total_steps
            where = f"cell {len(finished) + 1} of {number}: {job.policy}, seed {job.seed}"
            self._line.show(f"{where}, step {steps:,} of {total:,}")
            if steps == total:
                finished.add(job.name)

        return watch

    def train_again(self, job: Job) -> None:
        """Trains a job for its network alone, which the learner holds then."""
        _train(self, {job.name: job}, _unwatched, Cell(job.name, {}))

    def settings_of(self, job: Job) -> dict[str, Any]:
        """All that decides a job's run, as JSON values."""
        return {
            **self._decided_by(job.seed, job.fold),
            "policy": job.policy,
            "schedule": schedule_dict(job.schedule),
            "first_step": job.first_step,
            "metric": self.metric,
            "predicts": job.predicts,
        }

    def _decided_by(self, seed: int, fold: int) -> dict[str, Any]:
        start = self.start(seed)
        return {
            "seed": seed,
            "fold": fold,
            "rows": self._of_rows[fold],
            "data": self._of_data,
            "model": {**start.description, "initial_weights": start.weights},
            "epochs": self.epochs,
            "total_steps": self.budgets[fold].total_steps,
            "batch_size": self.batch_size,
            "versions": start.versions,
        }


def _train(study: Study, jobs: Mapping[str, Job], watch: Watch, cell: Cell) -> dict[str, Any]:
    """Trains the run of a cell."""
    job = jobs[cell.name]
    x, y, rows = study.data.x, study.data.y, study.folds[job.fold]
    budget = study.budgets[job.fold]
    x_heldout, y_heldout = x[rows.heldout], y[rows.heldout]
    measured: list[str | None] = []

    def judge() -> tuple[float, float]:
        values = study.learner.evaluate(x_heldout, y_heldout)
        measured.append(_metric(study.metric, values))
        name = measured[-1]
        return values["loss"], values[name] if name else float("nan")

    schedule = Shifted(job.schedule, job.first_step) if job.first_step else job.schedule
    going = study.folder.progress(cell)

    def tell(points: Points, step: int) -> None:
        if points and points[-1][0] == step:
            watch(job, step)
        with suppress(OSError):  # a run ends well also where this cannot be written
            going.tell(lambda: _so_far(job, schedule, budget.total_steps, points, step))

    try:
        run = train_run(
            study.learner,
            lambda places: (x[rows.train[places]], y[rows.train[places]]),
            DataOrder(len(rows.train), job.seed, study.batch_size, budget.steps_per_epoch),
            judge,
            policy=job.policy,
            schedule=schedule,
            total_steps=budget.total_steps,
            fold=job.fold,
            progress=tell,
        )
    finally:
        going.remove()
    study.last = job
    outputs = {"outputs": study.learner.predict(x_heldout)} if job.predicts else {}
    return {"run": vars(run), "metric": measured[-1], **outputs}


def _so_far(
    job: Job, schedule: Schedule, total_steps: int, points: Points, step: int
) -> dict[str, Any]:
    """How far a run is, for whoever watches its folder: its curves are thinned."""
    kept = [*points[: -1 : max(len(points) // _MOST_TOLD, 1)], *points[-1:]]
    steps, *values = zip(*kept, strict=True) if kept else ((), (), (), ())
    run = Run(job.policy, job.seed, steps, *values, seconds=0.0, diverged=False, fold=job.fold)
    return asdict(Going(run, total_steps, step, float(schedule(step - 1))))


def _unwatched(_job: Job, _steps: int) -> None:
    """Tells nobody: another process trains."""


def _metric(wanted: str | None, values: dict[str, float]) -> str | None:
    names = [name for name in values if name != "loss"]
    if wanted is None:
        return names[0] if names else None
    if wanted not in names:
        raise bad_argument("metric", f"one that the model measures ({', '.join(names)})", wanted)
    return wanted


def schedule_dict(schedule: Schedule) -> dict[str, Any]:
    """The schedule as JSON values; what cannot be described is named by its type."""
    try:
        return schedule.to_dict()
    except ValueError:
        fields = dataclasses.fields(schedule)  # pyright: ignore[reportArgumentType]
        values = {f.name: spelled(getattr(schedule, f.name)) for f in fields}
        return {"type": type(schedule).__name__, **values}


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (str, int, float, bool, type(None))
    return {k: v if isinstance(v, kinds) else spelled(v) for k, v in options.items()}


_ALLOWED = "a function that returns a compiled Keras model, or PyTorch's (model, optimizer, loss)"


def make_learner(make_model: MakeModel, batch_size: int) -> Learner:
    """Chooses the framework by what `make_model` returns; the model made for it is let go.

    Raises:
        ValueError: It is no function, or returns neither a compiled Keras model nor
            `(model, optimizer, loss)` of PyTorch.
    """
    if not callable(make_model):
        raise bad_argument("make_model", _ALLOWED, make_model)
    put_back = remember_global_randomness()
    try:
        made = call(make_model, 0)
    finally:
        put_back()
    if isinstance(made, tuple) and "torch" in sys.modules:
        from cyclerate.compare._torch_learner import TorchLearner, is_torch

        if is_torch(made):
            return TorchLearner(make_model, batch_size)
    if "keras" in sys.modules:
        from cyclerate.compare._keras_learner import KerasLearner

        if isinstance(made, sys.modules["keras"].Model):
            return KerasLearner(make_model, batch_size)
    raise bad_argument("make_model", _ALLOWED, made)


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """The seeds: so many from 0 on, or those given."""
    if isinstance(seeds, (int, np.integer)):
        return tuple(range(check_count("seeds", seeds, below=_MOST_SEEDS)))
    allowed = "a number of seeds, or some of them"
    listed = check_items("seeds", seeds, allowed)
    given = tuple(dict.fromkeys(check_count("seeds", seed, low=0) for seed in listed))
    if not given:
        raise bad_argument("seeds", allowed, seeds)
    return given


def array(name: str, values: Any) -> NDArray[Any]:
    """The rows of an array, a table, or a tensor.

    Raises:
        ValueError: It has no rows of numbers.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    rows = np.asarray(values)
    if rows.ndim == 0 or not len(rows) or rows.dtype.kind not in "biuf":
        raise bad_argument(name, "an array of numbers, a row for each example", type(values))
    return rows
