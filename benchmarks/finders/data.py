"""The data of the tasks, as tensors: a training part and a part held out.

The files lie in the folder that the environment variable CYCLERATE_DATA names; three sets come
with scikit-learn. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn import datasets
from torch import Tensor

HELDOUT_FRAC = 0.2
SHUFFLE_SEED = 20260101
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Data:
    """Rows to learn from, and rows to judge by."""

    x: Tensor
    y: Tensor
    x_heldout: Tensor
    y_heldout: Tensor


def folder() -> Path:
    name = os.environ.get("CYCLERATE_DATA")
    if not name:
        raise SystemExit("set CYCLERATE_DATA to the folder with the data sets (docs/finders.md)")
    return Path(name)


def split(x: NDArray, y: NDArray) -> Data:
    """Shuffles, keeps at most 10,000 rows, and puts a fifth of them aside."""
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(x))[:MOST_ROWS]
    cut = int(len(order) * (1 - HELDOUT_FRAC))
    x_all = torch.from_numpy(np.ascontiguousarray(x[order]))
    y_all = torch.from_numpy(np.ascontiguousarray(y[order]))
    return Data(x_all[:cut], y_all[:cut], x_all[cut:], y_all[cut:])


def scaled(x: NDArray) -> NDArray:
    return ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)).astype(np.float32)


def _numeric(frame: pd.DataFrame, target: str) -> tuple[NDArray, NDArray]:
    """Returns features with medians for gaps and text one-hot, and the target."""
    features = pd.get_dummies(frame.drop(columns=target), dtype=float)
    features = features.fillna(features.median())
    return features.to_numpy(np.float64), frame[target].to_numpy()


def _table(path: str, target: str, *, scale: bool, separator: str = ",", drop: str = "") -> Data:
    frame = pd.read_csv(folder() / path, sep=separator)
    x, y = _numeric(frame.drop(columns=[drop] if drop else []), target)
    x = scaled(x) if scale else x.astype(np.float32)
    return split(x, y.astype(np.int64))


def framingham(*, scale: bool = True) -> Data:
    return _table("framingham/framingham.csv.gz", "TenYearCHD", scale=scale)


def cardio(*, scale: bool = True) -> Data:
    return _table("cardio/cardio_train.csv.gz", "cardio", scale=scale, separator=";", drop="id")


def adult_codes() -> Data:
    """Every column as a code: text by its category, numbers by their quantile of eight."""
    frame = pd.read_csv(folder() / "adult/adult.csv.gz").drop(columns=["split", "fnlwgt"])
    target = (frame.pop("income").str.contains(">")).to_numpy(np.int64)
    columns = [_codes(frame[name]) for name in frame.columns]
    sizes = [0, *np.cumsum([column.max() + 1 for column in columns])[:-1]]
    codes = np.stack([column + size for column, size in zip(columns, sizes, strict=True)], axis=1)
    return split(codes.astype(np.int64), target)


def _codes(column: pd.Series) -> NDArray:
    if pd.api.types.is_numeric_dtype(column):
        return pd.qcut(column, 8, labels=False, duplicates="drop").to_numpy(np.int64)
    return column.astype("category").cat.codes.to_numpy(np.int64) + 1


def adult() -> Data:
    frame = pd.read_csv(folder() / "adult/adult.csv.gz").drop(columns=["split", "fnlwgt"])
    frame["income"] = frame["income"].str.contains(">").astype(int)
    x, y = _numeric(frame, "income")
    return split(scaled(x), y.astype(np.int64))


def regression(x: NDArray, y: NDArray, *, scale: bool, scale_target: bool) -> Data:
    y = (scaled(y) if scale_target else y.astype(np.float32)).reshape(-1, 1)
    return split(scaled(x) if scale else x.astype(np.float32), y)


def boston(*, scale_target: bool = True) -> Data:
    frame = pd.read_csv(folder() / "boston/boston_house_prices.csv")
    return regression(*_numeric(frame, "MEDV"), scale=True, scale_target=scale_target)


def california(*, scale: bool = True) -> Data:
    frame = pd.read_csv(folder() / "california_housing/housing.csv.gz")
    return regression(*_numeric(frame, "median_house_value"), scale=scale, scale_target=True)


def diabetes() -> Data:
    x, y = datasets.load_diabetes(return_X_y=True)
    return regression(x, y, scale=True, scale_target=True)


def breast_cancer() -> Data:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return split(scaled(x), y.astype(np.int64))


def wine() -> Data:
    x, y = datasets.load_wine(return_X_y=True)
    return split(scaled(x), y.astype(np.int64))


def friedman() -> Data:
    """Friedman's first function of ten numbers, with noise of heavy tails (Student's t, 2)."""
    x, y = datasets.make_friedman1(4000, random_state=SHUFFLE_SEED)
    noise = np.random.default_rng(SHUFFLE_SEED).standard_t(2, size=len(y))
    return regression(x, y + noise, scale=True, scale_target=True)


def spirals() -> Data:
    """Two spirals of a turn and a half, one inside the other."""
    random = np.random.default_rng(SHUFFLE_SEED)
    y = random.integers(0, 2, 3000)
    turn = 3 * np.pi * np.sqrt(random.uniform(0.02, 1.0, len(y)))
    angle = turn + np.pi * y
    x = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1)
    return split(scaled(x + 0.3 * random.normal(size=x.shape)), y.astype(np.int64))


def digits() -> Data:
    x, y = datasets.load_digits(return_X_y=True)
    return split((x / 8 - 1).astype(np.float32), y.astype(np.int64))


def digits_of(low: int, high: int) -> Data:
    """The digits `low` to `high` alone, counted from 0: for training on some, then on others."""
    x, y = datasets.load_digits(return_X_y=True)
    chosen = (y >= low) & (y <= high)
    return split((x[chosen] / 8 - 1).astype(np.float32), (y[chosen] - low).astype(np.int64))


def _images(path: str) -> Data:
    """Grey images at half their size, 14 by 14."""
    with np.load(folder() / path) as file:
        pixels, labels = file["x_train"][:MOST_ROWS], file["y_train"][:MOST_ROWS]
    small = pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    small = (small - small.mean()) / small.std()
    return split(small[:, None].astype(np.float32), labels.astype(np.int64).reshape(-1))


def fashion() -> Data:
    return _images("fashion_mnist/fashion_mnist.npz")


def fashion_itself() -> Data:
    """Images to be drawn again: the numbers to predict are those that come in."""
    images = load(fashion)
    return Data(images.x, images.x.flatten(1), images.x_heldout, images.x_heldout.flatten(1))


def mnist() -> Data:
    return _images("mnist/mnist.npz")


def cifar() -> Data:
    """Colour images at half their size, 16 by 16; the stored ones are JPEGs."""
    from PIL import Image

    with np.load(folder() / "cifar10/cifar10_full_jpegbytes.npz") as file:
        stored, offset, labels = file["jpeg_train"], file["offset_train"], file["y_train"]
    pixels = np.empty((MOST_ROWS, 16, 16, 3), dtype=np.float32)
    for i in range(MOST_ROWS):
        image = Image.open(io.BytesIO(stored[offset[i] : offset[i + 1]].tobytes()))
        pixels[i] = np.asarray(image.reduce(2), dtype=np.float32)
    pixels = (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))
    return split(pixels.transpose(0, 3, 1, 2), labels[:MOST_ROWS].astype(np.int64).reshape(-1))


CONTEXT = 8


def shakespeare() -> Data:
    """Windows of 8 characters, each with the 8 that follow one place later."""
    with gzip.open(folder() / "tinyshakespeare/input.txt.gz", "rb") as file:
        text = np.frombuffer(file.read(), dtype=np.uint8)
    codes = np.unique(text, return_inverse=True)[1].astype(np.int64)
    windows = (len(codes) - 1) // CONTEXT
    x = codes[: windows * CONTEXT].reshape(windows, CONTEXT)
    y = codes[1 : windows * CONTEXT + 1].reshape(windows, CONTEXT)
    return split(x, y)


@functools.cache
def load(source: Callable[..., Data], options: tuple[tuple[str, object], ...] = ()) -> Data:
    """Reads a data set once."""
    return source(**dict(options))
