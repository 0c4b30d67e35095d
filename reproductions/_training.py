"""What the experiments run: image sets and networks on them, range tests, and trainings."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from cyclerate.compare._learner import DataOrder, train_run
from cyclerate.compare._networks import Objective, make_objective
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Schedule
from reproductions._experiment import Results
from reproductions._record import Cell, Outcome
from reproductions.datasets import Images

if TYPE_CHECKING:
    from cyclerate.compare._keras_learner import ObjectiveLearner

CLASSES = 10
OF_IMAGES = make_objective(classes=CLASSES)
_QUICK_ROWS = (600, 300)
_ALL_AT_ONCE = 1000
_RANGE_TEST: dict[str, Any] = {
    "method": "probe",
    "start_lr": 1e-6,
    "end_lr": 10.0,
    "steps": 100,
    "repeats": 1,
}


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs and targets of a training part and a held-out part."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_heldout: NDArray[Any]
    y_heldout: NDArray[Any]


Chooses = Callable[[Cell, int, Results, int], Schedule | None]
"""Gives the schedule of a cell with a seed, of the results of other cells, over so many steps; None
where it needs a rate that was not found."""

NO_RATE = Outcome(values={})
"""The outcome of a training that needed a rate where the range test gave none."""


@dataclass(frozen=True, eq=False)
class ImageTask:
    """Images to tell apart, some of them held out; pixels stay bytes until they are in the network.

    Attributes:
        split: The images and their class numbers.
        mean: Of the training pixels.
        scale: Their standard deviation.
        notes: What was decided about them.
    """

    split: Split
    mean: float
    scale: float
    notes: tuple[str, ...]


def image_task(
    images: Images, train_rows: int | None = None, test_rows: int | None = None
) -> ImageTask:
    """Takes so many of the training and of the test images, drawn once, the same every time.

    Without a number, all of them, in a random order.
    """
    rng = np.random.default_rng(0)
    parts: list[NDArray[Any]] = []
    taken: list[str] = []
    sets = ((images.x_train, images.y_train, train_rows), (images.x_test, images.y_test, test_rows))
    for x, y, rows in sets:
        chosen = rng.permutation(len(x))[:rows]
        parts += [x[chosen], y[chosen].astype(np.int32)]
        whole = len(chosen) == len(x)
        taken.append(f"all {len(x):,}" if whole else f"{len(chosen):,} of {len(x):,}")
    split = Split(*parts)
    note = (
        f"{images.name}: {taken[0]} training images and {taken[1]} test images, shuffled once; "
        "pixels are standardised in the network."
    )
    mean, scale = float(split.x_train.mean()), float(split.x_train.std())
    return ImageTask(split, mean, scale, (note, images.note)[: 1 + bool(images.note)])


def quick_images() -> ImageTask:
    """The digits that come with scikit-learn, as images of 8x8 pixels: for quick runs."""
    bunch: Any = load_digits()
    x = (15 * bunch.images).astype(np.uint8)[..., None]
    y = bunch.target.astype(np.uint8)
    train, _ = _QUICK_ROWS
    return image_task(Images("digits", x[:train], y[:train], x[train:], y[train:]), *_QUICK_ROWS)


def conv_network(
    task: ImageTask, filters: tuple[int, ...], dense: int, *, batch_norm: bool = False
) -> Callable[[int], Any]:
    """Returns what builds a small convolutional network with the weights of a seed.

    Blocks of a 3x3 convolution and 2x2 max pooling, a dense layer, and the logits; ReLU between.

    Args:
        task: The images.
        filters: How many each convolution has.
        dense: Width of the dense layer.
        batch_norm: Normalise the outputs of the dense layer.
    """

    def build(seed: int) -> Any:
        import keras

        layers: list[Any] = [
            keras.Input(task.split.x_train.shape[1:]),
            keras.layers.Rescaling(1 / task.scale, -task.mean / task.scale),
        ]
        for i, number in enumerate(filters):
            kernel = keras.initializers.GlorotUniform(seed=1000 * seed + i)
            layers += [
                keras.layers.Conv2D(number, 3, activation="relu", kernel_initializer=kernel),
                keras.layers.MaxPooling2D(padding="same"),
            ]
        layers.append(keras.layers.Flatten())
        for i, (width, activation) in enumerate([(dense, "relu"), (CLASSES, None)]):
            kernel = keras.initializers.GlorotUniform(seed=1000 * seed + 100 + i)
            layers.append(keras.layers.Dense(width, activation, kernel_initializer=kernel))
        if batch_norm:
            layers.insert(-1, keras.layers.BatchNormalization())
        return keras.Sequential(layers)

    return build


@dataclass(frozen=True, kw_only=True, eq=False)
class Trainer:
    """Trains a network on a split, as a comparison does.

    Attributes:
        split: The data.
        build: From a seed to the network with that seed's weights; its outputs are logits.
        batch_size: Rows in a step.
        steps: Of every training.
        objective: Loss and metric; by default those of images.
        optimizer: As `cyclerate compare` names it.
        metrics: What Keras measures in training besides the loss; a range test can record it.
    """

    split: Split
    build: Callable[[int], Any]
    batch_size: int
    steps: int
    objective: Objective = OF_IMAGES
    optimizer: str = "sgd"
    metrics: tuple[str, ...] = ()

    @functools.cached_property
    def learner(self) -> ObjectiveLearner:
        """What trains the network; made when it is first asked for, as it loads Keras."""
        from cyclerate.compare._keras_learner import objective_learner

        return objective_learner(
            self.build,
            self.objective,
            self.batch_size,
            optimizer=self.optimizer,
            metrics=self.metrics,
        )

    def range_test(self, seed: int, **options: Any) -> RangeTestResult:
        """Runs a range test on the network of a seed, for a training of these steps."""
        settings: dict[str, Any] = {"horizon_steps": self.steps, **options}
        return self.learner.range_test(seed, self.split.x_train, self.split.y_train, **settings)

    def train(self, schedule: Schedule, seed: int) -> Outcome:
        """Trains by a schedule, and returns curves and final values.

        The values are "loss", "metric", "train_loss" (none of them if it diverged) and "diverged";
        the curves "steps", "loss", "metric" and "train_loss".
        """
        x, y = self.split.x_train, self.split.y_train
        run = train_run(
            self.learner,
            lambda rows: (x[rows], y[rows]),
            DataOrder(len(x), seed, self.batch_size, len(x) // self.batch_size),
            lambda: self._judged(self.learner.predict(self.split.x_heldout)),
            policy="",
            schedule=schedule,
            total_steps=self.steps,
        )
        curves = {
            "loss": run.heldout_loss,
            "metric": run.heldout_metric,
            "train_loss": run.train_loss,
        }
        ends = {name: None if run.diverged else curve[-1] for name, curve in curves.items()}
        return Outcome(
            values={**ends, "diverged": float(run.diverged)},
            curves={"steps": tuple(map(float, run.steps)), **curves},
            schedule=schedule.to_dict(),
            seconds=run.seconds,
        )

    def find_on_the_way(self, seed: int) -> Outcome:
        """Trains by a cycle that finds its own top, in exactly these steps.

        Values and curves are those of `train`, with "max_lr", the top that was found, "repairs",
        and the curve "learning_rate"; it is judged after every epoch.
        """
        import keras

        import cyclerate.keras as ck

        keras.utils.set_random_seed(seed)
        model = self.learner.make_model(seed)
        curves: dict[str, list[float]] = {"steps": [], "loss": [], "metric": [], "train_loss": []}
        steps, judging = 0, 0.0

        def count(batch: int, logs: Any) -> None:  # noqa: ARG001 - names that Keras gives
            nonlocal steps
            steps += 1

        def judge(epoch: int, logs: dict[str, float]) -> None:  # noqa: ARG001
            nonlocal judging
            began = time.perf_counter()
            outputs = model.predict(self.split.x_heldout, _ALL_AT_ONCE, verbose=0)
            told = (float(steps), *self._judged(outputs), logs["loss"])
            for curve, value in zip(curves.values(), told, strict=True):
                curve.append(value)
            judging += time.perf_counter() - began

        began = time.perf_counter()
        history: Any = ck.fit_one_cycle(
            model,
            self.split.x_train,
            self.split.y_train,
            total_steps=self.steps,
            find="warmup",
            batch_size=self.batch_size,
            callbacks=[
                keras.callbacks.LambdaCallback(on_train_batch_end=count, on_epoch_end=judge)
            ],
            verbose=0,
        )
        seconds = time.perf_counter() - began - judging
        ends = {name: curves[name][-1] for name in ("loss", "metric", "train_loss")}
        found, lrs = history.finding, history.steps["learning_rate"]
        more = {"max_lr": found["top"], "repairs": float(len(found["repairs"])), "diverged": 0.0}
        curves["learning_rate"] = [lrs[int(step) - 1] for step in curves["steps"]]
        return Outcome({**ends, **more}, {k: tuple(c) for k, c in curves.items()}, seconds=seconds)

    def _judged(self, outputs: NDArray[Any]) -> tuple[float, float]:
        y = self.split.y_heldout
        return self.objective.loss(outputs, y), self.objective.score(outputs, y)


def range_test_cell(name: str, label: str, common: dict[str, Any], **options: Any) -> Cell:
    """Makes the cell of our range test, for a training as long as its trainer's.

    Args:
        name: Of the cell.
        label: Of the cell.
        common: Its settings beside those of the range test.
        **options: Of `cyclerate.keras.range_test`, in place of the usual ones.
    """
    return Cell(name, label, {**common, "range_test": {**_RANGE_TEST, **options}})


def find_or_train(
    trainer: Trainer, cell: Cell, seed: int, results: Results, schedule: Chooses
) -> Outcome:
    """Runs the range test of a cell if that is what it is; else trains.

    Args:
        trainer: The network, its data, and how long.
        cell: The cell.
        seed: Of the weights and of the order of the data.
        results: What other cells found.
        schedule: Chooses the schedule to train by.
    """
    if "range_test" in cell.settings:
        return tested(trainer.range_test(seed, **cell.settings["range_test"]))
    chosen = schedule(cell, seed, results, trainer.steps)
    return NO_RATE if chosen is None else trainer.train(chosen, seed)


def tested(result: RangeTestResult, **more: float | None) -> Outcome:
    """Returns a range test as an outcome, with "max_lr", "base_lr", "steps" and more values."""
    values = {"max_lr": result.max_lr, "base_lr": result.base_lr, "steps": float(result.steps)}
    return Outcome({**values, **more}, found=result.to_dict(), seconds=result.seconds or 0.0)


def found_rates(results: Results, cell: str, seed: int) -> tuple[float, float] | None:
    """Base_lr and max_lr of a cell's range test; None where it gave no clear answer."""
    values = results(cell, seed).values
    low, high = values["base_lr"], values["max_lr"]
    return None if low is None or high is None else (low, high)
