"""A record survives its file, and what is no record is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cyclerate.compare import Comparison
from cyclerate.compare._record import DataInfo, Run
from tests.compare.records import ABOUT, raced, range_result

MADE = raced({"fixed": 1.0, "triangular": 6.0}, range_test=range_result())
RECORD = Comparison.from_dict(MADE.to_dict())


def test_a_record_survives_its_file(tmp_path: Path):
    path = MADE.save(tmp_path / "record.json")
    for read in (Comparison.load(path), Comparison.load(tmp_path)):
        assert read == RECORD
        for field in dataclasses.fields(Comparison):
            assert getattr(read, field.name) == getattr(MADE, field.name)
        assert read.summary == MADE.summary
    assert json.loads(path.read_text())["summary"][0]["policy"] == "fixed"


def test_values_that_are_not_finite_are_none_in_memory_and_in_the_file(tmp_path: Path):
    cell = Run("fixed", 0, (1,), (float("nan"),), (float("inf"),), (0.5,), 1.0, True)
    assert (cell.train_loss, cell.heldout_loss, cell.heldout_metric) == ((None,), (None,), (0.5,))
    record = dataclasses.replace(RECORD, cells=(cell,))
    kept = json.loads(record.save(tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert kept["cells"][0]["heldout_loss"] == [None]


def test_policies_and_cells_are_found_by_name():
    name = RECORD.policies[1]
    assert RECORD.schedules[name].to_dict() == RECORD.about.policies[1].schedule
    assert {cell.policy for cell in RECORD.runs_of(name)} == {name}


def changed(**changes: object) -> dict[str, object]:
    return RECORD.to_dict() | changes


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], r"schema must be 2. Received: \[\]"),
        (changed(schema=1), "schema must be 2. Received: 1"),
        (changed(colour="red"), "the record must be made of .*'colour'"),
        ({"schema": 2}, "cells must be a list. Received: None"),
        (changed(model={"loss": "mse"}), "model must be made of description, parameters"),
        (changed(mode="up"), "mode must be one of 'max', 'min'"),
        (
            changed(range_tests=[{"max_lr": 0.1}]),
            r"range_tests\[0\] must be made of seed, fold, result",
        ),
        (changed(cells=[3]), r"cells\[0\] must be an object with keys"),
    ],
)
def test_what_is_no_record_is_refused(values: dict[str, object], says: str):
    with pytest.raises(ValueError, match=says):
        Comparison.from_dict(values)


def test_a_file_that_is_not_json_is_named(tmp_path: Path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"record\.json holds no record: it is not JSON \(line 1, column 2\)"
    ):
        Comparison.load(tmp_path)


def test_curves_are_as_long_as_their_steps():
    with pytest.raises(ValueError, match=r"heldout_loss must be as long as steps \(2\)"):
        Run("fixed", 0, (1, 2), (1.0, 1.0), (1.0,), (1.0, 1.0), 1.0, False)


def test_tasks_and_modes_are_known():
    with pytest.raises(ValueError, match="task must be one of"):
        DataInfo("d", 1, 1, 1, 1, "y", "ranking")
    with pytest.raises(ValueError, match="mode must be one of"):
        dataclasses.replace(ABOUT, mode="high")
