"""Dense networks in Keras 3, the optimizers that go by a name, and how outputs are judged.

Outputs are logits for classes and the standardised number for regression, so that a loss is exact
where a probability would already be 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument, check_choice, require

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "nadam": ("Nadam", {}),
    "rmsprop": ("RMSprop", {}),
    "adagrad": ("Adagrad", {}),
}


def make_optimizer(name: str) -> Any:
    """Makes an optimizer of Keras with its own default rate.

    Raises:
        ValueError: The name is not in `OPTIMIZERS`.
    """
    import keras

    kind, settings = OPTIMIZERS[check_choice("optimizer", name, OPTIMIZERS)]
    return getattr(keras.optimizers, kind)(**settings)


def usual_batch_size(train_rows: int) -> int:
    """Plans about 200 steps an epoch: the power of two nearest to rows / 200, from 32 to 1,024.

    >>> usual_batch_size(56_000)
    256
    """
    wanted = max(train_rows / 200, 1)
    return int(min(max(2 ** round(np.log2(wanted)), 32), 1024, train_rows))


def usual_hidden(train_rows: int, inputs: int) -> tuple[int, int]:
    """Sizes two hidden layers to the data: wider for more inputs, narrower for few rows.

    >>> usual_hidden(56_000, 11)
    (64, 32)
    """
    wide = 64 if inputs <= 64 else 128 if inputs <= 256 else 256
    if train_rows < 1000:
        wide //= 2
    return wide, wide // 2


def dense_network(inputs: int, hidden: tuple[int, ...], outputs: int, seed: int) -> Any:
    """Builds a dense network with ReLU between its layers; global random state is left alone."""
    import keras

    layers = [
        keras.layers.Dense(
            width,
            activation="relu" if i < len(hidden) else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=1000 * seed + i),
        )
        for i, width in enumerate([*hidden, outputs])
    ]
    return keras.Sequential([keras.Input((inputs,)), *layers])


def dense_words(inputs: int, hidden: tuple[int, ...], outputs: int) -> str:
    """Describes such a network.

    >>> dense_words(3, (8, 4), 1)
    '3 dense layers, 3 - 8 - 4 - 1, ReLU'
    """
    shape = " - ".join(map(str, (inputs, *hidden, outputs)))
    return f"{len(hidden) + 1} dense layers, {shape}, ReLU"


Outputs = NDArray[np.float64]
Unit = Callable[[NDArray[Any]], NDArray[Any]]
Score = Callable[[Outputs, NDArray[Any], Unit], float]


@dataclass(frozen=True)
class Objective:
    """Loss and metric of a task.

    `unit` turns what the network learns into the target's own unit; by default times `scale`.
    """

    loss_name: str
    outputs: int
    metric: str
    mode: str
    scale: float = 1.0
    unit: Unit | None = None

    def loss(self, outputs: Outputs, y: NDArray[Any]) -> float:
        """The mean loss of these outputs; not finite if any of them is not."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.mean(_LOSSES[self.loss_name](outputs.astype(np.float64), y)))

    def score(self, outputs: Outputs, y: NDArray[Any]) -> float:
        """The metric of these outputs; NaN if any of them is not finite."""
        if not np.isfinite(outputs).all():
            return float("nan")
        score = _METRICS[self.metric][2]
        unit = self.unit or (lambda values: values * self.scale)
        with np.errstate(over="ignore", invalid="ignore"):
            return float(score(outputs.astype(np.float64), y, unit))


def make_objective(
    classes: int | None, metric: str | None = None, scale: float = 1.0, unit: Unit | None = None
) -> Objective:
    """Makes the objective of a task.

    Raises:
        ValueError: The metric is unknown, or does not fit the task.
    """
    task = "regression" if classes is None else "two classes" if classes == 2 else "many classes"
    fitting = [name for name, (_, tasks, _) in _METRICS.items() if task in tasks]
    chosen = fitting[0] if metric is None else metric
    if chosen not in fitting:
        allowed = f"one of {', '.join(fitting)} for this target ({task})"
        raise bad_argument("metric", allowed, metric)
    loss, outputs = {
        "regression": ("mean_squared_error", 1),
        "two classes": ("binary_crossentropy", 1),
        "many classes": ("sparse_categorical_crossentropy", classes or 1),
    }[task]
    return Objective(loss, outputs, chosen, _METRICS[chosen][0], scale, unit)


