"""A task: a training whose best rate is to be found, and what its model has been through before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from benchmarks.finders.adapting import Groups, new_head
from benchmarks.finders.data import Data


@dataclass(frozen=True)
class Before:
    """Some training at a constant rate, before the task begins.

    `source` is other data than the task's own, for a model that is fine-tuned; its last layer
    is then new again.
    """

    steps: int
    lr: float
    source: Callable[[], Data] | None = None
    adapt: Callable[[nn.Module], Groups] | None = None
    """Turns the trained model into the one to train; returns what is trained, at which shares of
    the rate. Default: a new last layer if there is a `source`, and all of it is trained."""

    def turn(self, model: nn.Module) -> Groups:
        """Prepares the trained model for the task."""
        if self.adapt is not None:
            return self.adapt(model)
        return new_head(model) if self.source else [(list(model.parameters()), 1.0)]


@dataclass(frozen=True)
class Task:
    """A training whose best rate is to be found."""

    name: str
    source: Callable[[], Data]
    model: Callable[[], nn.Module]
    optimizer: str
    batch_size: int
    steps: int
    """Length of the training, in optimizer steps."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the optimizer."""
    before: Before | None = None
    group: str | None = None
    """Default: "design" or "validation", by a hash of the name."""

    @property
    def half(self) -> str:
        """The group: rules are tuned on "design", judged on "validation", and last on "fresh".

        Later tasks are in "new fresh", "fine-tuning" (rules may be tuned on it) and "fine-tuning
        fresh".
        """
        if self.group:
            return self.group
        first = hashlib.sha256(self.name.encode()).digest()[0]
        return "design" if first % 2 else "validation"

    @property
    def fresh(self) -> bool:
        """Whether it was written down before it was trained, and nothing is tuned on it."""
        return "fresh" in self.half
