"""Are the estimators as good as boosting, and as other networks? Folds of tables, all by default.

CYCLERATE_DATA=DIR python -m benchmarks.estimators [--parts | --peers [--without NAME]]
    [--keep FILE] [TABLE ...]
CYCLERATE_DATA=DIR python -m benchmarks.estimators --predict [TABLE ...]

Every estimator is fed mixed columns as its own documentation says; `MLPClassifier`, `MLPRegressor`
and the two of pytabkit get medians for missing numbers, and the first two numbers standardised,
texts one-hot, and a standardised target. Time is that of the processor, for one fit, one thread.
`--parts` takes the development tables, and the estimators without one of their parts each.
`--peers` needs XGBoost, CatBoost and pytabkit as well; `--without TabM` spares hours. `--keep`
names a file of fits that are done: they are not done again. The tables are written into
docs/scikit-learn.md. `--predict` prints how long a million rows take, drawn from those of a table,
in the best of five times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, mean_absolute_error, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks._page import write_generated
from cyclerate.sklearn import CyclicClassifier, CyclicRegressor
from reproductions.datasets import FOLDER_VARIABLE, cardio, find_given

PAGE = Path(__file__).parents[1] / "docs" / "scikit-learn.md"
FOLDS, RUN = 5, 3
NUMBERS, CLASSES = "numbers", "classes"


def given(folder: str, name: str) -> pd.DataFrame:
    path = find_given(folder, [name])
    if path is None:
        sys.exit(f"name the folder above {folder}/{name} with {FOLDER_VARIABLE}")
    return pd.read_csv(path)


def adult() -> pd.DataFrame:
    frame = given("adult", "adult.csv.gz").drop(columns="split")
    return frame.assign(income=frame["income"].str.rstrip("."))


def places() -> pd.DataFrame:
    """Prices that hang on where a house stands, in patches, and smoothly on its size and age."""
    random = np.random.default_rng(7)
    east, north = random.uniform(0, 10, (2, 6000))
    towns, prices = random.uniform(0, 10, (40, 2)), random.normal(size=40)
    near = np.hypot(east[:, None] - towns[:, 0], north[:, None] - towns[:, 1])
    rooms, age = random.lognormal(1.5, 0.4, 6000), random.uniform(0, 60, 6000)
    price = prices[near.argmin(axis=1)] + np.exp(-near.min(axis=1)) + np.sqrt(rooms)
    price += 0.3 * (age > 45) - 0.01 * age + random.normal(0, 0.3, 6000)
    columns = {"east": east, "north": north, "rooms": rooms, "age": age, "target": np.exp(price)}
    return pd.DataFrame(columns | {"tiles": np.where(random.random(6000) < 0.05, np.nan, rooms**2)})


def incomes() -> pd.DataFrame:
    """Two classes that hang on jobs and places of many kinds, and on numbers that are mostly 0."""
    random = np.random.default_rng(8)
    jobs, towns = random.normal(size=14), random.normal(0, 0.5, size=40)
    job, town = random.integers(14, size=8000), random.geometric(0.08, size=8000) % 40
    age, hours = random.uniform(17, 80, 8000), random.choice([20, 38, 40, 40, 40, 60], 8000)
    gains = np.where(random.random(8000) < 0.08, random.lognormal(7, 2, 8000), 0.0)
    logit = jobs[job] + towns[town] - ((age - 50) / 15) ** 2 + 0.04 * hours + 0.5 * (job % 2)
    logit += 3 * ((gains > 3000) & (gains < 20000)) - 2.0
    rich = random.random(8000) < 1 / (1 + np.exp(-logit))
    columns = {"age": age, "hours": hours, "gains": gains, "target": np.where(rich, "yes", "no")}
    texts = {"job": np.char.add("job ", job.astype(str)), "town": town.astype(str)}
    return pd.DataFrame(columns | texts)


def bundled(load: Callable[..., Any]) -> Callable[[], pd.DataFrame]:
    return lambda: load(as_frame=True).frame


@dataclass(frozen=True)
class Table:
    """A table, how to read it, and what to learn."""

    name: str
    target: str
    read: Callable[[], pd.DataFrame]
    task: str

    def columns(self) -> tuple[pd.DataFrame, NDArray[Any]]:
        """Features, texts among them as categories, and the target."""
        frame = self.read()
        x = frame.drop(columns=self.target)
        texts = x.select_dtypes(exclude="number").columns
        return x.astype(dict.fromkeys(texts, "category")), frame[self.target].to_numpy()


TABLES = (
    Table(
        "california",
        "median_house_value",
        lambda: given("california_housing", "housing.csv.gz"),
        NUMBERS,
    ),
    Table("cardio", "cardio", lambda: cardio().drop(columns="id"), CLASSES),
    Table("adult", "income", adult, CLASSES),
)
DEVELOPMENT = (
    Table("places", "target", places, NUMBERS),
    Table("diabetes", "target", bundled(load_diabetes), NUMBERS),
    Table("incomes", "target", incomes, CLASSES),
    Table("framingham", "TenYearCHD", lambda: given("framingham", "framingham.csv.gz"), CLASSES),
    Table("breast cancer", "target", bundled(load_breast_cancer), CLASSES),
    Table("digits", "target", bundled(load_digits), CLASSES),
)


@dataclass(frozen=True)
class Entry:
    """An estimator, made for a task and the names of the categories, and how it is fed."""

    name: str
    make: Callable[[str, list[str]], Any]
    feed: Callable[[pd.DataFrame], pd.DataFrame] = lambda x: x
    fit: Callable[[list[str]], dict[str, Any]] = lambda names: {}


def ours(**settings: Any) -> Callable[[str, list[str]], Any]:
    settings = {"random_state": 0, **settings}
    return lambda task, _: (
        CyclicRegressor(**settings) if task == NUMBERS else CyclicClassifier(**settings)
    )


def boosting(task: str, _: list[str]) -> Any:
    kind = HistGradientBoostingRegressor if task == NUMBERS else HistGradientBoostingClassifier
    return kind(random_state=0)


def one_hot(model: Any) -> Any:
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
    return make_pipeline(prepare, model)


def perceptron(task: str, _: list[str]) -> Any:
    if task == CLASSES:
        return one_hot(MLPClassifier(random_state=0))
    return one_hot(
        TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler())
    )


def xgboost(task: str, _: list[str]) -> Any:
    xgboost = import_module("xgboost")
    kind = xgboost.XGBRegressor if task == NUMBERS else xgboost.XGBClassifier
    return kind(enable_categorical=True, n_jobs=1, random_state=0)


def catboost(task: str, names: list[str]) -> Any:
    catboost = import_module("catboost")
    kind = catboost.CatBoostRegressor if task == NUMBERS else catboost.CatBoostClassifier
    settings = {"verbose": 0, "allow_writing_files": False, "thread_count": 1, "random_seed": 0}
    return kind(cat_features=names, **settings)


def pytabkit(name: str, **of_classes: Any) -> Callable[[str, list[str]], Any]:
    def make(task: str, _: list[str]) -> Any:
        kind, settings = ("Regressor", {}) if task == NUMBERS else ("Classifier", of_classes)
        network = getattr(import_module("pytabkit"), f"{name}_{kind}")
        return network(random_state=0, device="cpu", n_threads=1, **settings)

    return make


def filled(x: pd.DataFrame) -> pd.DataFrame:
    """Medians for missing numbers, a category of its own for missing texts."""
    texts = x.select_dtypes("category").columns
    named = x[texts].astype(object).where(x[texts].notna(), "(missing)").astype(str)
    return x.fillna(x.drop(columns=texts).median()).assign(**named)


OURS = Entry("cyclerate", ours())
ENTRIES = (OURS, Entry("MLP of scikit-learn", perceptron), Entry("HistGradientBoosting", boosting))
PEERS = (
    Entry("XGBoost", xgboost),
    Entry("CatBoost", catboost, filled),
    # Without these, what its documentation says for log loss, it is trained for accuracy.
    Entry("RealMLP", pytabkit("RealMLP_TD", val_metric_name="cross_entropy", use_ls=False),
          filled, lambda names: {"cat_col_names": names}),
    Entry("TabM", pytabkit("TabM_D"), filled, lambda names: {"cat_col_names": names}),
)  # fmt: skip
PARTS = (
    OURS,
    Entry("numbers as they are", ours(bins=0)),
    Entry("8 bins", ours(bins=8)),
    Entry("one network", ours(networks=1)),
    Entry("no weight decay", ours(weight_decay=0.0)),
    Entry("all rows, all epochs", ours(validation_fraction=None)),
    Entry("HistGradientBoosting", boosting),
)


def fold(table: Table, entry: Entry, number: int) -> dict[str, float]:
    x, y = table.columns()
    names = [str(name) for name in x.select_dtypes("category").columns]
    if table.task == CLASSES:
        y = np.unique(y, return_inverse=True)[1]
    kind = KFold if table.task == NUMBERS else StratifiedKFold
    splits = kind(FOLDS, shuffle=True, random_state=0).split(x, y)
    train, test = list(splits)[number]
    x_train, x_test = entry.feed(x.iloc[train]), entry.feed(x.iloc[test])
    model = entry.make(table.task, names)
    began = time.process_time()
    model.fit(x_train, y[train], **entry.fit(names))
    seconds = time.process_time() - began
    return {**scores(table.task, model, x_test, y[test]), "seconds a fit": seconds}


def predicting(table: Table, rows: int = 1_000_000, times: int = 5) -> float:
    """The least seconds of the processor for so many rows, by a network fitted to a few."""
    x, y = table.columns()
    few, many = (np.random.default_rng(0).integers(len(x), size=size) for size in (8000, rows))
    model = ours(max_lr=0.01, epochs=2)(table.task, []).fit(x.iloc[few], y[few])
    x = x.iloc[many].reset_index(drop=True)
    seconds = []
    for _ in range(times):
        began = time.process_time()
        model.predict(x)
        seconds.append(time.process_time() - began)
    return min(seconds)


def scores(task: str, model: Any, x: pd.DataFrame, y: NDArray[Any]) -> dict[str, float]:
    if task == NUMBERS:
        predicted = np.ravel(model.predict(x))
        return {
            "RMSE": root_mean_squared_error(y, predicted),
            "mean absolute error": mean_absolute_error(y, predicted),
            "R²": 1 - float(np.mean((y - predicted) ** 2) / np.var(y)),
        }
    probabilities = np.asarray(model.predict_proba(x), dtype=np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    right = probabilities.argmax(axis=1) == y
    return {
        "accuracy": float(right.mean()),
        "log loss": log_loss(y, probabilities),
        "calibration error": calibration_error(probabilities.max(axis=1), right),
    }


def calibration_error(said: NDArray[Any], right: NDArray[Any], bins: int = 15) -> float:
    """How far what is said is from what happens, in the mean over 15 bins of equal width."""
    place = np.minimum((said * bins).astype(int), bins - 1)
    gaps = np.bincount(place, said, bins) - np.bincount(place, right, bins)
    return float(np.abs(gaps).sum() / len(said))


def run(
    tables: Sequence[Table], entries: Sequence[Entry], kept: Path | None, folds: int
) -> Iterator[tuple[Table, str, list[dict[str, float]]]]:
    done: dict[tuple[str, str, int], dict[str, float]] = {}
    if kept is not None and kept.exists():
        for line in kept.read_text().splitlines():
            record = json.loads(line)
            done[record["table"], record["entry"], record["fold"]] = record["result"]
    for table in tables:
        for entry in entries:
            for number in range(folds):
                key = table.name, entry.name, number
                if key not in done:
                    done[key] = fold(table, entry, number)
                    record = dict(zip(("table", "entry", "fold"), key, strict=True))
                    if kept is not None:
                        with kept.open("a") as file:
                            file.write(json.dumps(record | {"result": done[key]}) + "\n")
            results = [done[table.name, entry.name, number] for number in range(folds)]
            yield table, entry.name, results


def rows_of(found: list[tuple[Table, str, list[dict[str, float]]]]) -> list[str]:
    lines: list[str] = []
    before = ""
    for table, name, results in found:
        if table.name != before:
            names = list(results[0])
            lines += ["", f"**{table.name}**", "", f"| estimator | {' | '.join(names)} |"]
            lines += [f"|---|{'---:|' * len(names)}"]
        before = table.name
        cells = [spread([result[score] for result in results]) for score in list(results[0])[:-1]]
        seconds = np.median([result["seconds a fit"] for result in results])
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.1f} |")
    return lines[1:]


JUDGED_BY = {NUMBERS: "RMSE", CLASSES: "log loss"}


def mean_ranks(found: list[tuple[Table, str, list[dict[str, float]]]]) -> str:
    """In a sentence: the mean rank of each estimator over the tables that all of them have."""
    losses: dict[str, dict[str, float]] = {}
    for table, name, results in found:
        loss = np.mean([result[JUDGED_BY[table.task]] for result in results])
        losses.setdefault(table.name, {})[name] = float(loss)
    names = set.intersection(*(set(of) for of in losses.values()))
    ranks = {
        name: np.mean([sum(of[other] <= of[name] for other in names) for of in losses.values()])
        for name in names
    }
    said = ", ".join(
        f"{name} {rank:.2f}" for name, rank in sorted(ranks.items(), key=lambda r: r[1])
    )
    return f"Mean rank by RMSE and log loss, 1 the best: {said}."


def spread(values: list[float]) -> str:
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    if mean > 100:
        return f"{mean:,.0f} ± {error:,.0f}"
    return f"{mean:.4f} ± {error:.4f}"


def versions(entries: Sequence[Entry]) -> str:
    packages = ["scikit-learn", "keras", "jax", "numpy"]
    packages += ["xgboost-cpu", "catboost", "pytabkit", "torch"] if {*PEERS} & {*entries} else []
    said = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{said}, Python {platform.python_version()}, {platform.machine()}, one thread."


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--without", action="append", default=[], help="an estimator to leave out")
    parser.add_argument("--only", help="one estimator alone; nothing is written")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--folds", type=int, default=RUN, help=f"how many of the {FOLDS}")
    asked = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    entries = PARTS if asked.parts else (*ENTRIES, *(PEERS if asked.peers else ()))
    entries = tuple(
        e for e in entries if asked.only in (None, e.name) and e.name not in asked.without
    )
    tables = DEVELOPMENT if asked.parts else TABLES
    tables = tuple(t for t in tables if not asked.tables or t.name in asked.tables)
    if asked.predict:
        for table in tables:
            print(f"{table.name}: {predicting(table):.2f} s for a million rows", flush=True)
        return
    found = []
    for one in run(tables, entries, asked.keep, asked.folds):
        found.append(one)
        print(one[0].name, rows_of([one])[-1], flush=True)
    if asked.only is None:
        said = f"Mean of {asked.folds} of {FOLDS} folds ± their standard deviation; median time. "
        text = "\n".join([said + versions(entries), "", *rows_of(found), "", mean_ranks(found)])
        write_generated(PAGE, text, "parts" if asked.parts else "")


if __name__ == "__main__":
    main(sys.argv[1:])
