"""Trainings of an experiment: any network, a schedule, and the outcome of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cyclerate.compare._record import Cell as TrainedCell, PolicyInfo
from cyclerate.compare._trainer import KerasTrainer
from cyclerate.schedules import Schedule
from reproductions._charts import Line
from reproductions._record import Outcome, Reproduction

NO_RATE = Outcome(values={})
"""The outcome of a training that needed a rate where the range test gave none."""


@dataclass(frozen=True)
class Plan:
    """How long a training is; a `cyclerate.compare._trainer.Length`."""

    steps_per_epoch: int
    total_steps: int


@dataclass(kw_only=True)
class NetworkTrainer(KerasTrainer):
    """Trains a network that a function builds.

    Attributes:
        build: From a seed to the network with that seed's weights; its outputs are logits.
    """

    build: Callable[[int], Any]

    def network(self, seed: int) -> Any:
        """The network with the initial weights of a seed."""
        return self.build(seed)


def train(trainer: KerasTrainer, schedule: Schedule, seed: int) -> Outcome:
    """Trains the trainer's network by a schedule, and returns its curves and final values.

    The values are "loss", "metric", "train_loss" (none of them if it diverged) and "diverged"; the
    curves "steps", "loss", "metric" and "train_loss".
    """
    policy = PolicyInfo("policy", "policy", schedule.to_dict(), "")
    return outcome_of(trainer.train(policy, seed, lambda _: None), schedule)


def outcome_of(cell: TrainedCell, schedule: Schedule) -> Outcome:
    """Returns a trained cell as the outcome of a run."""
    curves = {
        "loss": cell.heldout_loss,
        "metric": cell.heldout_metric,
        "train_loss": cell.train_loss,
    }
    ends = {name: None if cell.diverged else curve[-1] for name, curve in curves.items()}
    return Outcome(
        values={**ends, "diverged": float(cell.diverged)},
        curves={"steps": tuple(map(float, cell.steps)), **curves},
        schedule=schedule.to_dict(),
        seconds=cell.seconds,
    )


def line(
    record: Reproduction, cell: str, name: str, curve: str, steps_per_epoch: int | None = None
) -> Line:
    """A curve of a cell over its steps, or epochs: the mean of its seeds, and each of them paler.

    The mean ends where the first of them ends.
    """
    runs = [run.outcome.curves for run in record.of(cell)]
    if not runs:
        return Line(name, (), ())
    unit = steps_per_epoch or 1
    axes = [[step / unit for step in curves["steps"] if step is not None] for curves in runs]
    values = [curves[curve] for curves in runs]
    shortest = min(axes, key=len)
    mean = [_mean([series[i] for series in values]) for i in range(len(shortest))]
    pale = tuple(zip(axes, values, strict=True)) if len(runs) > 1 else ()
    return Line(name, shortest, mean, pale)


def _mean(values: Sequence[float | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return sum(kept) / len(kept) if len(kept) == len(values) else None


def sooner(record: Reproduction, one: str, other: str) -> float | None:
    """After which share of its steps a cell had the final held-out loss of another, seed by seed.

    The mean over the seeds; None if it did not with one of them.
    """
    shares: list[float] = []
    for rival in record.of(other):
        finish = rival.outcome.values.get("loss")
        run = next((run for run in record.of(one) if run.seed == rival.seed), None)
        if finish is None or run is None or not run.outcome.curves:
            return None
        steps, losses = run.outcome.curves["steps"], run.outcome.curves["loss"]
        measured = zip(steps, losses, strict=True)
        arrived = [step for step, loss in measured if loss is not None and loss <= finish]
        if not arrived or arrived[0] is None or steps[-1] is None:
            return None
        shares.append(arrived[0] / steps[-1])
    return sum(shares) / len(shares) if shares else None
