"""Cycles of several shapes on MNIST, with a small convolutional network and Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.data.images import mnist
from cyclerate.experiments import saying
from cyclerate.experiments.charts import Chart, Line
from cyclerate.experiments.experiment import Experiment
from cyclerate.experiments.finding import (
    Found,
    find_rate,
    found_rates,
    range_test_cell,
    range_test_chart,
)
from cyclerate.experiments.networks import CLASSES, quick_images
from cyclerate.experiments.record import Cell, Outcome, Reproduction, Size
from cyclerate.experiments.tables import Table, measured
from cyclerate.experiments.training import NO_RATE, NetworkTrainer, Plan, line, train
from cyclerate.report.wording import MISSING, Numbers, rate
from cyclerate.schedules import (
    Constant,
    Cyclic,
    ExpRange,
    OneCycle,
    Schedule,
    Triangular2,
    from_dict,
)
from cyclerate.training.objective import make_objective
from cyclerate.training.trainer import Split

BATCH = 50
ARTICLE = Found(base_lr=1e-4, max_lr=1e-2)
ADAM_RATE = 1e-3
_EPOCHS = 15
_HELDOUT_FRAC = 0.2
_SWEEP = {"method": "range", "start_lr": 1e-4, "end_lr": 1.0}
_SWEEP_STEPS = 960
# The article's half cycle is 4 epochs of all 60,000 images in a training on 48,000 of them: a third
# of it, which ends at the top. A quarter makes whole cycles.
_ENDS_HIGH, _WHOLE = 3, 4

_POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": (f"fixed {ADAM_RATE:g}", {}),
    "article": (
        "triangular as in the article",
        {"bounds": "article", "shape": "triangle", "halves": _ENDS_HIGH},
    ),
    "linear": ("linear", {"bounds": "article", "shape": "triangle", "halves": _WHOLE}),
    "sinusoidal": ("sinusoidal", {"bounds": "article", "shape": "cosine", "halves": _WHOLE}),
    "parabolic": ("parabolic", {"bounds": "article", "shape": "welch", "halves": _WHOLE}),
    "triangular2": ("linear, halved", {"bounds": "article", "decay": "cycle", "halves": _WHOLE}),
    "exp_range": ("linear, shrinking", {"bounds": "article", "decay": "step", "halves": _WHOLE}),
    "read": (
        "linear, bounds read here",
        {"bounds": "sweep", "shape": "triangle", "halves": _WHOLE},
    ),
    "one_cycle": ("1cycle, our rate", {"bounds": "range test"}),
}
_SHAPES = {"linear": "linear", "sinusoidal": "sinusoidal", "parabolic": "parabolic"}
_DECAYS = {"triangular2": "halved", "exp_range": "shrinking"}


def cells(size: Size) -> tuple[Cell, ...]:
    """Both range tests; the fixed rate; cycles: the article's, shapes, decays; 1cycle."""
    epochs = size.epochs(_EPOCHS, quick=2)
    common = {"batch_size": BATCH, "epochs": epochs, "heldout_frac": _HELDOUT_FRAC}
    settings = {**_SWEEP, "steps": 40 if size.quick else _SWEEP_STEPS}
    sweep = Cell("sweep", "range test as in the article", {**common, "sweep": settings})
    test = range_test_cell("range test", "our range test", epochs, common)
    bounds = {"sweep": sweep.settings, "range test": test.settings}
    trained = [
        Cell(
            name,
            label,
            {**common, "policy": name, **more, "rates": bounds.get(more.get("bounds", ""))},
        )
        for name, (label, more) in _POLICIES.items()
    ]
    return (sweep, test, *trained)


@dataclass
class MnistStage:
    """The images, the last of them held out."""

    name: str
    split: Split
    _trainers: dict[int, NetworkTrainer] = field(default_factory=dict, init=False, repr=False)

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the images."""
        rows = [f"{len(x):,}" for x in (self.split.x_train, self.split.x_heldout)]
        said = f"{self.name}: {rows[0]} images to train on, the {rows[1]} after them held out"
        return (f"{said}, as Keras splits them. Pixels are divided by 255 in the network.",)

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Sweeps, finds, or trains."""
        trainer = self._trainer(cell.settings["epochs"])
        if "sweep" in cell.settings:
            return find_rate(trainer, seed, **cell.settings["sweep"])
        if "range_test" in cell.settings:
            return find_rate(trainer, seed)
        schedule = _schedule(cell, seed, done, trainer.budget.total_steps)
        return NO_RATE if schedule is None else train(trainer, schedule, seed)

    def _trainer(self, epochs: int) -> NetworkTrainer:
        if epochs not in self._trainers:
            epoch = len(self.split.x_train) // BATCH
            self._trainers[epochs] = NetworkTrainer(
                split=self.split,
                objective=make_objective(classes=CLASSES),
                budget=Plan(epoch, epoch * epochs),
                batch_size=BATCH,
                optimizer="adam",
                build=network(self.split.x_train.shape[1:]),
            )
        return self._trainers[epochs]


def network(shape: tuple[int, ...]) -> Callable[[int], Any]:
    """Returns what builds the article's network for images of a shape, from a seed."""

    def build(seed: int) -> Any:
        import keras

        def kernel(number: int) -> Any:
            return keras.initializers.GlorotUniform(seed=1000 * seed + number)

        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input(shape),
                layers.Rescaling(1 / 255),
                layers.Conv2D(32, 3, activation="relu", kernel_initializer=kernel(0)),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 3, activation="relu", kernel_initializer=kernel(1)),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(256, activation="relu", kernel_initializer=kernel(2)),
                layers.Dense(128, activation="relu", kernel_initializer=kernel(3)),
                layers.Dense(CLASSES, kernel_initializer=kernel(4)),
            ]
        )

    return build


def _schedule(cell: Cell, seed: int, done: Reproduction, steps: int) -> Schedule | None:
    settings = cell.settings
    if "bounds" not in settings:
        return Constant(ADAM_RATE)
    source = settings["bounds"]
    bounds = ARTICLE if source == "article" else found_rates(done, source, seed)
    if bounds is None:
        return None
    if "halves" not in settings:
        return OneCycle(bounds.max_lr, steps)
    low, high, half = bounds.base_lr, bounds.max_lr, steps // settings["halves"]
    if settings.get("decay") == "cycle":
        return Triangular2(low, high, half)
    if settings.get("decay") == "step":
        # As much in a cycle as the halving, a little at every step.
        return ExpRange(low, high, half, gamma=0.5 ** (1 / (2 * half)))
    return Cyclic(low, high, half, shape=settings["shape"])


def open_stage(size: Size) -> MnistStage:
    """Loads the training images, or small digits, enlarged, for a quick run."""
    if size.quick:
        digits = quick_images().split
        x: NDArray[Any] = digits.x_train.repeat(3, axis=1).repeat(3, axis=2)
        y: NDArray[Any] = digits.y_train
        name = "small digits"
    else:
        images = mnist()
        x, y, name = images.x_train, images.y_train, images.name
    first = round(len(x) * (1 - _HELDOUT_FRAC))
    y = y.astype(np.int32)
    return MnistStage(name, Split(x[:first], y[:first], x[first:], y[first:]))
