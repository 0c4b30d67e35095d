"""A framework of one's own, by the adapter of `examples/own_framework.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import cyclerate as cr
from cyclerate import finder
from cyclerate.finder._sweep import settings_of
from examples.own_framework import Network, NetworkTrainee
from tests.adapters.driver import Trained

OF_THE_SWEEP = ("start_lr", "end_lr", "steps", "spacing")


class NumpyDriver:
    """Drives a loop in NumPy, which asks the schedule for each rate, and the finder."""

    def train(self, schedule: cr.Schedule, steps: int) -> Trained:
        return self._go_on(schedule, 0, steps)

    def train_in_two_parts(
        self, schedule: cr.Schedule, steps: int, first: int, folder: Path
    ) -> Trained:
        begun = self._go_on(schedule, 0, first)
        (folder / "half.json").write_text(json.dumps(first))
        resumed = self._go_on(schedule, json.loads((folder / "half.json").read_text()), steps)
        return Trained(begun.recorded + resumed.recorded, begun.applied + resumed.applied)

    def toy(self, data: str = "plain") -> NumpyToy:
        return NumpyToy(data)

    @staticmethod
    def _go_on(schedule: cr.Schedule, step: int, last: int) -> Trained:
        recorded = [schedule(i) for i in range(step, last)]
        weights = np.cumsum([0.0, *(-lr for lr in recorded)])  # the gradient is 1
        return Trained(recorded, (-np.diff(weights)).tolist())


class NumpyToy:
    """The network of the example, trained an epoch; dropout has a generator of its own."""

    parameters = None

    def __init__(self, data: str) -> None:
        random = np.random.default_rng(1)
        self.x = 20.0 * random.normal(size=(8 if data == "tiny" else 40, 3))
        self.y = (self.x[:, 0] > 0).astype(int)
        self.network = Network(3, 4, 2, seed=2)
        self._train(epochs=1)
        self.tested_x = self.x.copy()
        if data == "nan":
            self.tested_x[::2] = np.nan

    def range_test(self, **options: Any) -> cr.RangeTestResult:
        return self._asked(finder.range_test, finder.RangeTestSettings, options)

    def recommend(self, **options: Any) -> cr.Recommendation:
        return self._asked(finder.recommend, finder.RecommendationSettings, options)

    def _asked(self, function: Any, kind: Any, options: dict[str, Any]) -> Any:
        verbose = options.pop("verbose", "auto")
        sweep = {**vars(kind.DEFAULT_SWEEP)}
        sweep |= {name: options.pop(name) for name in OF_THE_SWEEP if name in options}
        settings = settings_of(kind, None, sweep, **options)
        if getattr(settings, "epochs", None) is not None:
            settings = settings.in_steps(5)
        return function(
            NetworkTrainee(self.network, self.tested_x, self.y, batch_size=8),
            settings,
            verbose=verbose,
        )

    def state(self) -> Mapping[str, Any]:
        network = self.network
        arrays = [*network.weights, *network.velocities, self.x, self.tested_x, self.y]
        return {
            "values": [array.tobytes() for array in arrays],
            "random": network.random.bit_generator.state,
        }

    def train_on(self) -> np.ndarray:
        self._train(epochs=2)
        return np.concatenate([weight.ravel() for weight in self.network.weights])

    def _train(self, epochs: int) -> None:
        for _ in range(epochs):
            for rows in self.network.random.permutation(len(self.x)).reshape(-1, 8):
                self.network.step(self.x[rows], self.y[rows], lr=0.05)