def keras_loss(name: str) -> Any:
    """The loss of logits, or of standardised numbers, as an object of Keras."""
    import keras

    if name == "binary_crossentropy":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    if name == "sparse_categorical_crossentropy":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.losses.MeanSquaredError()


def _binary_loss(z: Outputs, y: NDArray[Any]) -> Outputs:
    return np.logaddexp(0.0, z[:, 0]) - y * z[:, 0]


def _categorical_loss(z: Outputs, y: NDArray[Any]) -> Outputs:
    return np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), y]


def _squared_loss(z: Outputs, y: NDArray[Any]) -> Outputs:
    return (z[:, 0] - y) ** 2


def losses_of_rows(loss_name: str, z: Outputs, y: NDArray[Any]) -> Outputs:
    """Returns the loss of each row; targets may be columns, of which a regression has several.

    >>> losses_of_rows("mean_squared_error", np.ones((2, 2)), np.array([[1.0, 3.0], [0.0, 1.0]]))
    array([2. , 0.5])
    """
    if loss_name == "mean_squared_error":
        return ((z - y.reshape(z.shape)) ** 2).mean(axis=1)
    return _LOSSES[loss_name](z, y.reshape(len(z)))


_LOSSES: dict[str, Callable[[Outputs, NDArray[Any]], Outputs]] = {
    "binary_crossentropy": _binary_loss,
    "sparse_categorical_crossentropy": _categorical_loss,
    "mean_squared_error": _squared_loss,
}


def _chosen(z: Outputs) -> NDArray[Any]:
    return (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)


def _accuracy(z: Outputs, y: NDArray[Any], _: Unit) -> float:
    return float((_chosen(z) == y).mean())


def _balanced_accuracy(z: Outputs, y: NDArray[Any], _: Unit) -> float:
    # The mean recall of the classes that are there.
    return float(_metrics().recall_score(y, _chosen(z), labels=np.unique(y), average="macro"))


def _roc_auc(z: Outputs, y: NDArray[Any], _: Unit) -> float:
    return float(_metrics().roc_auc_score(y, z[:, 0]))


def rarer(y: NDArray[Any]) -> int:
    """Which of two classes, 0 and 1, has fewer rows; 1 where both have as many.

    >>> rarer(np.array([0, 1, 1])), rarer(np.array([0, 1]))
    (0, 1)
    """
    return int(2 * np.count_nonzero(y) <= len(y))


def _average_precision(z: Outputs, y: NDArray[Any], _: Unit) -> float:
    # Classes are in alphabetical order, and that of the common one is near 1 by itself.
    positive = rarer(y)
    own = z[:, 0] if positive else -z[:, 0]
    return float(_metrics().average_precision_score(y == positive, own))


def _metrics() -> Any:
    return require("sklearn.metrics", "cli")


def _rmse(z: Outputs, y: NDArray[Any], unit: Unit) -> float:
    return float(np.sqrt(np.mean((unit(z[:, 0]) - unit(y)) ** 2)))


def _mae(z: Outputs, y: NDArray[Any], unit: Unit) -> float:
    return float(np.abs(unit(z[:, 0]) - unit(y)).mean())


def _r2(z: Outputs, y: NDArray[Any], unit: Unit) -> float:
    own = unit(y.astype(np.float64))
    return 1.0 - float(np.mean((unit(z[:, 0]) - own) ** 2) / np.var(own))


_CLASSES = ("two classes", "many classes")
_METRICS: dict[str, tuple[str, tuple[str, ...], Score]] = {
    "accuracy": ("max", _CLASSES, _accuracy),
    "balanced_accuracy": ("max", _CLASSES, _balanced_accuracy),
    "roc_auc": ("max", ("two classes",), _roc_auc),
    "average_precision": ("max", ("two classes",), _average_precision),
    "rmse": ("min", ("regression",), _rmse),
    "mae": ("min", ("regression",), _mae),
    "r2": ("max", ("regression",), _r2),
}
METRICS = tuple(_METRICS)
