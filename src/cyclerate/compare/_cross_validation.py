"""One policy on every fold of your data, and predictions of each row by a run without it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument, check_choice, count, require
from cyclerate.compare._folds import group_of_rows, make_folds
from cyclerate.compare._learner import MakeModel
from cyclerate.compare._policies import Budget, Policy, PolicyLike, named_policies
from cyclerate.compare._record import Place, Run, final
from cyclerate.compare._study import Data, Job, Study, Trained, array, check_seeds, make_learner
from cyclerate.compare._wording import Numbers, aligned
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Schedule

if TYPE_CHECKING:
    import pandas as pd

RESETS = ("fold", "continue")


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What one policy gave on every fold: `print` it for the scores.

    Attributes:
        cells: Every run, by seed and fold, with its curves over the steps.
        policy: The policy's name.
        reset: Whether the schedule began anew in every fold ("fold") or went on ("continue").
        metric: The name of what is recorded beside the held-out loss; None if nothing is.
        predictions: The outputs for each row from the runs that did not train on it; the mean over
            the seeds, and over the folds where a row was held out in several. NaN for a row that
            was never held out.
        times_heldout: In how many folds each row was held out: 1 for all rows with an ordinary
            splitter.
        schedules: The schedule of each fold, with the first seed, from its own step 0.
        first_steps: The step of the schedule at which each fold began.
        range_tests: What the range tests found, by (seed, fold); empty if `max_lr` was given.
    """

    cells: tuple[Run, ...]
    policy: str
    reset: str
    metric: str | None
    predictions: NDArray[np.float64]
    times_heldout: NDArray[np.int_]
    schedules: tuple[Schedule, ...]
    first_steps: tuple[int, ...]
    range_tests: dict[Place, RangeTestResult]

    @property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """The held-out loss and metric at the end: an array of seeds by folds; NaN if diverged."""
        seeds = list(dict.fromkeys(cell.seed for cell in self.cells))
        values = {"loss": [final(cell.heldout_loss) for cell in self.cells]}
        if self.metric:
            values[self.metric] = [final(cell.heldout_metric) for cell in self.cells]
        gone = [cell.diverged for cell in self.cells]
        return {
            name: np.array(
                [np.nan if d or v is None else v for v, d in zip(ends, gone, strict=True)]
            ).reshape(len(seeds), -1)
            for name, ends in values.items()
        }

    def to_frame(self) -> pd.DataFrame:
        """The runs as a pandas DataFrame: one row each, with the values at the end.

        Raises:
            MissingExtra: pandas is not installed.
        """
        scores = {name: values.ravel() for name, values in self.scores.items()}
        places = {
            "seed": [cell.seed for cell in self.cells],
            "fold": [cell.fold for cell in self.cells],
        }
        seconds = {"seconds": [cell.seconds for cell in self.cells]}
        return require("pandas", "cli").DataFrame({**places, **scores, **seconds})

    def __str__(self) -> str:
        scores = self.scores
        folds = next(iter(scores.values())).shape[1]
        seeds = len(self.cells) // folds
        how = "begun anew in every fold" if self.reset == "fold" else "going on over the folds"
        title = f"{self.policy}, {how}: {count(folds, 'fold')}, {count(seeds, 'seed')}."
        rows = [["fold", *scores, "first step"]]
        for fold in range(folds):
            values = [_text(column[:, fold], column) for column in scores.values()]
            rows.append([str(fold), *values, f"{self.first_steps[fold]:,}"])
        rows.append(["all", *(_text(column, column) for column in scores.values()), ""])
        return "\n".join([title, "", *aligned(rows), *self._notes()])

    def _notes(self) -> list[str]:
        never, often = (self.times_heldout == 0).sum(), (self.times_heldout > 1).sum()
        notes: list[str] = []
        if never:
            notes.append(f"{count(int(never), 'row')} never held out: their predictions are NaN.")
        if often:
            notes.append(f"{count(int(often), 'row')} held out more than once: the mean is given.")
        diverged = sum(cell.diverged for cell in self.cells)
        if diverged:
            notes.append(f"{count(diverged, 'run')} diverged and left out of the scores.")
        return ["", *notes] if notes else []


