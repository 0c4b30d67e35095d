"""Convolutional networks and image sets of the experiments, sized for a processor without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from cyclerate.compare._objective import Objective, make_objective
from cyclerate.compare._trainer import Split
from reproductions.datasets import Images

CLASSES = 10
_QUICK_ROWS = (600, 300)


@dataclass(frozen=True, eq=False)
class ImageTask:
    """Images to tell apart, some of them held out; pixels stay bytes until they are in the network.

    Attributes:
        name: The image set.
        split: The images and their class numbers.
        mean: Of the training pixels.
        scale: Their standard deviation.
        notes: What was decided about them.
    """

    name: str
    split: Split
    mean: float
    scale: float
    notes: tuple[str, ...]

    @property
    def objective(self) -> Objective:
        """Cross-entropy and accuracy."""
        return make_objective(classes=CLASSES)

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, channels."""
        return self.split.x_train.shape[1:]


def image_task(
    images: Images, train_rows: int | None = None, test_rows: int | None = None
) -> ImageTask:
    """Takes so many of the training and of the test images, drawn once, the same every time.

    Without a number, all of them, in a random order.
    """
    rng = np.random.default_rng(0)
    parts: list[NDArray[Any]] = []
    sets = ((images.x_train, images.y_train, train_rows), (images.x_test, images.y_test, test_rows))
    for x, y, rows in sets:
        chosen = rng.permutation(len(x))[:rows]
        parts += [x[chosen], y[chosen].astype(np.int32)]
    split = Split(*parts)
    said = (
        f"{images.name}: {_share(split.x_train, images.x_train)} training images and "
        f"{_share(split.x_heldout, images.x_test)} test images, shuffled once; "
        "pixels are standardised in the network."
    )
    mean, scale = float(split.x_train.mean()), float(split.x_train.std())
    notes = (said, images.note) if images.note else (said,)
    return ImageTask(images.name, split, mean, scale, notes)


def _share(taken: NDArray[Any], images: NDArray[Any]) -> str:
    number = f"{len(images):,}"
    return f"all {number}" if len(taken) == len(images) else f"{len(taken):,} of {number}"


def quick_images() -> ImageTask:
    """The digits that come with scikit-learn, as images of 8x8 pixels: for quick runs."""
    bunch: Any = load_digits()
    x = (15 * bunch.images).astype(np.uint8)[..., None]
    y = bunch.target.astype(np.uint8)
    train, _ = _QUICK_ROWS
    images = Images("digits", x[:train], y[:train], x[train:], y[train:])
    return image_task(images, *_QUICK_ROWS)


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
            keras.Input(task.shape),
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
