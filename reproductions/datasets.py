"""The data sets of published experiments: three sets of images, and two tables.

`CYCLERATE_DATA` names a folder with one folder for each data set. What lies there is taken as it
is: the loaders check its shape. Otherwise a file is downloaded into a cache and checked against its
origin's SHA-256, also when it is read from the cache again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate.tables import DataMistake
from cyclerate.tables._read import check_columns, read_table

FOLDER_VARIABLE = "CYCLERATE_DATA"
_TIMEOUT_SECONDS = 30

Pixels = NDArray[np.uint8]
Arrays = Mapping[str, Pixels]


@dataclass(frozen=True)
class Origin:
    """A file at its public origin."""

    url: str
    sha256: str

    @property
    def file(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]


_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_MNIST = Origin(
    _KERAS + "mnist.npz", "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
)
_FASHION = {
    "x_train": Origin(
        _KERAS + "train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "y_train": Origin(
        _KERAS + "train-labels-idx1-ubyte.gz",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "x_test": Origin(
        _KERAS + "t10k-images-idx3-ubyte.gz",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "y_test": Origin(
        _KERAS + "t10k-labels-idx1-ubyte.gz",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}
# The archive for C programs: plain bytes, where the one for Python would have to be unpickled.
_CIFAR = Origin(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_CIFAR_BATCHES = {
    "train": [f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["cifar-10-batches-bin/test_batch.bin"],
}
_BOSTON = Origin(
    "https://raw.githubusercontent.com/scikit-learn/scikit-learn/1.1.3/sklearn/datasets/data/"
    "boston_house_prices.csv",
    "d98212636026544fc9b9c0f372e5f819872e6fa6fa757ab025efdda22180f2d6",
)
_CARDIO_PAGE = "https://www.kaggle.com/datasets/sulianova/cardiovascular-disease-dataset"
_TRAIN_ROWS = {"MNIST": 60_000, "Fashion-MNIST": 60_000, "CIFAR-10": 50_000}
_TEST_ROWS = 10_000
_CARDIO_COLUMNS = [
    *("id", "age", "gender", "height", "weight", "ap_hi", "ap_lo"),
    *("cholesterol", "gluc", "smoke", "alco", "active", "cardio"),
]
_BOSTON_COLUMNS = [
    *("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE"),
    *("DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT", "MEDV"),
]


def find_given(folder: str, names: Sequence[str]) -> Path | None:
    """Returns the first of these files that the user's folder has in `folder`."""
    given = os.environ.get(FOLDER_VARIABLE)
    if not given:
        return None
    return next((path for name in names if (path := Path(given) / folder / name).is_file()), None)


def fetch(folder: str, origin: Origin) -> Path:
    """Returns a file of a data set, downloaded unless the cache has it.

    The cache is `$XDG_CACHE_HOME/cyclerate`, or `~/.cache/cyclerate`.

    Args:
        folder: The data set's folder in the cache.
        origin: The file.

    Raises:
        DataMistake: It cannot be downloaded, or what came is not the file.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cyclerate"
    kept = cache / folder / origin.file
    if kept.is_file() and _sha256(kept) == origin.sha256:
        return kept
    import pooch

    pooch.get_logger().setLevel("WARNING")
    otherwise = f"download it yourself into the folder {folder} of a folder named {FOLDER_VARIABLE}"
    try:
        # Written under a temporary name, checked, then renamed.
        pooch.retrieve(
            origin.url,
            known_hash=f"sha256:{origin.sha256}",
            fname=origin.file,
            path=kept.parent,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS),
        )
    except ValueError as error:
        raise DataMistake(
            f"{origin.url} gave a file that is not the known one (its SHA-256 differs). It was not "
            f"kept. Try again later, or {otherwise}."
        ) from error
    except OSError as error:
        raise DataMistake(
            f"{origin.url} cannot be downloaded. Go online and run this again, or {otherwise}."
        ) from error
    return kept


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images in ten classes, as it was published.

    Attributes:
        name: What it is called.
        x_train: The training images, uint8: (images, height, width, channels).
        y_train: Their class numbers, 0 to 9.
        x_test: The test images.
        y_test: Their class numbers.
        note: Where these copies differ from the published images; "" if they do not.
    """

    name: str
    x_train: Pixels
    y_train: Pixels
    x_test: Pixels
    y_test: Pixels
    note: str = ""


def mnist() -> Images:
    """Returns 60,000 + 10,000 handwritten digits of 28x28 pixels.

    Raises:
        DataMistake: The file cannot be had, or holds something else.

    Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document
    recognition, 1998.
    """
    path = find_given("mnist", ["mnist.npz"]) or fetch("mnist", _MNIST)
    return _images("MNIST", (28, 28, 1), path, lambda: _npz(path))


def fashion_mnist() -> Images:
    """Returns 60,000 + 10,000 pictures of clothes, 28x28 pixels.

    Raises:
        DataMistake: A file cannot be had, or holds something else.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747.
    """
    if path := find_given("fashion_mnist", ["fashion_mnist.npz"]):
        return _images("Fashion-MNIST", (28, 28, 1), path, lambda: _npz(path))
    paths = {name: fetch("fashion_mnist", origin) for name, origin in _FASHION.items()}
    folder = paths["x_train"].parent
    return _images(
        "Fashion-MNIST",
        (28, 28, 1),
        folder,
        lambda: {name: _idx(path) for name, path in paths.items()},
    )


