"""What the conformance suite asks of an adapter: a few toy trainings, however it runs them.

A driver for another framework is a module beside `keras_driver.py` with a class of these methods;
`test_conformance.py` lists it and runs every test against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import cyclerate as cr


@dataclass(frozen=True)
class Trained:
    """What a training with a scheduled rate did, step by step."""

    recorded: list[float]
    """The rates that the adapter says it used."""

    applied: list[float]
    """How far each step moved a weight whose gradient is 1: the rates that were used."""


class Toy(Protocol):
    """A toy model in the middle of a training, with everything that a range test may disturb."""

    parameters: int | None
    """How many the trainee trains by SGD with momentum; None if it does not say what to expect."""

    def range_test(self, **options: Any) -> cr.RangeTestResult:
        """Runs the adapter's range test on it."""
        ...

    def recommend(self, **options: Any) -> cr.Recommendation:
        """Runs the adapter's recommendation on it."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Everything that must be as before: name -> bytes, numbers, or objects to be the same."""
        ...

    def train_on(self) -> np.ndarray:
        """Trains on, and gives all weights after it."""
        ...


class Driver(Protocol):
    """One adapter."""

    def train(self, schedule: cr.Schedule, steps: int) -> Trained:
        """Trains with a scheduled rate."""
        ...

    def train_in_two_parts(
        self, schedule: cr.Schedule, steps: int, first: int, folder: Path
    ) -> Trained:
        """The same with the first steps, saving to a folder, loading, and the other steps."""
        ...

    def toy(self, data: str = "plain") -> Toy:
        """A new toy: the same model, weights, data and random states each time.

        Args:
            data: "plain"; "nan", with NaN among the targets, which `train_on` does not train on;
                "tiny", a single batch.
        """
        ...
