"""When text is numbers, and what becomes of the cells that are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyclerate.tables._values import read_numbers, texts, to_numbers

NAN = float("nan")


def read(*cells: object, name: str = "x"):
    return read_numbers(pd.Series(list(cells), name=name))


def test_decimal_commas():
    numbers = read("12,5", "7", "8.25", "-1,0")
    assert numbers is not None
    np.testing.assert_array_equal(numbers.values, [12.5, 7.0, 8.25, -1.0])
    assert numbers.notes == ("'x' was read with a decimal comma: '12,5' is 12.5.",)


def test_thousands_commas():
    numbers = read_numbers(pd.Series(["1,200", "12,345,678.5", "999"], name="x"), "decimal comma")
    assert numbers is not None
    np.testing.assert_array_equal(numbers.values, [1200.0, 12345678.5, 999.0])
    assert numbers.notes == ("'x' was read with a thousands comma: '1,200' is 1200.",)


def test_one_cell_decides_between_the_two_commas():
    numbers = read("1,200", "12,5")
    assert numbers is not None
    np.testing.assert_array_equal(numbers.values, [1.2, 12.5])


@pytest.mark.parametrize(("comma", "value"), [("decimal comma", 1.2), ("thousands comma", 1200.0)])
def test_where_no_cell_decides_the_file_does(comma: str, value: float):
    numbers = read_numbers(pd.Series(["1,200", "7"], name="x"), comma)
    assert numbers is not None
    assert numbers.values.tolist() == [value, 7.0]


def test_words_for_missing_are_said():
    numbers = read("1", "n/a", "?", None, "2", " NA ")
    assert numbers is not None
    np.testing.assert_array_equal(numbers.values, [1.0, NAN, NAN, NAN, 2.0, NAN])
    assert numbers.notes == ("'n/a', '?', 'NA' in 'x' means missing.",)


def test_a_few_words_among_many_numbers_are_missing_and_said():
    numbers = read(*map(str, range(19)), "many")
    assert numbers is not None
    assert np.isnan(numbers.values[-1])
    assert numbers.notes == ("1 cell of 'x' is not a number ('many'): taken as missing.",)


@pytest.mark.parametrize(
    "cells",
    [("1", "2", "many"), ("a", "b"), (None, "n/a"), (True, False), ("2024-01-05", "2024-01-06")],
)
def test_text_stays_text(cells: tuple[object, ...]):
    assert read(*cells) is None


def test_what_is_not_finite_is_missing():
    numbers = read(1.0, float("inf"), 1e200, NAN)
    assert numbers is not None
    np.testing.assert_array_equal(numbers.values, [1.0, NAN, NAN, NAN])
    assert numbers.notes == ("2 cells of 'x' not finite, or beyond 1e100: taken as missing.",)


def test_new_rows_are_read_in_the_style_that_was_found():
    assert to_numbers(pd.Series(["1,5"]), "decimal comma").tolist() == [1.5]
    assert to_numbers(pd.Series(["1,500"]), "thousands comma").tolist() == [1500.0]
    np.testing.assert_array_equal(to_numbers(pd.Series(["1,5"]), "plain"), [NAN])


def test_texts_are_stripped_and_missing_ones_empty():
    cells = pd.Series([" Rome ", None, "NULL", 3, True])
    assert texts(cells).tolist() == ["Rome", "", "", "3", "True"]
