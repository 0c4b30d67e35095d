"""Preprocessing: by value what scikit-learn's transformers do, and whole through a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cyclerate.tables import DataMistake, Preprocessing, load_csv, prepare
from tests.tables.test_prepare import numbers, table

NAN, INF = float("nan"), float("inf")
CITIES = ["Rome", "Oslo", None, "Oslo", "Oslo"] * 10


def test_preprocessing_survives_a_file_and_treats_new_rows_alike(tmp_path: Path):
    city = ["Rome", "Oslo", None, "Oslo", "Oslo"] * 10
    frame = table(x=[f"{v:.3f}".replace(".", ",") for v in numbers()], city=city)
    frame.to_csv(tmp_path / "t.csv", sep=";", index=False)
    data = load_csv(tmp_path / "t.csv", "y", sep=";")
    loaded = Preprocessing.load(data.preprocessing.save(tmp_path / "p.json"))
    assert loaded == data.preprocessing
    x: Any = loaded.columns[0]
    new = pd.DataFrame({"x": ["11,5", None], "city": ["Rome", "Paris"], "more": [1, 2]})
    features = loaded.features(new)
    np.testing.assert_allclose(features[0], [(11.5 - x.mean) / x.scale, 0, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(features[1], [(x.median - x.mean) / x.scale, 0, 0, 0], rtol=1e-5)
    assert loaded.answers(np.array([[0.9], [0.1]])) == ["1", "0"]
    with pytest.raises(DataMistake, match="no column 'city'"):
        loaded.features(new[["x"]])


def test_the_likeliest_of_many_classes_is_the_answer():
    frame = pd.DataFrame({"x": numbers(), "y": ["a", "b", "c", "a", "b"] * 10})
    preprocessing = prepare(frame, "y", name="t").preprocessing
    assert preprocessing.answers(np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])) == ["c", "a"]


def test_preprocessing_of_another_schema_is_refused():
    with pytest.raises(ValueError, match="schema of the preprocessing must be 1"):
        Preprocessing.from_dict({"schema": 2})


def holes(seed: int) -> np.ndarray:
    x = numbers(seed)
    x[seed::7] = np.nan
    return x


def test_the_inputs_are_those_of_scikit_learns_transformers(tmp_path: Path):
    frame = table(
        a=numbers(1), b=holes(2), c=holes(3), city=["Rome", "Oslo", "Bern"] * 16 + ["Rome"] * 2
    )
    data = prepare(frame, "y", name="t")
    preprocessing = Preprocessing.load(data.preprocessing.save(tmp_path / "p.json"))
    train = frame.iloc[rows_of(data.x_train, preprocessing.features(frame))]
    city: Any = preprocessing.columns[-1]
    learnt = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                list("abc"),
            ),
            ("city", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
        ]
    ).fit(train)
    new = table(a=numbers(4), b=holes(5), c=holes(6), city=["Bern", "Paris"] * 25)
    ours = pd.DataFrame(preprocessing.features(new), columns=preprocessing.inputs)
    assert set(city.categories) == {"Bern", "Oslo", "Rome"}
    theirs = ["a", "b", "c", "city = Bern", "city = Oslo", "city = Rome"]
    np.testing.assert_array_equal(ours[theirs], learnt.transform(new).astype(np.float32))
    np.testing.assert_array_equal(ours["b (missing)"], new["b"].isna())


def rows_of(part: np.ndarray, everything: np.ndarray) -> list[int]:
    """The positions of the rows of `part`; every row is there once."""
    positions = {row.tobytes(): position for position, row in enumerate(everything)}
    assert len(positions) == len(everything)
    return [positions[row.tobytes()] for row in part]


def test_names_of_new_columns_are_stripped_and_must_be_there_once():
    preprocessing = prepare(table(x=numbers()), "y", name="t").preprocessing
    assert preprocessing.features(pd.DataFrame({" x ": [1.0]})).shape == (1, 1)
    with pytest.raises(DataMistake, match="the table has 2 columns named 'x': rename them"):
        preprocessing.features(pd.DataFrame([[1.0, 2.0]], columns=["x", "x "]))
    with pytest.raises(ValueError, match="rows must be a pandas DataFrame"):
        preprocessing.features(np.zeros((2, 1)))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2), (3, 4), (3, 3, 1)])
def test_predictions_of_another_shape_are_refused(shape: tuple[int, ...]):
    frame = pd.DataFrame({"x": numbers(), "y": ["a", "b", "c", "a", "b"] * 10})
    preprocessing = prepare(frame, "y", name="t").preprocessing
    with pytest.raises(ValueError, match=r"shape of the predictions must be \(rows, 3\)"):
        preprocessing.answers(np.zeros(shape))


SAVED = json.dumps(prepare(table(x=holes(2), city=CITIES), "y", name="t").preprocessing.to_dict())


NEW = pd.DataFrame({"x": [1.0, None], "city": ["Rome", "Paris"]})


def load(values: Any, folder: Path) -> Preprocessing:
    path = folder / "junk.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return Preprocessing.load(path)


def valid() -> Any:
    return json.loads(SAVED)


def changed(path: Sequence[Any], value: Any) -> Any:
    values = inside = valid()
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return values


@pytest.mark.parametrize(
    ("path", "junk", "named"),
    [
        (["schema"], [2, "1", True, None, [1]], "schema of the preprocessing must be 1"),
        (
            ["extra"],
            [1],
            "the preprocessing must be an object with the keys schema, columns, target",
        ),
        (["columns"], [None, 3, {}, "x"], "columns must be a list"),
        (["columns"], [[]], "names of the columns must be a list of at least 1 different texts"),
        (
            ["columns", 0],
            [None, 3, [], "x", {}],
            r"columns\[0\]\.kind must be one of 'number', 'text'",
        ),
        (["columns", 0, "kind"], [None, "image", [], {}], r"columns\[0\]\.kind must be one of"),
        (
            ["columns", 0, "kind"],
            ["text"],
            r"columns\[0\] must be an object with the keys kind, name",
        ),
        (["columns", 0, "extra"], [1], r"columns\[0\] must be an object with the keys kind, name"),
        (["columns", 0, "name"], [None, 3, ["x"]], r"columns\[0\]\.name must be a text"),
        (["columns", 0, "name"], ["city"], "names of the columns must be"),
        (
            ["columns", 0, "style"],
            [None, "comma", []],
            r"columns\[0\]\.style must be one of 'plain'",
        ),
        (
            ["columns", 0, "median"],
            [None, "3", True, [1.0], 1e101],
            r"columns\[0\]\.median must be a",
        ),
        (["columns", 0, "mean"], [None, "3", True, {}, -1e101], r"columns\[0\]\.mean must be a"),
        (["columns", 0, "scale"], [None, "3", 0, -1.0, 1e101], r"columns\[0\]\.scale must be a"),
        (
            ["columns", 0, "mean"],
            [10**400],
            r"columns\[0\]\.mean must be a finite number",
        ),
        (
            ["columns", 0, "indicator"],
            [None, 1, "true"],
            r"columns\[0\]\.indicator must be true or",
        ),
        (["columns", 1, "categories"], [None, "ab", {}, [], [1], ["a", "a"]], "different texts"),
        (["target", "mean"], [NAN, INF], "is not JSON"),
        (["target"], [None, 3, [], "x", {}], "target must be an object with the keys name, task"),
        (["target", "name"], [None, 3], r"target\.name must be a text"),
        (
            ["target", "task"],
            [None, "ranking", []],
            r"target\.task must be one of 'classification'",
        ),
        (["target", "task"], ["regression"], "classes must be texts for classification, else null"),
        (["target", "classes"], [None], "classes must be texts for classification, else null"),
        (["target", "classes"], [3, "ab", [], ["a"], ["a", "a"], [1, 2]], "at least 2 different"),
        (["target", "mean"], [None, "0", 10**400], r"target\.mean must be a finite number"),
        (["target", "scale"], [None, 0, -1, 10**400], r"target\.scale must be a finite number > 0"),
    ],
    ids=str,
)
def test_junk_values_are_named_with_the_file(
    path: list[str | int], junk: list[Any], named: str, tmp_path: Path
):
    for value in junk:
        with pytest.raises(ValueError, match=rf"junk\.json holds no preprocessing: .*{named}"):
            load(changed(path, value), tmp_path)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value, the containers included."""
    keys = (
        values
        if isinstance(values, dict)
        else range(len(values) if isinstance(values, list) else 0)
    )
    return [place for key in keys for place in ((*path, key), *places(values[key], (*path, key)))]


