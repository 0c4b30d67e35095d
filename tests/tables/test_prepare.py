"""A table becomes arrays: by value, with every decision said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cyclerate.tables import DataMistake, digits, prepare

ROWS = 50


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"y": [0, 1] * (ROWS // 2), **columns})


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10.0, 3.0, ROWS)


def test_the_split_is_a_fifth_stratified_and_always_the_same():
    frame = pd.DataFrame({"x": numbers(), "y": [1] * 10 + [0] * 40})
    one, two = (prepare(frame, "y", name="t") for _ in range(2))
    assert (len(one.y_train), len(one.y_heldout)) == (40, 10)
    assert (one.y_train.sum(), one.y_heldout.sum()) == (8, 2)
    np.testing.assert_array_equal(one.x_heldout, two.x_heldout)
    assert one.notes[-1] == "Held out 10 of 50 rows, at random, each class in proportion."


def test_numbers_are_standardised_on_the_training_part_alone():
    data = prepare(table(x=numbers()), "y", name="t")
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1.0, atol=1e-6)
    assert abs(data.x_heldout.mean()) > 1e-3


def test_a_regression_target_is_standardised_and_can_be_undone():
    frame = pd.DataFrame({"x": numbers(), "y": numbers(1)})
    data = prepare(frame, "y", name="t")
    assert data.target.task == "regression"
    np.testing.assert_allclose([data.y_train.mean(), data.y_train.std()], [0.0, 1.0], atol=1e-6)
    answers = data.preprocessing.answers(data.y_train[:, None])
    assert isinstance(answers, np.ndarray)
    assert np.isin(np.round(answers, 4), np.round(frame["y"], 4)).all()


def test_missing_numbers_are_the_median_and_an_input_says_where():
    x = numbers()
    x[::5] = np.nan
    data = prepare(table(x=x), "y", name="t")
    column: Any = data.preprocessing.columns[0]
    everything = np.concatenate([data.x_train, data.x_heldout])
    where = everything[:, 1] == 1.0
    assert data.preprocessing.inputs == ("x", "x (missing)")
    assert where.sum() == 10
    np.testing.assert_allclose(
        everything[where, 0], (column.median - column.mean) / column.scale, rtol=1e-5
    )
    assert (
        f"Missing numbers became the median, and an input says where: x ({column.median:.4g})."
        in (data.notes)
    )


def test_text_is_one_input_for_each_category_and_missing_is_one():
    city = ["Rome", "Oslo", None, "Oslo", "Oslo"] * 10
    data = prepare(table(x=numbers(), city=city), "y", name="t")
    assert data.preprocessing.inputs[1:] == (
        "city = Oslo",
        "city = Rome",
        "city = (missing)",
    )
    np.testing.assert_array_equal(data.x_train[:, 1:].sum(axis=1), 1.0)
    assert "One input for each category of: city (3)." in data.notes


def test_many_categories_keep_the_frequent_ones():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": [0, 1] * 200, "x": rng.normal(size=400)})
    frame["code"] = [f"c{i}" for i in [*range(40), *([0, 1, 2] * 120)]]
    data = prepare(frame, "y", name="t")
    code: Any = data.preprocessing.columns[1]
    assert len(code.categories) == 31
    assert set(code.categories[:3]) == {"c0", "c1", "c2"}
    assert code.categories[-1] == "(other)"
    said = "'code' has 40 categories: the 30 most frequent are kept, the rest count as one."
    assert said in data.notes


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"id": np.arange(ROWS)[::-1]}, "numbering the rows (no value is there twice): id"),
        (
            {"n": np.arange(100, 100 + 3 * ROWS, 3)},
            "numbering the rows (no value is there twice): n",
        ),
        (
            {"order_no": np.random.default_rng(0).permutation(1000)[:ROWS]},
            "numbering the rows (no value is there twice): order_no",
        ),
        (
            {"mix": np.random.default_rng(0).permutation(ROWS)},
            "numbering the rows (no value is there twice): mix",
        ),
        (
            {
                "long": 123456789012345678
                + np.random.default_rng(0).permutation(ROWS) % 7 * 10**9
                + np.random.default_rng(1).permutation(ROWS)
            },
            "naming the rows (whole numbers of one length, none there twice): long",
        ),
        ({"day": ["2021-03-04"] * ROWS}, "'2021-03-04' in every row: day"),
        ({"c": [7] * ROWS}, "7 in every row: c"),
        ({"c": ["a"] * ROWS}, "'a' in every row: c"),
        ({"e": [None] * ROWS}, "empty: e"),
        (
            {"t": [f"text {i}" for i in range(ROWS)]},
            "text that differs from row to row (50 values): t",
        ),
        ({"copy": numbers()}, "equal to 'x' in every row: copy"),
        ({"leak": [0, 1] * (ROWS // 2)}, "equal to 'y' in every row: leak"),
    ],
)
def test_columns_that_teach_nothing_are_left_out_and_said(column: dict[str, object], said: str):
    data = prepare(table(x=numbers(), **column), "y", name="t")
    assert data.preprocessing.inputs == ("x",)
    assert f"Left out, {said}." in data.notes


def test_whole_numbers_that_happen_to_differ_are_kept():
    shuffled = np.random.default_rng(3).permutation(1000)[:ROWS]
    data = prepare(table(price=shuffled), "y", name="t")
    assert data.preprocessing.inputs == ("price",)


def test_far_values_and_repeated_rows_are_said():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": [0, 1] * 500, "x": rng.normal(size=1000)})
    frame.loc[10, "x"] = 1e6
    frame = pd.concat([frame, frame.iloc[:3]], ignore_index=True)
    notes = prepare(frame, "y", name="t").notes
    assert "3 rows repeat an earlier row exactly; they were kept." in notes
    assert "Kept as they are, some values over 20 scales away: x." in notes


def test_columns_can_be_dropped():
    data = prepare(table(x=numbers(), z=numbers(2)), "y", name="t", drop=["z"])
    assert data.preprocessing.inputs == ("x",)
    assert "Left out, as asked: z." in data.notes


@pytest.mark.parametrize(
    ("frame", "drop", "says"),
    [
        (table(x=numbers()).head(19), [], "19 usable rows: too few"),
        (table(x=numbers()), ["y"], "'y' is also in --drop"),
        (table(x=numbers()), ["x"], r"no column left to learn 'y' from\.\nLeft out, as asked: x"),
        (table(x=numbers()), ["z"], "no column 'z'"),
    ],
)
def test_what_cannot_be_learnt_is_refused(frame: pd.DataFrame, drop: list[str], says: str):
    with pytest.raises(DataMistake, match=says):
        prepare(frame, "y", name="t", drop=drop)


def test_the_bundled_digits():
    data = digits()
    assert (data.x_train.shape, data.x_heldout.shape) == ((1438, 61), (359, 61))
    assert data.target.classes == tuple("0123456789")
    assert "Left out, 0 in every row: pixel_0_0, pixel_4_0, pixel_4_7." in data.notes


def test_rows_are_repeated_if_all_of_the_table_is():
    frame = pd.DataFrame({"row_id": range(60), "x": [1.0, 2.0, 3.0] * 20, "y": [0, 1, 0] * 20})
    assert not [note for note in prepare(frame, "y", name="t").notes if "repeat" in note]
    twice = pd.concat([frame, frame.iloc[:5]], ignore_index=True)
    said = "5 rows repeat an earlier row exactly; they were kept."
    assert said in prepare(twice, "y", name="t").notes


def test_many_repeated_rows_are_warned_of():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=100), "y": rng.normal(size=100)})
    said = "So rows held out are also among those trained on: new rows will do worse."
    for rows, many in ((4, False), (50, True)):
        repeated = pd.concat([frame, frame.iloc[:rows]], ignore_index=True)
        assert (said in prepare(repeated, "y", name="t").notes) is many


def test_far_values_of_a_target_are_named_with_a_way_out():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(10, 1, 200)})
    assert not [note for note in prepare(frame, "y", name="t").notes if "far from" in note]
    frame.loc[:9, "y"] *= 1000
    (note,) = [note for note in prepare(frame, "y", name="t").notes if "far from" in note]
    assert note.startswith("10 values of 'y' are far from the rest (up to 1.")
    assert note.endswith("Try --target-transform log, or --metric mae, or leave them out.")
    data = prepare(frame, "y", name="t", target_transform="log")
    answers = data.preprocessing.answers(data.y_train[:, None])
    assert isinstance(answers, np.ndarray)
    assert answers.max() == pytest.approx(frame["y"].max(), rel=1e-4)
    frame.loc[20, "y"] = -5.0
    with pytest.raises(DataMistake, match="--target-transform log needs 'y' above 0 in every row"):
        prepare(frame, "y", name="t", target_transform="log")


def test_thousands_of_columns_are_read_as_a_few_are():
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(40, 2000)), columns=[f"g{i}" for i in range(2000)])
    wide["y"] = [0, 1] * 20
    few = wide[["g3", "g1999", "y"]]
    data, narrow = prepare(wide, "y", name="t"), prepare(few, "y", name="t")
    assert data.x_train.shape == (32, 2000)
    np.testing.assert_allclose(data.x_train[:, [3, 1999]], narrow.x_train, rtol=1e-6)


@pytest.mark.parametrize("comma", ["plain", ",", None, np.array(["a", "b"]), pd.DataFrame()])
def test_what_a_comma_may_mean_is_one_of_two(comma):
    frame = pd.DataFrame({"x": range(30), "y": range(30)})
    with pytest.raises(ValueError, match="comma must be one of 'decimal comma'"):
        prepare(frame, "y", name="t", comma=comma)


def test_cells_may_say_what_stands_for_others_and_for_missing():
    cells = ["(missing)", "a", None, "(other)", "b"] * 12
    frame = pd.DataFrame({"said": cells, "target": ["no", "yes", "yes"] * 20})
    data = prepare(frame, "target", name="cells")
    said = [f"said = {one}" for one in ("a", "b", "(other)", "(missing)")]
    assert data.preprocessing.inputs == tuple(said)
    inputs = data.preprocessing.features(pd.DataFrame({"said": [*cells[:5], "new"]}))
    assert inputs.argmax(axis=1).tolist() == [3, 0, 3, 2, 1, 2]
    assert inputs.sum(axis=1).tolist() == [1.0] * 6


@pytest.mark.parametrize("make", [lambda i: [i], lambda i: {"i": i}, lambda i: np.array([i])])
def test_lists_of_parquet_are_texts(make: Any):
    frame = pd.DataFrame({"tags": [make(i % 3) for i in range(60)], "target": ["a", "b"] * 30})
    frame["copy"], frame["tags2"] = frame["tags"], [make(i) for i in range(60)]
    data = prepare(frame, "target", name="rows", drop=["copy"])
    assert len(data.preprocessing.inputs) == 3
    assert "Left out, text that differs from row to row (60 values): tags2." in data.notes
    features = data.preprocessing.features(frame)
    assert features.sum(axis=0).tolist() == [20.0] * 3
    assert len(prepare(frame, "tags", name="rows", drop=["copy"]).target.classes or ()) == 3
