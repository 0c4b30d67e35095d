"""Cells of a comparison on the user's own model: trained one after another, or side by side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cyclerate._errors import bad_argument, require
from cyclerate.compare._folds import Fold
from cyclerate.compare._kept import Cells
from cyclerate.compare._learner import Learner, MakeModel, make_learner
from cyclerate.compare._plain import build, digest
from cyclerate.compare._policies import Budget
from cyclerate.compare._record import Cell
from cyclerate.compare._running import DataOrder, train_cell
from cyclerate.finder._progress import StatusLine
from cyclerate.schedules import Schedule


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets, whole; the cells take rows of them."""

    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Job:
    """One cell to train.

    Attributes:
        policy: Its name.
        schedule: The rate of every step.
        seed: Of weights, order, and all else that is random.
        fold: The number of the fold.
        rows: What is trained on, and what the network is judged on.
        budget: The length of the run.
        batch_size: Rows in a step.
        metric: The metric to record; None for the first that there is.
        predicts: Whether the outputs for the held-out rows are kept.
        decided_by: All that decides the result, as JSON values.
    """

    policy: str
    schedule: Schedule
    seed: int
    fold: int
    rows: Fold
    budget: Budget
    batch_size: int
    metric: str | None
    predicts: bool
    decided_by: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"cells/{self.policy}-{self.seed}-{self.fold}"


@dataclass(frozen=True, eq=False)
class Done:
    """A finished cell, the name of its metric, and its outputs for the held-out rows."""

    cell: Cell
    metric: str | None
    outputs: NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class Workshop:
    """What every cell is trained with, and where it is kept.

    Attributes:
        make_model: The user's; other processes make their own learner of it.
        learner: Made of it, for this process.
        data: All rows.
        cells: The finished ones.
        n_jobs: Processes that train.
        line: Shows how far it is.
    """

    make_model: MakeModel
    learner: Learner
    data: Data
    cells: Cells
    n_jobs: int
    line: StatusLine


def run_jobs(jobs: Sequence[Job], shop: Workshop) -> list[Done]:
    """Trains the cells that are not finished, and returns all of them in the order given.

    Each is kept as soon as it is finished, by the process that trained it.
    """
    done: dict[str, Done] = {}
    for job in jobs:
        if (finished := _finished(job, shop.cells)) is not None:
            done[job.name] = finished
    missing = [job for job in jobs if job.name not in done]
    run = _side_by_side if shop.n_jobs > 1 and len(missing) > 1 else _in_turn
    for job, result in run(missing, shop, len(done)):
        done[job.name] = result
    return [done[job.name] for job in jobs]


def _in_turn(jobs: list[Job], shop: Workshop, before: int) -> Iterator[tuple[Job, Done]]:
    for number, job in enumerate(jobs, start=before + 1):
        label = f"cell {number} of {before + len(jobs)}: {job.policy}, seed {job.seed}"

        def told(steps: int, label: str = label, job: Job = job) -> None:
            shop.line.show(f"{label}, step {steps:,} of {job.budget.total_steps:,}")

        yield job, _train(job, shop.learner, shop.data, shop.cells, told)


def _side_by_side(jobs: list[Job], shop: Workshop, before: int) -> Iterator[tuple[Job, Done]]:
    joblib = require("joblib", "cli")
    threads = max((os.cpu_count() or 1) // shop.n_jobs, 1)
    x, y = shop.data.x, shop.data.y  # joblib shares large arrays where they are arguments
    calls = [
        joblib.delayed(_train_elsewhere)((i, job), shop.make_model, x, y, shop.cells)
        for i, job in enumerate(jobs)
    ]
    with (
        _backend_for_others(),
        joblib.parallel_config("loky", n_jobs=shop.n_jobs, inner_max_num_threads=threads),
    ):
        finished = joblib.Parallel(return_as="generator_unordered")(calls)
        for number, (i, result) in enumerate(finished, start=before + 1):
            shop.line.show(f"cell {number} of {before + len(jobs)} finished")
            yield jobs[i], result


def _train_elsewhere(
    numbered: tuple[int, Job],
    make_model: MakeModel,
    x: NDArray[Any],
    y: NDArray[Any],
    cells: Cells,
) -> tuple[int, Done]:
    i, job = numbered
    learner = make_learner(make_model, job.batch_size)
    return i, _train(job, learner, Data(x, y), cells, lambda _: None)


def _train(
    job: Job, learner: Learner, data: Data, cells: Cells, told: Callable[[int], None]
) -> Done:
    x_heldout, y_heldout = data.x[job.rows.heldout], data.y[job.rows.heldout]
    measured: list[str | None] = []

    def judge() -> tuple[float, float]:
        values = learner.evaluate(x_heldout, y_heldout)
        name = _metric(job.metric, values)
        measured.append(name)
        return values["loss"], values[name] if name else float("nan")

    train = job.rows.train
    cell = train_cell(
        learner,
        lambda rows: (data.x[train[rows]], data.y[train[rows]]),
        DataOrder(len(train), job.seed, job.batch_size, job.budget.steps_per_epoch),
        judge,
        policy=job.policy,
        schedule=job.schedule,
        total_steps=job.budget.total_steps,
        fold=job.fold,
        progress=told,
    )
    outputs = learner.predict(x_heldout) if job.predicts else None
    done = Done(cell, measured[-1], outputs)
    _keep(job, done, cells)
    return done


def _metric(wanted: str | None, values: dict[str, float]) -> str | None:
    names = [name for name in values if name != "loss"]
    if wanted is None:
        return names[0] if names else None
    if wanted not in names:
        raise bad_argument("metric", f"one that the model measures ({', '.join(names)})", wanted)
    return wanted


def _keep(job: Job, done: Done, cells: Cells) -> None:
    """The outputs first: where the cell's file is, all of it is."""
    if done.outputs is not None:
        cells.save_array(job.name, done.outputs)
    outputs = None if done.outputs is None else digest([done.outputs])
    values = {"cell": vars(done.cell), "metric": done.metric, "outputs": outputs}
    cells.save(job.name, job.decided_by, values)


def _finished(job: Job, cells: Cells) -> Done | None:
    kept = cells.load(job.name, job.decided_by)
    if kept is None:
        return None
    outputs = cells.load_array(job.name, kept["outputs"]) if job.predicts else None
    if job.predicts and outputs is None:
        return None
    return Done(build(Cell, kept["cell"], job.name), kept["metric"], outputs)


@contextmanager
def _backend_for_others() -> Generator[None]:
    """New processes take the Keras backend from the environment; there it is, then."""
    keras, name = sys.modules.get("keras"), "KERAS_BACKEND"
    before = os.environ.get(name)
    if keras is not None:
        os.environ[name] = keras.backend.backend()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
