"""Schedules in the terminal and as pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import cyclerate as cr
from cyclerate.cli._app import app
from cyclerate.cli._plot import drawing

RUNNER = CliRunner()


def plot(*words: object) -> str:
    result = RUNNER.invoke(app, ["plot", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_a_ramp_in_blocks():
    lines = drawing(np.linspace(0.0, 1.0, 9)).splitlines()
    assert [line[:10] for line in lines] == [
        "       1 |", *["         |"] * 6, "       0 |", "    step  ",
    ]  # fmt: skip
    columns = list(zip(*(line[10:].ljust(9) for line in lines[:-1]), strict=True))
    heights = [sum(" ▁▂▃▄▅▆▇█".index(cell) for cell in column) for column in columns]
    assert heights == [0, 8, 16, 24, 32, 40, 48, 56, 64]
    assert lines[-1] == "    step  0       8"


def test_no_peak_is_averaged_away():
    values = np.full(6400, 0.3)
    values[3217], values[0] = 1.0, 0.0
    top = drawing(values).splitlines()[0]
    assert top.index("█") == 10 + 3217 // 100


def test_a_constant_is_drawn():
    assert len(drawing(np.full(3, 0.1)).splitlines()) == 9


@pytest.mark.parametrize(
    ("words", "schedule", "last"),
    [
        (
            ["triangular", "--base-lr", "1e-3", "--max-lr=0.1", "--step-size", 50],
            cr.Triangular(1e-3, 0.1, 50),
            "399",
        ),
        (["one-cycle", "--max-lr", 1, "--total-steps", 500], cr.OneCycle(1, 500), "499"),
        (["restarts", "--max-lr", 1, "--cycle-steps", 10], cr.WarmRestarts(1, 10), "69"),
        (["linear", "--start", 0, "--end", 1, "--steps", 100], cr.Linear(0, 1, 100), "120"),
        (["constant", "--value", 0.1, "--steps", 1200], cr.Constant(0.1), "1,199"),
        (["--json", json.dumps(cr.Cosine(1, 0, 10).to_dict())], cr.Cosine(1, 0, 10), "12"),
    ],
)
def test_the_schedule_is_named_and_drawn(words: list[object], schedule: cr.Schedule, last: str):
    out = plot(*words)
    assert "".join(out.split()).startswith("".join(repr(schedule).split()))
    assert out.splitlines()[-1].endswith(last)
    assert max(map(len, out.splitlines())) < 80


def test_a_picture(tmp_path: Path):
    file = tmp_path / "new" / "cycle.png"
    out = plot("cosine", "--start", 1, "--end", 0, "--steps", 20, "-o", file)
    assert out.strip() == str(file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert len(file.read_bytes()) > 5000


def test_equal_steps_take_equal_width():
    peak_every_tenth = np.tile([0.0] * 9 + [1.0], 10)
    top = drawing(peak_every_tenth).splitlines()[0]
    widths = np.diff([at for at, block in enumerate(top) if block == "█"])
    assert len(widths) == 9
    assert widths.max() - widths.min() <= 1