def cifar10() -> Images:
    """Returns 50,000 + 10,000 photographs of 32x32 pixels in colour.

    In the user's folder a file of the same images as JPEG (`cifar10_full_jpegbytes.npz`) is taken
    too. JPEG loses detail: `note` then says so, and such results are not to be compared closely
    with published ones.

    Raises:
        DataMistake: The file cannot be had, or holds something else.

    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    path = find_given("cifar10", [_CIFAR.file, "cifar10_full_jpegbytes.npz"])
    path = path or fetch("cifar10", _CIFAR)
    if path.suffix != ".npz":
        return _images("CIFAR-10", (32, 32, 3), path, lambda: _cifar_binary(path))
    note = (
        "The images were read from a copy that keeps them as JPEG, which loses detail: accuracies "
        "may differ from those on the original."
    )
    return _images("CIFAR-10", (32, 32, 3), path, lambda: _cifar_jpeg(path), note)


_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
)


def _images(
    name: str,
    shape: tuple[int, int, int],
    path: Path,
    read: Callable[[], Arrays],
    note: str = "",
) -> Images:
    """Reads the arrays and checks that they are what the set is known to hold."""
    try:
        arrays = read()
        x = {part: arrays[f"x_{part}"].reshape(-1, *shape) for part in ("train", "test")}
        y = {part: arrays[f"y_{part}"].ravel() for part in ("train", "test")}
    except _UNREADABLE as error:
        raise DataMistake(f"{path} cannot be read as {name} ({error}).") from error
    for part, rows in (("train", _TRAIN_ROWS[name]), ("test", _TEST_ROWS)):
        kinds = {x[part].dtype, y[part].dtype} - {np.dtype(np.uint8)}
        if (len(x[part]), len(y[part])) != (rows, rows) or kinds or y[part].max() != 9:
            raise DataMistake(
                f"{path} is not {name}: it should hold {rows:,} {part} images and labels as bytes."
            )
    return Images(name, x["train"], y["train"], x["test"], y["test"], note)


def _npz(path: Path) -> Arrays:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}


def _idx(path: Path) -> Pixels:
    """Reads the format of MNIST: two zero bytes, type, number of axes, their lengths, the bytes."""
    with gzip.open(path) as file:
        content = file.read()
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _cifar_binary(path: Path) -> Arrays:
    """Each image is its class in one byte, then its red, green and blue planes."""
    arrays: dict[str, Pixels] = {}
    with tarfile.open(path) as archive:
        for part, names in _CIFAR_BATCHES.items():
            content = b"".join(_member(archive, name) for name in names)
            rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
            arrays[f"y_{part}"] = rows[:, 0]
            arrays[f"x_{part}"] = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return arrays


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _cifar_jpeg(path: Path) -> Arrays:
    arrays: dict[str, Any] = {}
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        for part in ("train", "test"):
            content, offsets = file[f"jpeg_{part}"].tobytes(), file[f"offset_{part}"].tolist()
            arrays[f"x_{part}"] = np.stack([_jpeg(content[a:b]) for a, b in pairwise(offsets)])
            arrays[f"y_{part}"] = file[f"y_{part}"]
    return arrays


def _jpeg(content: bytes) -> Pixels:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def cardio() -> pd.DataFrame:
    """Returns 70,000 medical examinations: 11 features, `id`, and the target `cardio` (0 or 1).

    Its origin asks for a login and states no licence, so it is never downloaded here.

    Raises:
        DataMistake: The file is not in the user's folder, or is another table.

    Source: Svetlana Ulianova, Cardiovascular Disease dataset, Kaggle 2019.
    """
    path = find_given("cardio", ("cardio_train.csv", "cardio_train.csv.gz"))
    if path is None:
        raise DataMistake(
            f"The table of this experiment needs a login at its origin: download {_CARDIO_PAGE}, "
            f"put cardio_train.csv in a folder named cardio, and name the folder above it with "
            f"{FOLDER_VARIABLE}."
        )
    return _table(read_table(path, sep=";")[0], _CARDIO_COLUMNS, 70_000, path)


def boston_housing() -> pd.DataFrame:
    """Returns 506 districts of Boston: 13 features and the target `MEDV`, in 1,000 dollars.

    Kept only to repeat what was published with it. The feature `B` rests on an assumption about
    race that cannot be defended; scikit-learn withdrew the table for that. Use other data to learn
    anything about houses.

    Raises:
        DataMistake: The file cannot be had, or is another table.

    Source: Harrison and Rubinfeld, Hedonic housing prices and the demand for clean air, 1978.
    """
    path = find_given("boston", [_BOSTON.file]) or fetch("boston", _BOSTON)
    with path.open(encoding="utf-8") as file:
        # In scikit-learn's copy a line with the shape stands above the names.
        above = int(not file.readline().lstrip('"').startswith("CRIM"))
    return _table(pd.read_csv(path, skiprows=above), _BOSTON_COLUMNS, 506, path)


def _table(frame: pd.DataFrame, columns: list[str], rows: int, path: Path) -> pd.DataFrame:
    """Checks that a table is the published one."""
    check_columns(frame, columns, str(path))
    if len(frame) != rows:
        raise DataMistake(f"{path} has {len(frame):,} rows; the published table has {rows:,}.")
    return frame
