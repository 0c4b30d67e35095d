"""Data in two parts, so that a model can learn from one and be moved to the other; and new data."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np
from sklearn import datasets
from torch import Tensor

from benchmarks.finders import data
from benchmarks.finders.data import CONTEXT, SHUFFLE_SEED, Data, load


def classes(source: Callable[[], Data], low: int, high: int) -> Data:
    """The rows of the classes `low` to `high` alone, counted from 0."""
    whole = load(source)

    def chosen(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rows = (y >= low) & (y <= high)
        return x[rows], y[rows] - low

    return Data(*chosen(whole.x, whole.y), *chosen(whole.x_heldout, whole.y_heldout))


def side(source: Callable[[], Data], column: int, *, above: bool) -> Data:
    """The rows in which one column lies above its mean, or those below; columns are scaled."""
    whole = load(source)

    def chosen(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rows = (x[:, column] > 0) == above
        return x[rows], y[rows]

    return Data(*chosen(whole.x, whole.y), *chosen(whole.x_heldout, whole.y_heldout))


def shakespeare_in_capitals() -> Data:
    """As `data.shakespeare`, every letter a capital, in the codes of the whole text."""
    with gzip.open(data.folder() / "tinyshakespeare/input.txt.gz", "rb") as file:
        text = file.read()
    symbols = np.unique(np.frombuffer(text, dtype=np.uint8))
    codes = np.searchsorted(symbols, np.frombuffer(text.upper(), dtype=np.uint8)).astype(np.int64)
    windows = (len(codes) - 1) // CONTEXT
    x = codes[: windows * CONTEXT].reshape(windows, CONTEXT)
    y = codes[1 : windows * CONTEXT + 1].reshape(windows, CONTEXT)
    return data.split(x, y)


def mnist_itself() -> Data:
    """Digits to be drawn again."""
    images = load(data.mnist)
    return Data(images.x, images.x.flatten(1), images.x_heldout, images.x_heldout.flatten(1))


def mnist_upside_down() -> Data:
    images = load(data.mnist)
    return Data(images.x.flip(2), images.y, images.x_heldout.flip(2), images.y_heldout)


def iris() -> Data:
    x, y = datasets.load_iris(return_X_y=True)
    return data.split(data.scaled(x), y.astype(np.int64))


def moons() -> Data:
    """Two half-moons; a tenth of the labels are wrong."""
    x, y = datasets.make_moons(3000, noise=0.2, random_state=SHUFFLE_SEED)
    wrong = np.random.default_rng(SHUFFLE_SEED).uniform(size=len(y)) < 0.1
    return data.split(data.scaled(x), np.where(wrong, 1 - y, y).astype(np.int64))


def waves() -> Data:
    """A sum of waves over the plane, short and long ones."""
    random = np.random.default_rng(SHUFFLE_SEED)
    x = random.uniform(-1, 1, (4000, 2))
    y = np.sin(3 * x[:, 0]) + np.cos(7 * x[:, 1]) * x[:, 0] + 0.5 * np.sin(5 * (x[:, 0] + x[:, 1]))
    return data.regression(x, y, scale=True, scale_target=True)


def friedman_changed() -> Data:
    """Friedman's second function, its four inputs beside six that say nothing."""
    x, y = datasets.make_friedman2(4000, noise=50.0, random_state=SHUFFLE_SEED)
    idle = np.random.default_rng(SHUFFLE_SEED).uniform(size=(len(x), 6))
    return data.regression(np.hstack([x, idle]), y, scale=True, scale_target=True)


def counts() -> Data:
    """Numbers with a long tail: ten inputs decide how many of something there are."""
    random = np.random.default_rng(SHUFFLE_SEED)
    x = random.normal(size=(4000, 10)).astype(np.float32)
    rate = np.exp(0.6 * x[:, 0] - 0.4 * x[:, 1] * x[:, 2] + 0.3 * np.abs(x[:, 3]))
    y = random.poisson(np.minimum(rate, 50.0)).astype(np.float32).reshape(-1, 1)
    return data.split(x, y)
