"""The examples for Keras and for the command's results run as they stand."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cyclerate.cli._app import app
from cyclerate.compare import _page
from cyclerate.finder import RangeTestResult
from tests.source import ROOT

EXAMPLES = ROOT / "examples"


def test_a_network_is_trained_between_the_rates_that_were_found(capsys):
    runpy.run_path(str(EXAMPLES / "keras_digits.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "Range test of the loss: max_lr" in told
    accuracy = re.search(r"accuracy on the 450 digits held out: (0\.\d+)", told)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.95


def test_the_command_takes_the_same_file(tmp_path: Path):
    place = f"{EXAMPLES / 'keras_digits.py'}:build"
    result = CliRunner().invoke(app, ["range-test", place, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert RangeTestResult.load(tmp_path / "range_test.json").metric == "loss"


def test_the_best_network_answers_new_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_page, "write_report", lambda _, out: Path(out) / "report.html")
    x = np.linspace(-1, 1, 80)
    wet = np.where(x > 0, "wet", "dry")
    pd.DataFrame({"x": x, "z": np.cos(9 * x), "soil": wet}).to_csv("soil.csv", index=False)
    words = ["compare", "soil.csv", "--target", "soil", "--epochs", "20", "--seeds", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    Path("new.csv").write_text("z,x\n0.1,-0.9\n0.2,0.9\n")
    monkeypatch.setattr(sys, "argv", ["use_best_network.py", "runs/soil-soil", "new.csv"])
    runpy.run_path(str(EXAMPLES / "use_best_network.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert told == "z,x,predicted soil\n0.1,-0.9,dry\n0.2,0.9,wet\n"


def test_the_snapshots_of_a_network_predict_together(capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(EXAMPLES / "keras_snapshots.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert re.findall(r"cycle (\d), saved after step (\d+)", told) == [
        (str(cycle), str(44 * cycle - 1)) for cycle in range(1, 6)
    ]
    together = re.search(r"5 members together on 450 digits held out: (0\.\d+)", told)
    assert together is not None
    assert float(together[1]) > 0.93
