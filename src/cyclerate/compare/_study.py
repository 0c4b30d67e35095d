"""What `compare` and `cross_validate` share: data, folds, rates, and the cells made of them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError, bad_argument, check_choice, check_count
from cyclerate.compare._folds import Fold
from cyclerate.compare._jobs import Data, Done, Job, Workshop, run_jobs
from cyclerate.compare._kept import Cells
from cyclerate.compare._learner import MakeModel, Start, make_learner, spelled
from cyclerate.compare._plain import digest
from cyclerate.compare._policies import POLICIES, Budget, Rates, plan_budget
from cyclerate.finder import RangeTestResult
from cyclerate.finder._progress import StatusLine
from cyclerate.schedules import Schedule
from cyclerate.schedules._namespaces import Namespace

MakeSchedule = Callable[[Rates, Budget], Schedule]
PolicyLike = str | Schedule | MakeSchedule
RANGE_TESTS = ("run", "fold")

_FILE_NAME = re.compile(r"[\w.+ -]+")


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


@dataclass(frozen=True)
class NamedPolicy:
    """A policy of a study, by its name.

    Attributes:
        name: Its name in files and tables.
        make: Makes its schedule.
        needs_rate: Whether it needs the answer of a range test.
        kind: What the range test is to race for.
    """

    name: str
    make: MakeSchedule
    needs_rate: bool
    kind: str


def named_policies(policies: Any) -> tuple[NamedPolicy, ...]:
    """Names of the table, or a dict from names to schedules and functions, as policies.

    Raises:
        ValueError: A name is unknown, or fit for no file; a value is no schedule and no function.
    """
    if isinstance(policies, str):
        policies = (policies,)
    pairs = policies.items() if isinstance(policies, Mapping) else [(n, n) for n in policies]
    made = tuple(_named(name, policy) for name, policy in dict(pairs).items())
    if not made:
        raise bad_argument("policies", f"some of {', '.join(POLICIES)}, or a dict", policies)
    return made


def _named(name: Any, policy: Any) -> NamedPolicy:
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise bad_argument("policies", "named by letters, digits, '_', '-' and '.'", name)
    if isinstance(policy, Schedule):
        return NamedPolicy(name, lambda _rates, _budget: policy, needs_rate=False, kind="")
    if isinstance(policy, str):
        known = POLICIES[check_choice("policies", policy, POLICIES)]
        kind = {"found": "constant", "one_cycle": "one_cycle"}.get(policy, "triangular")
        return NamedPolicy(name, known.build, known.needs_suggestion, kind)
    if not callable(policy):
        allowed = "names, schedules, or functions of (rates, budget)"
        raise bad_argument("policies", allowed, {name: policy})
    made: Any = policy
    return NamedPolicy(name, made, needs_rate=True, kind="triangular")


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """The seeds: so many from 0 on, or those given."""
    if isinstance(seeds, (int, np.integer)):
        return tuple(range(check_count("seeds", seeds)))
    given = tuple(dict.fromkeys(check_count("seeds", seed, low=0) for seed in seeds))
    if not given:
        raise bad_argument("seeds", "a number of seeds, or some of them", seeds)
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


@dataclass(kw_only=True, eq=False)
class Study:
    """Policies, seeds and folds on one model; each cell is made once, and kept.

    Attributes:
        make_model: Returns a compiled Keras model, or PyTorch's (model, optimizer, loss).
        data: All rows.
        folds: What is trained on and what is held out.
        seeds: Of weights and order.
        epochs: Passes over the training rows of a fold.
        batch_size: Rows in a step.
        fixed_lr: The rate that is the reference; None for the optimizer's own.
        max_lr: The highest rate of the policies; None if a range test is to find it.
        range_test: "run" for one range test, "fold" for one for each fold and seed.
        range_test_options: Options of the adapter's `range_test`.
        metric: What is recorded beside the loss; None for the first that the model measures.
        out: The folder of what is finished; None keeps nothing.
        n_jobs: Processes.
        verbose: As of a range test.
    """

    make_model: MakeModel
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
    n_jobs: int = 1
    verbose: str | int = "auto"
    found: dict[tuple[int, int], RangeTestResult] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if len(self.data.x) != len(self.data.y):
            raise bad_argument("y", f"as long as x ({len(self.data.x)} rows)", len(self.data.y))
        check_choice("range_test", self.range_test, RANGE_TESTS)
        check_count("n_jobs", self.n_jobs)
        fewest = min(len(fold.train) for fold in self.folds)
        if check_count("batch_size", self.batch_size) > fewest:
            raise bad_argument("batch_size", f"at most the {fewest} training rows", self.batch_size)
        self.budgets = tuple(
            plan_budget(self.epochs, len(fold.train) // self.batch_size) for fold in self.folds
        )
        self._shop = Workshop(
            make_model=self.make_model,
            learner=make_learner(self.make_model, self.batch_size),
            data=self.data,
            cells=Cells(None if self.out is None else Path(self.out)),
            n_jobs=self.n_jobs,
            line=StatusLine(self.verbose),
        )
        rows = self.folds[0].train[: self.batch_size]
        self._one_batch = Data(self.data.x[rows], self.data.y[rows])
        self._starts: dict[int, Start] = {}
        self._of_data = {"x": digest([self.data.x]), "y": digest([self.data.y])}

    def start(self, seed: int) -> Start:
        """What a seed starts from."""
        if seed not in self._starts:
            x, y = self._one_batch.x, self._one_batch.y
            self._starts[seed] = self._shop.learner.start(seed, x, y)
        return self._starts[seed]

    def rates(self, seed: int, fold: int, kind: str) -> Rates:
        """The rates that policies are made of, for a seed and a fold.

        Args:
            seed: The seed.
            fold: The number of the fold.
            kind: What a range test is to race for; "" if no rate of it is needed.

        Raises:
            CyclerateError: The range test found no clear answer.
            ValueError: The optimizer has no rate of its own, and `fixed_lr` is not given.
        """
        default = self.start(seed).default_lr if self.fixed_lr is None else self.fixed_lr
        if default is None:
            raise bad_argument("fixed_lr", "given where the optimizer is scheduled itself", None)
        of = "the optimizer"
        if not kind or self.max_lr is not None:
            return Rates(default, max_lr=self.max_lr, default_of=of)
        if self.range_test == "run":
            seed, fold = self.seeds[0], 0
        result = self._range_test(seed, fold, kind)
        if result.max_lr is None:
            raise CyclerateError(
                f"The range test with seed {seed} on fold {fold} found no clear answer. "
                f"{result.verdict} Give max_lr, or other range_test_options."
            )
        return Rates(default, base_lr=result.base_lr, max_lr=result.max_lr, default_of=of)

    def _range_test(self, seed: int, fold: int, kind: str) -> RangeTestResult:
        if (seed, fold) in self.found:
            return self.found[seed, fold]
        options = {
            "horizon_steps": self.budgets[fold].total_steps,
            "policy": kind,
            **(self.range_test_options or {}),
        }
        name = f"range_tests/{kind}-{seed}-{fold}"
        decided_by = {**self._decided_by(seed, fold), "range_test": _plain_options(options)}
        kept = self._shop.cells.load(name, decided_by)
        if kept is None:
            self._shop.line.show(f"range test, seed {seed}, fold {fold}")
            rows = self.folds[fold].train
            x, y = self.data.x[rows], self.data.y[rows]
            kept = self._shop.learner.range_test(seed, x, y, **options).to_dict()
            self._shop.cells.save(name, decided_by, kept)
        self.found[seed, fold] = RangeTestResult.from_dict(kept)
        return self.found[seed, fold]

    def job(
        self,
        policy: str,
        schedule: Any,
        seed: int,
        fold: int,
        *,
        first_step: int = 0,
        predicts: bool = False,
    ) -> Job:
        """Makes a cell of a schedule; the run begins at the schedule's step `first_step`."""
        if not isinstance(schedule, Schedule):
            raise bad_argument(
                f"the policy {policy}", "a function that returns a schedule", schedule
            )
        return Job(
            policy=policy,
            schedule=Shifted(schedule, first_step) if first_step else schedule,
            seed=seed,
            fold=fold,
            rows=self.folds[fold],
            budget=self.budgets[fold],
            batch_size=self.batch_size,
            metric=self.metric,
            predicts=predicts,
            decided_by={
                **self._decided_by(seed, fold),
                "policy": policy,
                "schedule": schedule_dict(schedule),
                "first_step": first_step,
                "metric": self.metric,
                "predicts": predicts,
            },
        )

    def run(self, jobs: Sequence[Job]) -> list[Done]:
        """Trains what is not finished, and returns all of it in the order given."""
        try:
            return run_jobs(jobs, self._shop)
        finally:
            self._shop.line.close()

    def _decided_by(self, seed: int, fold: int) -> dict[str, Any]:
        start, rows = self.start(seed), self.folds[fold]
        return {
            "seed": seed,
            "fold": fold,
            "rows": digest([rows.train, rows.heldout]),
            "data": self._of_data,
            "model": {**start.description, "initial_weights": start.weights},
            "epochs": self.epochs,
            "total_steps": self.budgets[fold].total_steps,
            "batch_size": self.batch_size,
            "versions": start.versions,
        }


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
