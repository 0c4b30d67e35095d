"""Are the estimators as good as those of scikit-learn? Five folds of three tables, all by default.

CYCLERATE_DATA=DIR python -m benchmarks.estimators [TABLE ...]

Every estimator has the same pipeline before it: medians for missing numbers, numbers standardised,
texts one-hot. `MLPRegressor` gets a standardised target too. Time is that of the processor, for one
fit, all threads together. The tables are written into docs/scikit-learn.md, one after another, as
they are finished.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks._page import write_generated
from cyclerate.sklearn import CyclicClassifier, CyclicRegressor
from reproductions.datasets import FOLDER_VARIABLE, cardio, find_given

PAGE = Path(__file__).parents[1] / "docs" / "scikit-learn.md"
FOLDS = 5


@dataclass(frozen=True)
class Table:
    """A table, how to read it, and what to learn."""

    name: str
    target: str
    read: Callable[[], pd.DataFrame]
    scores: tuple[tuple[str, str], ...]
    estimators: tuple[Any, ...]


def given(folder: str, name: str) -> pd.DataFrame:
    path = find_given(folder, [name])
    if path is None:
        sys.exit(f"name the folder above {folder}/{name} with {FOLDER_VARIABLE}")
    return pd.read_csv(path)


def adult() -> pd.DataFrame:
    frame = given("adult", "adult.csv.gz").drop(columns="split")
    return frame.assign(income=frame["income"].str.rstrip("."))


CLASSES = (("accuracy", "accuracy"), ("log loss", "neg_log_loss"))
NUMBERS = (("R²", "r2"), ("mean absolute error", "neg_mean_absolute_error"))
CLASSIFIERS = (
    CyclicClassifier(random_state=0),
    MLPClassifier(random_state=0),
    HistGradientBoostingClassifier(random_state=0),
)
REGRESSORS = (
    CyclicRegressor(random_state=0),
    TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler()),
    HistGradientBoostingRegressor(random_state=0),
)
TABLES = (
    Table(
        "california",
        "median_house_value",
        lambda: given("california_housing", "housing.csv.gz"),
        NUMBERS,
        REGRESSORS,
    ),
    Table("cardio", "cardio", lambda: cardio().drop(columns="id"), CLASSES, CLASSIFIERS),
    Table("adult", "income", adult, CLASSES, CLASSIFIERS),
)


def pipeline(estimator: Any) -> Any:
    prepare = make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_column_selector(dtype_include="number"),
        ),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    return make_pipeline(prepare, clone(estimator))


def run(table: Table) -> Iterator[tuple[str, list[dict[str, float]]]]:
    frame = table.read()
    x, y = frame.drop(columns=table.target), frame[table.target]
    for estimator in table.estimators:
        kind = StratifiedKFold if is_classifier(estimator) else KFold
        folds = kind(FOLDS, shuffle=True, random_state=0).split(x, y)
        results = [
            fold(
                table,
                pipeline(estimator),
                (x.iloc[train], y.iloc[train], x.iloc[test], y.iloc[test]),
            )
            for train, test in folds
        ]
        inner = getattr(estimator, "regressor", estimator)
        yield type(inner).__name__, results


def fold(table: Table, model: Any, split: tuple[Any, Any, Any, Any]) -> dict[str, float]:
    x_train, y_train, x_test, y_test = split
    began = time.process_time()
    model.fit(x_train, y_train)
    result = {"seconds": time.process_time() - began}
    for name, scoring in table.scores:
        score = get_scorer(scoring)(model, x_test, y_test)
        result[name] = -score if scoring.startswith("neg_") else score
    return result


def rows_of(table: Table) -> list[str]:
    names = [name for name, _ in table.scores]
    lines = [
        f"**{table.name}**",
        "",
        f"| estimator | {' | '.join(names)} | processor seconds a fit |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for estimator, results in run(table):
        cells = [spread([result[name] for result in results]) for name in names]
        seconds = np.median([result["seconds"] for result in results])
        lines.append(f"| `{estimator}` | {' | '.join(cells)} | {seconds:.1f} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def spread(values: list[float]) -> str:
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1))
    if mean > 100:
        return f"{mean:,.0f} ± {error:,.0f}"
    return f"{mean:.4f} ± {error:.4f}"


def main(wanted: list[str]) -> None:
    import keras

    warnings.simplefilter("ignore", ConvergenceWarning)
    versions = (
        f"scikit-learn {sklearn.__version__}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}, NumPy {np.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}."
    )
    lines = [f"Mean of {FOLDS} folds ± their standard deviation; median time. {versions}", ""]
    for table in TABLES:
        if not wanted or table.name in wanted:
            lines += rows_of(table)
            write_generated(PAGE, "\n".join(lines).rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
