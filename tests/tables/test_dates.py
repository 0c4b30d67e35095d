"""Dates, money and the like become numbers; each decision is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cyclerate.tables import Preprocessing, load_csv, prepare
from cyclerate.tables._values import read_dates, read_numbers, to_dates

DAYS = pd.date_range("2019-03-04", periods=400, freq="D")


@pytest.mark.parametrize(
    ("cells", "style", "first"),
    [
        (["2021-03-04", "2021-12-31"], "year-month-day", "2021-03-04"),
        (["2021/3/4", "2021/12/31"], "year-month-day", "2021-03-04"),
        (["04.03.2021", "31.12.2021"], "day-month-year", "2021-03-04"),
        (["4.3.21", "31.12.21"], "day-month-year", "2021-03-04"),
        (["04/03/1999", "05/06/1999"], "day-month-year", "1999-03-04"),  # neither is past 12
        (["03/04/2021", "12/31/2021"], "month-day-year", "2021-03-04"),
    ],
)
def test_the_order_of_a_date_is_found_and_said(cells: list[str], style: str, first: str):
    column = pd.Series(cells, name="day")
    found = read_dates(column)
    assert found == (style, f"'day' was read as dates, {style}: '{cells[0]}' is {first}.")
    assert to_dates(column, style)[0] == np.datetime64(first).astype(int)


@pytest.mark.parametrize(
    "cells", [["1.5", "2.5"], ["10.0.0.1", "10.0.0.2"], ["1.2.3", "1.2.4"], ["a", "b"], ["", ""]]
)
def test_what_is_no_date_is_none(cells: list[str]):
    assert read_dates(pd.Series(cells, name="x")) is None


def test_a_time_of_day_and_cells_that_are_no_dates():
    column = pd.Series([*["2021-03-04 06:00", "2021-03-04T18:30:00Z"] * 10, "soon"], name="at")
    found = read_dates(column)
    assert found is not None
    assert found[1].endswith("is 2021-03-04; 1 cell that are none count as missing.")
    days = to_dates(column, found[0])
    np.testing.assert_allclose(days[:2] % 1, [0.25, 18.5 / 24])
    assert np.isnan(days[-1])


def test_a_date_becomes_year_month_weekday_and_days(tmp_path: Path):
    frame = pd.DataFrame({"sold": DAYS.strftime("%Y-%m-%d"), "y": np.arange(400.0) % 7})
    data = prepare(frame, "y", name="t")
    assert data.preprocessing.inputs[:3] == ("sold: year", "sold: month", "sold: weekday")
    assert data.preprocessing.inputs[3].startswith("sold: days since 2019-03-0")
    assert any(note.startswith("'sold' was read as dates, year-month-day:") for note in data.notes)
    assert any(
        note.startswith("Of dates the network sees: year, month, weekday, days since 2019-03-0")
        for note in data.notes
    )
    column: Any = data.preprocessing.columns[0]
    rows = pd.DataFrame({"sold": ["2024-02-29", None, "nonsense"]})  # a Thursday
    read = Preprocessing.load(data.preprocessing.save(tmp_path / "p.json"))
    assert read == data.preprocessing
    inputs = read.features(rows) * np.array(column.scales) + np.array(column.means)
    days = (np.datetime64("2024-02-29") - np.datetime64("1970-01-01")).astype(int) - column.first
    np.testing.assert_allclose(inputs[0], [2024, 2, 3, days], rtol=1e-6)
    np.testing.assert_allclose(inputs[1:], np.broadcast_to(column.means, (2, 4)), rtol=1e-6)


def test_columns_of_datetimes_are_dates_too():
    frame = pd.DataFrame({"at": DAYS + pd.Timedelta(hours=6), "y": np.arange(400.0)})
    frame.loc[3, "at"] = pd.NaT
    data = prepare(frame, "y", name="t")
    assert "'at' holds dates." in data.notes
    assert data.preprocessing.inputs[-1] == "at (missing)"
    assert data.preprocessing.inputs[0] == "at: year"


@pytest.mark.parametrize(
    ("cells", "values", "said"),
    [
        (["$1,234.50", "$7", "$-3.5"], [1234.5, 7, -3.5], "'$1,234.50' is 1234.5."),
        (["12 %", "7.5%", "0 %"], [12, 7.5, 0], "'12 %' is 12."),
        (["1.234,56", "7,5", "12.345.678,9"], [1234.56, 7.5, 12345678.9], "'1.234,56' is 1234.56."),
        (["1 234,5 €", "99,0 €", "3,5 €"], [1234.5, 99, 3.5], "'1 234,5 €' is 1234.5."),
        (["1'234.50", "CHF 20", "5 CHF"], [1234.5, 20, 5], '"1\'234.50" is 1234.5.'),
    ],
)
def test_money_percent_and_european_numbers(cells: list[str], values: list[float], said: str):
    found = read_numbers(pd.Series(cells, name="p"))
    assert found is not None
    assert found.values.tolist() == values
    assert said.replace('"', "'") in " ".join(found.notes).replace('"', "'")


@pytest.mark.parametrize("cells", [["EUR", "USD"], ["12 m", "7 m"], ["%", "$"], ["5-3", "4-2"]])
def test_what_only_looks_like_money_stays_text(cells: list[str]):
    assert read_numbers(pd.Series(cells, name="p")) is None


def test_dots_part_thousands_where_the_table_has_decimal_commas(tmp_path: Path):
    rng = np.random.default_rng(0)
    prices, sizes = rng.integers(1001, 9999, 60), rng.normal(5, 1, 60)
    rows = [
        f"{price // 1000}.{price % 1000:03};{f'{size:.2f}'.replace('.', ',')};{i % 7}"
        for i, (price, size) in enumerate(zip(prices, sizes, strict=True))
    ]
    for header, commas in (("price;size;y", True), ("price;place;y", False)):
        table = rows if commas else [row.replace(",", " no ") for row in rows]
        (tmp_path / "a.csv").write_text("\n".join([header, *table]))
        data = load_csv(tmp_path / "a.csv", "y", task="regression")
        price: Any = data.preprocessing.columns[0]
        said = [note for note in data.notes if "'price' was read with thousands dots: '" in note]
        assert (price.style, len(said)) == (("decimal comma", 1) if commas else ("plain", 0))
        assert price.mean == pytest.approx(np.mean(prices) / (1 if commas else 1000), rel=0.1)


@pytest.mark.skipif(pd.__version__ < "3", reason="dates of pandas 2 end in 2262")
@pytest.mark.parametrize("kind", [None, "datetime64[us]", "datetime64[s, UTC]"])
def test_until_further_notice_is_a_date(kind: str | None):
    until = pd.Series(["9999-12-31", "2020-01-01", "1066-10-14", "2020-01-02", None] * 12)
    until = until if kind is None else pd.to_datetime(until, utc="UTC" in kind).astype(kind)
    frame = pd.DataFrame({"until": until, "left": ["no", "yes", "no"] * 20})
    (column,) = prepare(frame, "left", name="contracts").preprocessing.columns
    assert column.inputs[:3] == ("until: year", "until: month", "until: weekday")
    days = to_dates(until[:5], "year-month-day")
    assert days[:4].tolist() == [2932896, 18262, -329893, 18263]
    assert np.isnan(days[4])
