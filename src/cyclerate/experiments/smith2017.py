"""The paper that introduced cyclical rates: CIFAR-10, fewer steps for the same accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.data.images import cifar10
from cyclerate.experiments import saying
from cyclerate.experiments.charts import Chart, Line
from cyclerate.experiments.experiment import Experiment
from cyclerate.experiments.finding import find_rate, found_rates, range_test_chart
from cyclerate.experiments.finding import range_test_cell
from cyclerate.experiments.networks import CLASSES, quick_images
from cyclerate.experiments.record import Cell, Outcome, Reproduction, Size
from cyclerate.experiments.tables import Table, measured
from cyclerate.experiments.training import NO_RATE, NetworkTrainer, Plan, line, train
from cyclerate.report.wording import MISSING, Numbers, count
from cyclerate.schedules import (
    Constant,
    ExpRange,
    Exponential,
    Linear,
    OneCycle,
    Schedule,
    Sequence,
    Triangular,
    Triangular2,
    from_dict,
)
from cyclerate.training.objective import make_objective
from cyclerate.training.trainer import Split

BATCH, QUICK_BATCH = 100, 20
BASE_LR, MAX_LR, DECAY_FROM = 0.001, 0.006, 0.007
STEP_SIZE, DECAY_STEPS, GAMMA = 2000, 4000, 0.99994
# Rates with the iterations at which they end, as the network's authors set them.
_FIXED = ((1e-3, 60_000), (1e-4, 65_000), (1e-5, 70_000))
# The paper's second table: base_lr, max_lr, step_size, end.
_STAGES = (
    (1e-3, 5e-3, 2000, 16_000),
    (1e-4, 5e-4, 1000, 22_000),
    (1e-5, 5e-5, 500, 25_000),
)
_QUICK_SCALE = 0.0008

# Name: label, iterations, the paper's accuracy in percent.
_POLICIES: dict[str, tuple[str, int, float | None]] = {
    "fixed": ("fixed, two cuts", 70_000, 81.4),
    "triangular2-staged": ("triangular2, in stages", 25_000, 81.4),
    "triangular2": ("triangular2, halved", 25_000, None),
    "decay": ("decay", 25_000, 78.5),
    "exp": ("exp", 70_000, 79.1),
    "exp_range": ("exp_range", 42_000, 82.2),
    "one_cycle": ("1cycle, our rate", 25_000, None),
}


def cells(size: Size) -> tuple[Cell, ...]:
    """The range test for the short training, and the policies of the paper's first table."""
    scale = _QUICK_SCALE if size.quick else size.scale
    batch = QUICK_BATCH if size.quick else BATCH
    common = {"batch_size": batch, "network": "Caffe cifar10_full"}
    short = _scaled(_POLICIES["one_cycle"][1], scale)
    test = range_test_cell("range test", "our range test", 0, {**common, "steps": short})
    return (
        test,
        *(
            Cell(
                name,
                label,
                {
                    **common,
                    "steps": _scaled(steps, scale),
                    "schedule": None if name == "one_cycle" else schedule(name, scale).to_dict(),
                    "rates": test.settings if name == "one_cycle" else None,
                },
            )
            for name, (label, steps, _) in _POLICIES.items()
        ),
    )


def schedule(policy: str, scale: float) -> Schedule:
    """A policy of the paper, shorter or longer: the same rates after the same share of the steps.

    Args:
        policy: "fixed", "triangular2-staged", "triangular2", "decay", "exp" or "exp_range".
        scale: Factor on every number of steps; `gamma` is raised to its inverse.

    >>> schedule("fixed", 0.001)([0, 59, 60, 65, 69]).tolist()
    [0.001, 0.001, 0.0001, 1e-05, 1e-05]
    """
    gamma = GAMMA ** (1 / scale)
    if policy == "fixed":
        parts = [Constant(value) for value, _ in _FIXED]
        return Sequence(parts, [_scaled(end, scale) for _, end in _FIXED[:-1]])
    if policy == "triangular2-staged":
        stages = [Triangular(low, high, _scaled(half, scale)) for low, high, half, _ in _STAGES]
        return Sequence(stages, [_scaled(end, scale) for *_, end in _STAGES[:-1]])
    if policy == "triangular2":
        return Triangular2(BASE_LR, MAX_LR, _scaled(STEP_SIZE, scale))
    if policy == "decay":
        return Linear(DECAY_FROM, BASE_LR, _scaled(DECAY_STEPS, scale))
    if policy == "exp":
        steps = _scaled(_POLICIES["exp"][1], scale)
        return Exponential(MAX_LR, MAX_LR * gamma**steps, steps)
    return ExpRange(BASE_LR, MAX_LR, _scaled(STEP_SIZE, scale), gamma=gamma)


