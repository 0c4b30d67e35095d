"""The tables of published experiments: cardiovascular disease, and Boston Housing."""

from __future__ import annotations

import pandas as pd

from cyclerate.tables import DataMistake
from cyclerate.tables._read import check_columns, read_table
from reproductions.origins import FOLDER_VARIABLE, Origin, fetch, find_given

_CARDIO_FILES = ("cardio_train.csv", "cardio_train.csv.gz")
_CARDIO_PAGE = "https://www.kaggle.com/datasets/sulianova/cardiovascular-disease-dataset"
_CARDIO_COLUMNS = [
    *("id", "age", "gender", "height", "weight", "ap_hi", "ap_lo"),
    *("cholesterol", "gluc", "smoke", "alco", "active", "cardio"),
]

_BOSTON_FILE = "boston_house_prices.csv"
_BOSTON = Origin(
    "https://raw.githubusercontent.com/scikit-learn/scikit-learn/1.1.3/sklearn/datasets/data/"
    + _BOSTON_FILE,
    "d98212636026544fc9b9c0f372e5f819872e6fa6fa757ab025efdda22180f2d6",
)
_BOSTON_COLUMNS = [
    *("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE"),
    *("DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT", "MEDV"),
]


def cardio() -> pd.DataFrame:
    """Returns 70,000 medical examinations: 11 features, `id`, and the target `cardio` (0 or 1).

    Its origin asks for a login and states no licence, so it is never downloaded here.

    Raises:
        DataMistake: The file is not in the user's folder, or is another table.

    Source: Svetlana Ulianova, Cardiovascular Disease dataset, Kaggle 2019.
    """
    path = find_given("cardio", _CARDIO_FILES)
    if path is None:
        raise DataMistake(
            f"The table of this experiment needs a login at its origin: download {_CARDIO_PAGE}, "
            f"put cardio_train.csv in a folder named cardio, and name the folder above it with "
            f"{FOLDER_VARIABLE}."
        )
    frame, _ = read_table(path, sep=";")
    check_columns(frame, _CARDIO_COLUMNS, str(path))
    _check_rows(frame, 70_000, str(path))
    return frame


def boston_housing() -> pd.DataFrame:
    """Returns 506 districts of Boston: 13 features and the target `MEDV`, in 1,000 dollars.

    Kept only to repeat what was published with it. The feature `B` rests on an assumption about
    race that cannot be defended; scikit-learn withdrew the table for that. Use other data to learn
    anything about houses.

    Raises:
        DataMistake: The file cannot be had, or is another table.

    Source: Harrison and Rubinfeld, Hedonic housing prices and the demand for clean air, 1978.
    """
    path = find_given("boston", [_BOSTON_FILE]) or fetch("boston", _BOSTON)
    with path.open(encoding="utf-8") as file:
        # In scikit-learn's copy a line with the shape stands above the names.
        above = int(not file.readline().lstrip('"').startswith("CRIM"))
    frame = pd.read_csv(path, skiprows=above)
    check_columns(frame, _BOSTON_COLUMNS, str(path))
    _check_rows(frame, 506, str(path))
    return frame


def _check_rows(frame: pd.DataFrame, rows: int, file: str) -> None:
    if len(frame) != rows:
        raise DataMistake(f"{file} has {len(frame):,} rows; the published table has {rows:,}.")
