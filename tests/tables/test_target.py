"""Classes or numbers: decided by looking, said, and overridden by `task`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from cyclerate.tables import DataMistake
from cyclerate.tables._columns import read_target


def target(cells: Sequence[object], task: str | None = None):
    return read_target(pd.Series(cells, name="y"), task)


def test_two_numbers_are_classes_in_their_order():
    read = target([10, 9, 10, 9, 9] * 4)
    assert (read.task, read.classes) == ("classification", ("9", "10"))
    assert read.values.tolist() == [1, 0, 1, 0, 0] * 4
    assert read.notes == (
        "Task: classification, because 'y' holds 2 different whole numbers.",
        "Always saying '9' would be right in 60.0% of the rows.",
    )


def test_text_is_classes_in_alphabetical_order():
    read = target(["yes", " no", "yes"] * 5)
    assert (read.task, read.classes) == ("classification", ("no", "yes"))
    assert read.values.tolist() == [1, 0, 1] * 5
    assert read.notes[0] == "Task: classification, because 'y' holds 2 different texts."


def test_many_numbers_are_a_regression():
    read = target([0.5 * i for i in range(30)])
    assert (read.task, read.classes) == ("regression", None)
    assert read.values[:3].tolist() == [0.0, 0.5, 1.0]
    assert read.notes == ("Task: regression, because 'y' holds 30 different numbers.",)


@pytest.mark.parametrize(("rows", "task"), [(100, "classification"), (99, "regression")])
def test_whole_numbers_are_classes_if_they_repeat(rows: int, task: str):
    assert target([i % 20 for i in range(rows)]).task == task


def test_a_few_fractions_are_a_regression_too():
    assert target([0.5, 1.5, 2.5] * 10).task == "regression"


def test_the_task_can_be_asked_for():
    assert target([1, 2, 3] * 5, "regression").values.tolist() == [1.0, 2.0, 3.0] * 5
    assert target([0.5, 1.5] * 9, "classification").classes == ("0.5", "1.5")
    with pytest.raises(ValueError, match="task must be one of 'classification', 'regression'"):
        target([1, 2] * 9, "ranking")


def test_rows_without_a_target_are_left_out_and_said():
    read = target([1.0, None, 0.0] * 8)
    assert read.keep.tolist() == [True, False, True] * 8
    assert read.values.tolist() == [1, 0] * 8
    assert read.classes == ("0", "1")
    assert "Left out 8 rows without a target 'y'." in read.notes


def test_decimal_commas_in_a_target_are_read_and_said():
    read = target([f"{i},5" for i in range(30)])
    assert read.values[-1] == pytest.approx(29.5)
    assert "'y' was read with a decimal comma: '0,5' is 0.5." in read.notes


def test_rare_classes_are_left_out_and_said():
    read = target(["a"] * 9 + ["b"] * 8 + ["c"] * 2)
    assert read.classes == ("a", "b")
    assert np.flatnonzero(~read.keep).tolist() == [17, 18]
    assert "Left out 2 rows of classes with under 5 rows each: c." in read.notes


@pytest.mark.parametrize(
    ("cells", "task", "says"),
    [
        ([1] * 20, None, "'y' is 1 in every row: nothing to learn"),
        (["a"] * 20, None, "'y' is a in every row: nothing to learn"),
        ([2.5] * 20, "regression", r"'y' is 2\.5 in every row"),
        ([1] * 4 + [None] * 6, None, "missing in 6 rows of 10: more than half"),
        ([float("inf")] * 20, "regression", "missing in 20 rows of 20"),
        (["a"] * 20 + ["b"], None, "needs 2 classes of at least 5 rows; it has a: 20, b: 1"),
        (["a", "b"] * 9, "regression", r"is text \('a', 'b'\), but regression needs numbers"),
        ([f"t{i}" for i in range(200)], None, "200 different values, too many for classes"),
    ],
)
def test_a_target_that_teaches_nothing_is_refused(cells: list[object], task: str | None, says: str):
    with pytest.raises(DataMistake, match=says):
        target(cells, task)


@pytest.mark.parametrize("labels", [(12345678901, 12345678902), (0.12345678901, 0.12345678902)])
def test_long_numbers_are_classes_of_their_own(labels: tuple[float, float]):
    target = read_target(pd.Series([*labels] * 10, name="code"))
    assert target.classes == tuple(map(str, labels))
    assert target.values.tolist() == [0, 1] * 10
