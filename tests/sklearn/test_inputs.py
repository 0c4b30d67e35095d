"""Numbers in bins, categories, and what is missing or was never seen, as inputs of a network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from cyclerate.sklearn._inputs import Categories, Group, Inputs, expanded

NAN = np.nan


def inputs(x: np.ndarray, categories: list[int | None] | None = None, **options: object) -> Inputs:
    settings = {"bins": 4, "standardize": False, **options}
    return Inputs(x, categories or [None] * x.shape[1], np.ones(len(x)), **settings)


def all_inputs(learnt: Inputs, x: np.ndarray) -> np.ndarray:
    """Without the means taken off."""
    constants = [part.copy() for part in learnt.constants]
    at = -1
    for group in learnt.groups:
        at += {"ramps": 3, "one of": 1, "as it is": 0}[group.kind]
        if group.kind != "as it is":
            constants[at][:] = 0
    return expanded(learnt.matrix(x), learnt.groups, constants, np)


def test_the_means_of_what_is_expanded_are_0():
    x = np.random.default_rng(0).normal(size=(500, 3))
    x[:, 2] = np.arange(500) % 7
    learnt = inputs(x, [None, None, 7], bins=8)
    wide = expanded(learnt.matrix(x), learnt.groups, learnt.constants, np)
    assert wide.shape == (500, 24)
    assert np.abs(wide.mean(axis=0)).max() < 1e-6
    assert wide.std(axis=0).min() == 0  # there is no eighth category


def test_a_number_fills_the_bins_below_it():
    x = np.arange(101.0)[:, None]
    wide = all_inputs(inputs(x), np.array([[-5.0], [0.0], [30.0], [50.0], [99.0], [1e9]]))
    expected = [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0.2, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0.96], [1] * 4]
    np.testing.assert_allclose(wide, expected, rtol=1e-5)


def test_bins_hold_as_many_rows_each_and_standardizing_keeps_them():
    x = np.random.default_rng(0).lognormal(0, 2, size=(4001, 1))
    for standardize in (False, True):
        full = all_inputs(inputs(x, standardize=standardize), x) >= 1
        assert full.mean(axis=0) == pytest.approx([0.75, 0.5, 0.25, 0.0], abs=0.002)


def test_a_value_of_most_rows_leaves_the_others_their_bins():
    tail = np.arange(1.0, 101.0)
    x = np.concatenate([np.zeros(900), tail])[:, None]
    full = all_inputs(inputs(x, bins=8), tail[:, None]) >= 1
    # Quantiles of all rows would have one edge above 0, the highest.
    assert full.mean(axis=0) == pytest.approx(1 - np.arange(8) / 7.5, abs=0.08)


def test_few_values_have_a_bin_each():
    x = np.tile([[0.0, 7.0, 3.0], [1.0, 7.0, 5.0], [1.0, 7.0, 9.0]], (5, 1))
    learnt = inputs(x)
    assert learnt.groups == (Group("ramps", 2, 1), Group("ramps", 1, 2))
    # The middle column says nothing; the last is cut at 5.
    assert all_inputs(learnt, x[:3]).tolist() == [[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]


def test_without_bins_a_number_stays_one():
    x = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]])
    plain = inputs(x, bins=0)
    assert all_inputs(plain, x).tolist() == x.tolist()
    z = all_inputs(inputs(x, bins=0, standardize=True), np.array([[3.0, 1e12]]))
    assert z[0, 0] == 0
    assert z[0, 1] == pytest.approx(3.0)


def test_many_columns_have_fewer_bins():
    x = np.random.default_rng(0).normal(size=(200, 300))
    assert inputs(x, bins=32).groups == (Group("ramps", 300, 4),)
    wide = np.random.default_rng(0).normal(size=(50, 600))
    assert inputs(wide, bins=32).groups == (Group("as it is", 600, 1),)


def test_what_is_missing_has_the_median_and_says_so():
    x = np.array([[0.0, 1.0], [NAN, 2.0], [4.0, 3.0], [8.0, 4.0], [NAN, 0.0]])
    learnt = inputs(x, bins=0)
    assert learnt.matrix(x)[1].tolist() == [4.0, 2.0, 1.0]
    assert learnt.matrix(x)[2].tolist() == [4.0, 3.0, 0.0]
    # Nothing was missing in the second column: then the median is all that is known.
    assert learnt.matrix(np.array([[1.0, NAN]]))[0].tolist() == [1.0, 2.0, 0.0]
    assert np.isfinite(all_inputs(inputs(np.full((3, 1), NAN)), np.array([[NAN], [2.0]]))).all()


def table() -> pd.DataFrame:
    kinds = pd.Categorical(["a", "b", "b", None, "a", "b"])
    return pd.DataFrame({"kind": kinds, "size": [1, 2, 3, 4, 5, 6], "text": ["x"] * 5 + ["y"]})


@pytest.mark.parametrize(("many", "unknown"), [(63, -1), (64, -1), (65, 64)])
def test_what_was_never_seen_is_not_missing(many: int, unknown: int):
    cells = pd.DataFrame({"town": [f"town {i}" for i in range(many)] * 2 + [None]})
    learnt = Categories(cells, "from_dtype")
    new = learnt.numbers(pd.DataFrame({"town": ["Basel", None]}))
    assert new["town"].tolist() == [unknown, {63: 63, 64: 65, 65: 65}[many]]


@pytest.mark.parametrize("kind", ["datetime64[us]", "timedelta64[s]"])
@pytest.mark.parametrize("beside", [{"town": ["Bern", "Thun"]}, {"rooms": [1.0, 2.0]}, {}])
def test_dates_are_refused_whatever_is_beside_them(kind: str, beside: dict[str, list[Any]]):
    frame = pd.DataFrame(beside | {"since": pd.Series([None, 1]).astype(kind)})
    for cells, name in ((frame, "since"), (frame[["since"]].to_numpy(), "dtype")):
        with pytest.raises(
            ValueError, match=f"of a date, parts or days as numbers. Received: '{name}: "
        ):
            Categories(cells, "from_dtype").numbers(cells)


def test_objects_beside_numbers_are_numbers_or_are_refused_by_name():
    for beside in ({}, {"town": ["Bern", "Thun", "Bern"]}):
        cells = pd.DataFrame(beside | {"on": pd.Series([True, pd.NA, None], dtype=object)})
        numbers = Categories(cells, "from_dtype").numbers(cells)["on"].to_numpy(float)
        assert np.array_equal(numbers, [1.0, NAN, NAN], equal_nan=True)
    days = pd.DataFrame({"day": pd.date_range("2024", periods=3).date})
    with pytest.raises(ValueError, match=r"X must be numbers and categories\. Received: .day: "):
        Categories(days, "from_dtype").numbers(days)


@pytest.mark.parametrize("kind", ["large", "dictionary"])
def test_texts_of_arrow_are_categories(kind: str):
    arrow = pytest.importorskip("pyarrow")
    texts = arrow.array(["x", "y", "y", None], arrow.large_string())
    cells = texts.dictionary_encode() if kind == "dictionary" else texts
    frame = pd.DataFrame({"text": pd.array(cells, dtype=pd.ArrowDtype(cells.type))})
    found = Categories(frame, "from_dtype")
    assert found.numbers(frame)["text"].tolist() == [1, 0, 0, 2]


def test_the_inputs_of_a_row_depend_on_no_other_row():
    x = np.random.default_rng(0).normal(size=(9001, 3))
    x[::7, 0], x[:, 2] = NAN, np.arange(9001) % 5
    learnt = inputs(x, [None, None, 5], standardize=True)
    parts = [learnt.matrix(x[start : start + 700]) for start in range(0, 9001, 700)]
    assert np.array_equal(learnt.matrix(x), np.concatenate(parts))
    assert learnt.matrix(x[:0]).shape == (0, 4)


def test_texts_and_categories_of_a_frame_are_found():
    x = table()
    found = Categories(x, "from_dtype")
    assert found.counts == [3, None, 2]
    numbers = found.numbers(x)
    assert list(numbers.columns) == ["kind", "size", "text"]
    assert numbers.to_numpy()[:, 0].tolist() == [1, 0, 0, 2, 1, 0]
    new = pd.DataFrame({"kind": ["c", None], "size": [0, 0], "text": [None, "y"]})
    assert found.numbers(new).to_numpy().tolist() == [[-1, 0, -1], [2, 0, 1]]
    learnt = inputs(numbers.to_numpy(), found.counts)
    rows = all_inputs(learnt, found.numbers(new).to_numpy())
    # Of the first row nothing is known but the number; the second misses its kind, and says so.
    assert rows[:, -6:].tolist() == [[0] * 6, [0, 1, 0, 0, 1, 0]]


@pytest.mark.parametrize("chosen", [["kind", "text"], [0, 2], [True, False, True]])
def test_columns_may_be_named(chosen: list[object]):
    assert Categories(table(), chosen).counts == [3, None, 2]
    cells = table().to_numpy(dtype=object)
    if chosen[0] != "kind":
        found = Categories(cells, np.array(chosen))
        assert found.counts == [3, None, 2]
        assert found.numbers(cells)[:, 1].tolist() == [1, 2, 3, 4, 5, 6]


def test_the_rare_of_many_categories_are_one():
    x = pd.DataFrame({"town": [f"t{i}" for i in range(100) for _ in range(2 if i < 64 else 1)]})
    found = Categories(x, "from_dtype")
    assert found.counts == [65]
    numbers = found.numbers(pd.DataFrame({"town": ["t3", "t99", "t64", "new"]})).to_numpy()
    assert numbers[:, 0].tolist() == [3, 64, 64, 64]


@pytest.mark.parametrize("chosen", ["kind", ["missing"], [3], [True], 1.5, [-1]])
def test_a_wrong_choice_is_named(chosen: object):
    with pytest.raises(ValueError, match="categorical_features must be"):
        Categories(table(), chosen)


@pytest.mark.keras_backend
def test_the_network_expands_as_the_prediction_does():
    x = np.random.default_rng(0).normal(size=(64, 3))
    x[:, 2] = np.arange(64) % 5 - 1
    learnt = inputs(x, [None, None, 4])
    of = learnt.groups, learnt.constants
    matrix = learnt.matrix(x)
    tensors = [keras.ops.convert_to_tensor(part) for part in (matrix, *learnt.constants)]
    wide = expanded(tensors[0], learnt.groups, tensors[1:], keras.ops)
    wide = keras.ops.convert_to_numpy(wide)
    np.testing.assert_allclose(wide, expanded(matrix, *of, np), atol=1e-6)
    assert wide.shape == (64, 12)


def test_numbers_closer_than_any_bin_are_numbers():
    x = np.array([[0.0], [1e-40], [0.1], [1.0]] * 5)
    found = all_inputs(inputs(x), x)
    assert np.isfinite(inputs(x).constants[2]).all()
    assert found.min() == 0.0
    assert found.max() == 1.0
