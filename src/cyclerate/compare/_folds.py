"""Which rows are trained on and which are held out, by scikit-learn's splitters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument, check_count, check_number, require

_SPLIT_SEED = 0
_FOLDS = "a whole number >= 2, or a splitter of scikit-learn"


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows by their places."""

    train: NDArray[np.int_]
    heldout: NDArray[np.int_]


def hold_out(y: NDArray[Any], share: float, groups: NDArray[Any] | None = None) -> Fold:
    """Holds out a share of the rows, with classes in their proportions and groups kept whole.

    >>> fold = hold_out(np.array([0, 0, 0, 1, 1, 1]), share=1 / 3)
    >>> len(fold.train), len(fold.heldout)
    (4, 2)
    """
    share = check_number("validation", share, low=0, high=1, low_open=True, high_open=True)
    sklearn = require("sklearn.model_selection", "cli")
    settings: dict[str, Any] = {"n_splits": 1, "test_size": share, "random_state": _SPLIT_SEED}
    classes = class_of_rows(y, fewest=2)
    held_out = math.ceil(share * len(y))
    if classes is not None and len(np.unique(classes)) > min(held_out, len(y) - held_out):
        classes = None  # too many for each to be on both sides
    if groups is not None:
        splitter = sklearn.GroupShuffleSplit(**settings)
    elif classes is not None:
        splitter = sklearn.StratifiedShuffleSplit(**settings)
    else:
        splitter = sklearn.ShuffleSplit(**settings)
    return _folds_of(splitter, y, classes, groups)[0]


def make_folds(y: NDArray[Any], folds: Any, groups: NDArray[Any] | None = None) -> tuple[Fold, ...]:
    """Divides the rows into folds; the same ones whatever the seed of a training.

    Raises:
        ValueError: `folds` is neither, or divides nothing.

    >>> [fold.heldout.tolist() for fold in make_folds(np.array([0.5, 1.5, 2.5, 3.5]), folds=2)]
    [[2, 3], [0, 1]]
    """
    # Texts, arrays and modules have a `split` of their own.
    splits = not (isinstance(folds, (str, bytes, ModuleType)) or hasattr(folds, "shape"))
    if splits and hasattr(folds, "split"):
        return _folds_of(folds, y, class_of_rows(y, fewest=1), groups)
    if not isinstance(folds, (int, np.integer)) or isinstance(folds, bool):
        raise bad_argument("folds", _FOLDS, folds)
    number = check_count("folds", folds, low=2)
    if number > len(y):
        raise bad_argument("folds", f"at most as many as there are rows, {len(y)}", folds)
    sklearn = require("sklearn.model_selection", "cli")
    classes = class_of_rows(y, fewest=number)
    name = "KFold" if classes is None else "StratifiedKFold"
    if groups is not None:
        name = "GroupKFold" if classes is None else "StratifiedGroupKFold"
    shuffled = {} if name == "GroupKFold" else {"shuffle": True, "random_state": _SPLIT_SEED}
    return _folds_of(getattr(sklearn, name)(number, **shuffled), y, classes, groups)


def group_of_rows(groups: Any, rows: int) -> NDArray[Any] | None:
    """Returns the group of each row as an array; None for None.

    Raises:
        ValueError: They are not one for each row.
    """
    if groups is None:
        return None
    array = np.asarray(groups)
    if array.shape != (rows,) or array.dtype.kind not in "biufUSO":
        shape = array.shape if array.ndim else groups
        raise bad_argument("groups", f"one for each of the {rows} rows", shape)
    return array


def class_of_rows(y: NDArray[Any], fewest: int) -> NDArray[Any] | None:
    """The class of each row; None for numbers, and where a class has fewer rows than `fewest`.

    Whole numbers are classes, as are 0.0 and 1.0, and rows with a single 1.

    >>> class_of_rows(np.array([[0.0, 1.0], [1.0, 0.0]]), fewest=1).tolist()
    [1, 0]
    """
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        y = y.argmax(axis=1)
    elif y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or (y.dtype.kind == "f" and not np.isin(y, (0, 1)).all()):
        return None
    return y if np.unique(y, return_counts=True)[1].min() >= fewest else None


def _folds_of(
    splitter: Any, y: NDArray[Any], classes: NDArray[Any] | None, groups: NDArray[Any] | None
) -> tuple[Fold, ...]:
    targets = y if classes is None else classes
    rows = np.zeros((len(y), 1))
    made = tuple(
        Fold(np.asarray(train, dtype=np.int64), np.asarray(heldout, dtype=np.int64))
        for train, heldout in splitter.split(rows, targets, groups)
    )
    if not made or any(not len(fold.train) or not len(fold.heldout) for fold in made):
        raise bad_argument("folds", "a splitter that gives rows to both sides", splitter)
    return made
