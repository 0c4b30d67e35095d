"""The experiments there are, by name."""

from __future__ import annotations

from reproductions import cardio, k_fold, mnist, one_cycle, range_test, smith2017, snapshot
from reproductions._experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        cardio.EXPERIMENT,
        mnist.EXPERIMENT,
        range_test.EXPERIMENT,
        one_cycle.EXPERIMENT,
        smith2017.EXPERIMENT,
        k_fold.EXPERIMENT,
        snapshot.EXPERIMENT,
    )
}