def _scaled(steps: int, scale: float) -> int:
    return max(1, round(steps * scale))


@dataclass
class Smith2017Stage:
    """The images, and the network with the mean of the training images inside."""

    name: str
    split: Split
    batch_size: int
    note: str = ""
    _trainers: dict[int, NetworkTrainer] = field(default_factory=dict, init=False, repr=False)

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the images."""
        rows = [f"{len(x):,}" for x in (self.split.x_train, self.split.x_heldout)]
        said = f"{self.name}: {rows[0]} training and {rows[1]} test images. The mean training image"
        said += " is subtracted; pixels stay between -255 and 255, as the paper's rates ask for."
        return (said, self.note) if self.note else (said,)

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Finds a rate, or trains."""
        trainer = self._trainer(cell.settings["steps"])
        if "range_test" in cell.settings:
            return find_rate(trainer, seed)
        if cell.settings["schedule"] is not None:
            return train(trainer, from_dict(cell.settings["schedule"]), seed)
        found = found_rates(done, "range test", seed)
        if found is None:
            return NO_RATE
        return train(trainer, OneCycle(found.max_lr, cell.settings["steps"]), seed)

    def _trainer(self, steps: int) -> NetworkTrainer:
        if steps not in self._trainers:
            self._trainers[steps] = NetworkTrainer(
                split=self.split,
                objective=make_objective(classes=CLASSES),
                budget=Plan(len(self.split.x_train) // self.batch_size, steps),
                batch_size=self.batch_size,
                optimizer="momentum",
                build=network(self.split.x_train),
            )
        return self._trainers[steps]


def network(x_train: NDArray[Any]) -> Callable[[int], Any]:
    """Returns what builds the network of Caffe's example for CIFAR-10 (full), from a seed."""
    mean = x_train.mean(axis=0, dtype=np.float64).astype(np.float32)

    def build(seed: int) -> Any:
        import keras

        layers = keras.layers

        def weights(number: int, deviation: float, penalty: float) -> dict[str, Any]:
            draw = keras.initializers.RandomNormal(0.0, deviation, seed=1000 * seed + number)
            # Caffe adds decay * weight to the gradient: half of it times the square to the loss.
            return {
                "kernel_initializer": draw,
                "kernel_regularizer": keras.regularizers.L2(penalty / 2),
            }

        def conv(number: int, filters: int, deviation: float) -> Any:
            return layers.Conv2D(filters, 5, padding="same", **weights(number, deviation, 0.004))

        centred = layers.Normalization((1, 2, 3), mean=mean, variance=np.ones_like(mean))
        return keras.Sequential(
            [
                keras.Input(x_train.shape[1:]),
                centred,
                conv(0, 32, 1e-4),
                layers.MaxPooling2D(3, 2, padding="same"),
                layers.ReLU(),
                layers.Lambda(_local_response),
                conv(1, 32, 0.01),
                layers.ReLU(),
                layers.AveragePooling2D(3, 2, padding="same"),
                layers.Lambda(_local_response),
                conv(2, 64, 0.01),
                layers.ReLU(),
                layers.AveragePooling2D(3, 2, padding="same"),
                layers.Flatten(),
                layers.Dense(CLASSES, **weights(3, 0.01, 1.0)),
            ]
        )

    return build


def _local_response(x: Any) -> Any:
    """Divides by (1 + 5e-5 * the mean square of 3x3 neighbours in the channel) ** 0.75."""
    from keras import ops

    size = 1.0 + 5e-5 * ops.average_pool(x * x, 3, strides=1, padding="same")
    root = ops.sqrt(size)
    return x / (root * ops.sqrt(root))


def open_stage(size: Size) -> Smith2017Stage:
    """Loads CIFAR-10, or small digits in grey for a quick run."""
    if size.quick:
        digits = quick_images().split
        x = [
            x.repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3)
            for x in (digits.x_train, digits.x_heldout)
        ]
        split = Split(x[0], digits.y_train, x[1], digits.y_heldout)
        return Smith2017Stage("small digits", split, QUICK_BATCH)
    images = cifar10()
    y = [y.astype(np.int32) for y in (images.y_train, images.y_test)]
    split = Split(images.x_train, y[0], images.x_test, y[1])
    return Smith2017Stage(images.name, split, BATCH, images.note)