def cross_validate(
    make_model: MakeModel,
    x: Any,
    y: Any,
    *,
    epochs: int = 10,
    folds: Any = 5,
    groups: Any = None,
    policy: PolicyLike = "one_cycle",
    reset: str = "fold",
    range_test: str = "run",
    batch_size: int = 32,
    seeds: int | Iterable[int] = 1,
    fixed_lr: float | None = None,
    max_lr: float | None = None,
    range_test_options: Mapping[str, Any] | None = None,
    metric: str | None = None,
    out: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    executor: Any = None,
    verbose: str | int = "auto",
) -> CrossValidation:
    """Trains your model on every fold by a policy, and predicts each fold's held-out rows.

    Each fold begins with the seed's own weights and a new optimizer. `reset` says what becomes of
    the schedule: with "fold" it begins anew, with "continue" a fold begins at the step where the
    one before it ended. Whole cycles in a fold make both the same; a 1cycle that goes on is one
    cycle over all folds, so that only the middle ones see high rates.

    With `out`, every run is kept there as soon as it is finished; the same call again runs what is
    missing.

    Args:
        make_model: As of `compare`.
        x: Inputs: an array, a table or a tensor, a row for each example.
        y: Targets, a row for each example.
        epochs: Passes over the training rows of each fold. Default 10.
        folds: A number, or a splitter of scikit-learn. Default 5: stratified where the targets are
            classes. The folds are the same for every seed.
        groups: What belongs together, for each row; never on both sides.
        policy: A name of `compare`'s, a schedule, or a function of (rates, budget).
        reset: "fold" (default) or "continue".
        range_test: "run" (default): one range test, with the first seed on the first fold's
            training rows, some of which other folds hold out. "fold": one for every seed and fold,
            on that fold's training rows alone.
        batch_size: Rows in a step. Default 32.
        seeds: How many, or which. Default 1.
        fixed_lr: As of `compare`.
        max_lr: As of `compare`.
        range_test_options: As of `compare`.
        metric: As of `compare`.
        out: As of `compare`.
        n_jobs: As of `compare`.
        executor: As of `compare`.
        verbose: As of `compare`.

    Returns:
        Scores by fold, predictions for every row, `to_frame()`.

    Raises:
        ValueError: A wrong argument; or `out` holds runs of other settings.

    >>> import numpy as np
    >>> import torch
    >>> def make_model():
    ...     model = torch.nn.Linear(2, 1)
    ...     return model, torch.optim.SGD(model.parameters(), lr=0.01), torch.nn.MSELoss()
    >>> x = np.random.default_rng(0).normal(size=(60, 2))
    >>> y = x.sum(axis=1, keepdims=True)
    >>> result = cross_validate(make_model, x, y, folds=3, epochs=4, batch_size=8, max_lr=0.3)
    >>> result.scores["loss"].shape, result.predictions.shape
    ((1, 3), (60, 1))
    """
    check_choice("reset", reset, RESETS)
    x, y = array("x", x), array("y", y)
    groups = group_of_rows(groups, len(x))
    name = policy if isinstance(policy, str) else "policy"
    if len(x) != len(y):
        raise bad_argument("y", f"as long as x ({len(x)} rows)", len(y))
    study = Study(
        learner=make_learner(make_model, batch_size),
        data=Data(x, y),
        folds=make_folds(y, folds, groups),
        seeds=check_seeds(seeds),
        epochs=epochs,
        batch_size=batch_size,
        fixed_lr=fixed_lr,
        max_lr=max_lr,
        range_test=range_test,
        range_test_options=range_test_options,
        metric=metric,
        out=out,
        n_jobs=n_jobs,
        executor=executor,
        verbose=verbose,
    )
    return _validated(study, named_policies({name: policy}, "policy")[0], reset)


def _validated(study: Study, policy: Policy, reset: str) -> CrossValidation:
    first_steps = _first_steps(study.budgets, reset)
    schedules = {
        (seed, fold): _schedule(study, policy, seed, fold, reset)
        for seed in study.seeds
        for fold in range(len(study.folds))
    }
    jobs = [
        Job(policy.name, schedule, *place, first_step=first_steps[place[1]], predicts=True)
        for place, schedule in schedules.items()
    ]
    done = {job.name: trained for job, trained in study.run(jobs)}
    trained = [done[job.name] for job in jobs]
    predictions, times = _out_of_fold(study, trained)
    return CrossValidation(
        cells=tuple(one.run for one in trained),
        policy=policy.name,
        reset=reset,
        metric=trained[0].metric,
        predictions=predictions,
        times_heldout=times,
        schedules=tuple(schedules[study.seeds[0], fold] for fold in range(len(study.folds))),
        first_steps=first_steps,
        range_tests=dict(study.found),
    )


def _schedule(study: Study, policy: Policy, seed: int, fold: int, reset: str) -> Schedule:
    """One for the fold; or, if it goes on, one for the steps of all folds together."""
    rates = study.rates(seed, fold, policy.races_as or "")
    budget = study.budgets[fold]
    if reset == "continue":
        first = study.budgets[0]
        budget = Budget(first.steps_per_epoch, first.cycles * len(study.folds), first.step_size)
    return policy.schedule(rates, budget)


def _first_steps(budgets: Sequence[Budget], reset: str) -> tuple[int, ...]:
    if reset == "fold":
        return (0,) * len(budgets)
    ends = np.cumsum([budget.total_steps for budget in budgets]).tolist()
    return (0, *ends[:-1])


def _out_of_fold(study: Study, done: Sequence[Trained]) -> tuple[NDArray[Any], NDArray[np.int_]]:
    rows = len(study.data.x)
    times = np.zeros(rows, dtype=np.int64)
    for fold in study.folds:
        times[fold.heldout] += 1
    outputs = [one.outputs for one in done if one.outputs is not None]
    total = np.zeros((rows, *outputs[0].shape[1:]))
    for one, values in zip(done, outputs, strict=True):
        total[study.folds[one.run.fold].heldout] += values
    number = (times * len(study.seeds)).astype(np.float64)
    number[number == 0] = np.nan
    return total / number.reshape(-1, *(1,) * (total.ndim - 1)), times


def _text(values: NDArray[np.float64], column: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)].tolist()
    if not known:
        return "diverged"
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Numbers.fitting(column.ravel().tolist()).text(statistics.fmean(known), deviation)