PLACES = places(valid())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


# Older files have no transform of the target.
NEEDED = [path for path in PLACES if isinstance(path[-1], str) and path[-1] != "transform"]


@pytest.mark.parametrize("path", NEEDED, ids=str)
def test_every_key_is_needed(path: tuple[Any, ...], tmp_path: Path):
    values = inside = valid()
    for key in path[:-1]:
        inside = inside[key]
    del inside[path[-1]]
    with pytest.raises(ValueError, match=r"junk\.json holds no preprocessing: "):
        load(values, tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PLACES), value=JSON)
def test_any_change_is_named_or_kept_as_it_is(path: tuple[Any, ...], value: Any, tmp_path: Path):
    values = changed(path, value)
    try:
        loaded, said = load(values, tmp_path), ""
    except ValueError as error:
        loaded, said = None, str(error)
    if loaded is None:
        assert "junk.json holds no preprocessing: " in said
        return
    assert json.loads(json.dumps(loaded.to_dict())) == values
    names = [column.name for column in loaded.columns]
    features = loaded.features(NEW.set_axis(names, axis=1))
    assert features.shape == (2, len(loaded.inputs))
    assert len(loaded.answers(np.zeros((2, 1)))) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 100_000],
    ids=lambda content: repr(content[:9]),
)
def test_junk_files_are_named(content: bytes, tmp_path: Path):
    path = tmp_path / "junk.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"junk\.json holds no preprocessing"):
        Preprocessing.load(path)


def test_a_missing_file_is_just_that(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Preprocessing.load(tmp_path / "nothing.json")
