"""Five kinds of tables that newcomers bring: each gets a right and fair answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cyclerate.cli._app import app
from cyclerate.compare import Comparison, _page

RUNNER = CliRunner()
QUICK = ["--epochs", "6", "--seeds", "2", "--policies", "fixed,one_cycle"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_page, "write_report", lambda _, out: Path(out) / "report.html")


def compare(*words: object, table: str = "table.csv") -> tuple[str, Comparison]:
    """What the command says, in one line, and its record."""
    result = RUNNER.invoke(app, ["compare", table, *map(str, words), "--out", "out"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in result.stdout
    return " ".join(result.stdout.split()), Comparison.load("out")


def columns(record: Comparison) -> int:
    return record.about.data.features


def test_a_column_of_iso_dates():
    rng = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=400)
    sales = 10 + 5 * (days.day_of_week >= 5) + days.month + rng.normal(0, 0.5, 400)
    pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "sales": sales}).to_csv("table.csv")
    said, record = compare("--target", "sales", *QUICK)
    assert "'date' was read as dates, year-month-day: '2020-01-01' is 2020-01-01." in said
    assert "the network sees: year, month, weekday, days since 2020-01-0" in said
    assert "Left out, numbering the rows (no value is there twice): Unnamed: 0." in said
    assert columns(record) == 1
    best = min(row.metric_mean or 99.0 for row in record.summary)
    assert best < np.std(sales)  # better than saying the mean


def test_european_numbers_and_semicolons():
    rng = np.random.default_rng(0)
    size, price = rng.uniform(20, 200, 300), rng.uniform(1000, 9000, 300)
    rent = 10 * size + 0.01 * price + rng.normal(0, 20, 300)

    def european(value: float) -> str:
        return f"{value:,.2f}".replace(",", "#").replace(".", ",").replace("#", ".")

    rows = [";".join(map(european, row)) for row in zip(size, price, rent, strict=True)]
    Path("table.csv").write_text("\n".join(["Größe;Preis;Miete", *rows]), encoding="latin-1")
    said, record = compare("--target", "Miete", *QUICK)
    assert "The columns of table.csv are separated by ';'." in said
    assert "table.csv is not UTF-8: it was read as Latin-1." in said
    assert (
        f"'Preis' was read with a decimal comma: '{european(price[0])}' is {price[0]:.2f}" in said
    )
    assert record.about.data.task == "regression"
    assert columns(record) == 2
    assert min(row.metric_mean or 1e9 for row in record.summary) < 0.7 * np.std(rent)


def test_ids_are_not_learnt_from():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    table: dict[str, Any] = {
        "account": 10**17 + rng.permutation(10**6)[:300],
        "customer": [f"C-{i:05}" for i in rng.permutation(90000)[:300]],
        "x": x,
        "churned": np.where(x + rng.normal(0, 0.3, 300) > 0, "yes", "no"),
    }
    pd.DataFrame(table).to_csv("table.csv", index=False)
    said, record = compare("--target", "churned", *QUICK)
    assert "Left out, naming the rows (whole numbers of one length, none there twice): acc" in said
    assert "Left out, text that differs from row to row (300 values): customer." in said
    assert columns(record) == 1
    assert max(row.metric_mean or 0.0 for row in record.summary) > 0.75


def test_rare_classes_are_measured_by_what_sees_them():
    rng = np.random.default_rng(0)
    fraud = np.arange(2000) % 200 == 0
    x = rng.normal(size=2000) + 3 * fraud
    pd.DataFrame(
        {"x": x, "z": rng.normal(size=2000), "fraud": np.where(fraud, "fraud", "genuine")}
    ).to_csv("table.csv", index=False)
    said, made = compare("--target", "fraud", *QUICK)
    assert any("accuracy says little of it" in note for note in made.about.data.notes)
    assert (
        "'fraud' is 0.5 % of the rows, so accuracy says little of it. Try "
        "--metric average_precision, --metric roc_auc, --metric balanced_accuracy."
    ) in said
    again, record = compare(
        "--target", "fraud", *QUICK, "--metric", "average_precision", "--overwrite"
    )
    assert "accuracy says little" not in again
    assert record.metric == "average_precision"
    assert "Average precision is that of 'fraud'." in again
    assert max(row.metric_mean or 0.0 for row in record.summary) > 0.05  # ten times by chance


def test_outliers_in_the_target_are_named_and_a_logarithm_helps():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = np.exp(0.5 * x + rng.normal(0, 0.1, 400))
    y[:10] *= 1000
    pd.DataFrame({"x": x, "y": y}).to_csv("table.csv", index=False)
    said, plain = compare("--target", "y", *QUICK, "--metric", "mae")
    assert "10 values of 'y' are far from the rest (up to " in said
    assert "Try --target-transform log, or --metric mae, or leave them out." in said
    words = ["--target", "y", *QUICK, "--metric", "mae", "--target-transform", "log"]
    result = RUNNER.invoke(app, ["compare", "table.csv", *words, "--out", "out"])
    assert result.exit_code == 2
    assert 'target_transform: "none" there, "log" here' in " ".join(result.stderr.split())
    _, log = compare(*words, "--overwrite")
    errors = [min(r.metric_mean or 1e9 for r in one.summary) for one in (plain, log)]
    assert errors[1] < errors[0]


def test_a_rate_of_ones_own_is_the_reference_and_the_default_is_there():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x.sum(axis=1)}).to_csv("table.csv", index=False)
    words = ["--target", "y", "--epochs", 6, "--seeds", 2, "--policies", "fixed,found"]
    words += ["--lr", 0.003, "--max-lr", 0.1]
    said, record = compare(*words)
    tops = {name: schedule.bounds[1] for name, schedule in record.schedules.items()}
    assert tops == {"fixed": 0.003, "default": 0.01, "found": 0.1}
    assert record.reference == "fixed"
    assert "fixed: The rate that was given." in said
    assert "Looking for the rate" not in said
    assert "already there" not in said
    (Path("out") / "cells" / "found-1-0.json").unlink()
    assert "5 of 6 runs were already there." in compare(*words)[0]
    result = RUNNER.invoke(app, ["compare", "table.csv", *map(str, words[:-4]), "--out", "out"])
    assert result.exit_code == 2
    assert "lr: 0.003 there, null here" in " ".join(result.stderr.split())
    whole = ["--target", "y", "--epochs", 3, "--seeds", 1, "--policies", "all", "--overwrite"]
    said, record = compare(*whole)
    assert len(record.policies) == 7
    assert "Looking for the rate: at most 400 steps, " in said
