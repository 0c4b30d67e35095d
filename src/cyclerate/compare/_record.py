"""The plain values of a comparison: its runs, what was compared, and the table made of the runs.

They know no framework, and go to JSON and back, so that a page can be drawn again without training.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from cyclerate._errors import bad_argument, check_choice
from cyclerate._plain import finite_or_none

Losses = tuple[float | None, ...]
Place = tuple[int, int]
"""The seed and the fold of a run: runs of one place are a pair, whatever their policies."""


@dataclass(frozen=True)
class Run:
    """One training: one policy with one seed, on one fold of the data.

    Each evaluation adds one point to every curve; `steps` counts the optimizer steps done by then.
    A value that was not finite is None. Runs are equal whatever their wall time.
    """

    policy: str
    seed: int
    steps: tuple[int, ...]
    train_loss: Losses
    heldout_loss: Losses
    heldout_metric: Losses
    seconds: float = field(compare=False)
    diverged: bool
    fold: int = 0

    def __post_init__(self) -> None:
        for name in ("train_loss", "heldout_loss", "heldout_metric"):
            curve = getattr(self, name)
            if not _is_plain(curve):
                curve = tuple(finite_or_none(value) for value in curve)
            if len(curve) != len(self.steps):
                raise bad_argument(name, f"as long as steps ({len(self.steps)})", len(curve))
            object.__setattr__(self, name, curve)

    @property
    def place(self) -> Place:
        """Its seed and its fold."""
        return self.seed, self.fold


@dataclass(frozen=True)
class Going:
    """A run that is not at its end: its curves so far, its latest step, and the rate of that."""

    run: Run
    total_steps: int
    step: int
    rate: float


def cell_name(policy: str, seed: int, fold: int) -> str:
    """The name of the file that a run is kept in."""
    return f"{policy}-{seed}-{fold}"


def _is_plain(curve: Any) -> bool:
    """Whether these are finite numbers already, or all None: told without a look at each."""
    kinds = set(map(type, curve)) if isinstance(curve, tuple) else set[type]()
    return kinds == {type(None)} or (kinds == {float} and math.isfinite(sum(curve)))


@dataclass(frozen=True)
class PolicyInfo:
    """One policy of the comparison: its schedule as a dict, and why it has these numbers.

    `searched` says whether its rate is that of a range test, whose steps it then costs as well.
    """

    name: str
    label: str
    schedule: dict[str, Any]
    why: str
    searched: bool = False


@dataclass(frozen=True)
class DataInfo:
    """The data of a comparison; `notes` holds one sentence for every decision taken about it."""

    name: str
    rows: int
    train_rows: int
    heldout_rows: int
    features: int
    target: str
    task: str
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("classification", "regression"))


@dataclass(frozen=True)
class ModelInfo:
    """The network that every run trains, and how.

    `optimizer` says it in words; `optimizer_config` has its framework, its class, and the settings
    that are not the defaults of the class: what code is made of.
    """

    description: str
    parameters: int
    optimizer: str
    loss: str
    batch_size: int
    optimizer_config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Best:
    """The run with the lowest final held-out loss, and the file that holds its model."""

    policy: str
    seed: int
    file: str | None


@dataclass(frozen=True)
class About:
    """What was compared, where and how: all that the page says beside the numbers of the runs.

    `mode` says whether more ("max") or less ("min") of the metric is better, where that is known.
    `settings` decides all runs: a folder takes no comparison of others. Equality leaves out when,
    and by what, they were computed.
    """

    title: str
    created: str = field(compare=False)
    command: str
    versions: dict[str, str] = field(compare=False)
    machine: dict[str, str] = field(compare=False)
    data: DataInfo
    model: ModelInfo
    mode: str | None
    epochs: int
    steps_per_epoch: int
    total_steps: int
    seeds: tuple[int, ...]
    policies: tuple[PolicyInfo, ...]
    best: Best | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ("max", "min", None))

    @property
    def folds(self) -> int:
        """Into how many parts the rows were divided."""
        rows = self.settings.get("rows")
        return len(rows) if isinstance(rows, list) and rows else 1

    @property
    def cells(self) -> list[str]:
        """The names of all runs that there are to be."""
        places = product((one.name for one in self.policies), self.seeds, range(self.folds))
        return [cell_name(*place) for place in places]


@dataclass(frozen=True)
class Tested:
    """The dict of a `RangeTestResult`, and the place whose rates it found."""

    seed: int
    fold: int
    result: dict[str, Any]


@dataclass(frozen=True)
class SummaryRow:
    """One line of the table: one policy over all its seeds.

    `steps_to_reference` is the mean number of steps after which its runs reached the reference's
    final held-out loss (None if one did not); `reached` counts them, as in "3/3".
    """

    policy: str
    loss_mean: float | None
    loss_std: float | None
    metric_mean: float | None
    metric_std: float | None
    seconds_mean: float
    steps: int
    steps_to_reference: float | None
    reached: str
    diverged: int


def final(curve: Sequence[float | None]) -> float | None:
    """The last value of a curve; None if it has none, or if it was not finite."""
    return curve[-1] if curve else None


def steps_to_reference(run: Run, loss: float) -> int | None:
    """The steps after which a run's held-out loss was first at or below `loss`.

    Nothing is interpolated: the answer is one of the steps at which the loss was measured.

    >>> run = Run("one_cycle", 0, (10, 20, 30), (1, 1, 1), (0.9, 0.5, 0.4), (0, 0, 0), 1.0, False)
    >>> steps_to_reference(run, 0.5)
    20
    """
    measured = zip(run.steps, run.heldout_loss, strict=True)
    return next((step for step, value in measured if value is not None and value <= loss), None)


def finish_lines(runs: Iterable[Run], reference: str) -> dict[Place, float]:
    """The final held-out loss of the reference at each place where it did not diverge."""
    return {
        run.place: loss
        for run in runs
        if run.policy == reference
        and not run.diverged
        and (loss := final(run.heldout_loss)) is not None
    }


def summarise(
    runs: Iterable[Run], policies: Iterable[str], reference: str
) -> tuple[SummaryRow, ...]:
    """Makes the table: one row for each policy that has runs, in the order of `policies`.

    Each seed races to the final held-out loss that the reference had *with that seed* (on the same
    fold). Seeds with which the reference diverged race to nothing and are not counted. The means of
    loss and metric leave diverged runs out; their number is in the row.
    """
    runs = tuple(runs)
    lines = finish_lines(runs, reference)
    grouped = [(name, [run for run in runs if run.policy == name]) for name in policies]
    return tuple(_row(name, group, lines) for name, group in grouped if group)


def _row(policy: str, runs: list[Run], lines: dict[Place, float]) -> SummaryRow:
    sound = [run for run in runs if not run.diverged]
    racing = [run for run in runs if run.place in lines]
    arrivals = [steps_to_reference(run, lines[run.place]) for run in racing]
    reached = [steps for steps in arrivals if steps is not None]
    all_reached = bool(reached) and len(reached) == len(racing)
    return SummaryRow(
        policy,
        *_mean_and_spread(final(run.heldout_loss) for run in sound),
        *_mean_and_spread(final(run.heldout_metric) for run in sound),
        seconds_mean=statistics.fmean(run.seconds for run in runs),
        steps=max(run.steps[-1] if run.steps else 0 for run in runs),
        steps_to_reference=statistics.fmean(reached) if all_reached else None,
        reached=f"{len(reached)}/{len(racing)}",
        diverged=len(runs) - len(sound),
    )


def _mean_and_spread(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return mean, statistics.stdev(known) if len(known) > 1 else None


def pick_best(runs: Iterable[Run]) -> Run | None:
    """The run with the lowest final held-out loss; None if every one diverged."""
    ends = [(final(run.heldout_loss), run) for run in runs if not run.diverged]
    known = [(loss, run) for loss, run in ends if loss is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None
