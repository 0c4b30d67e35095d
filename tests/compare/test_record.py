"""A record survives its file, and what is no record is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cyclerate.compare._record import Cell, DataInfo, Metric, Record
from tests.compare.records import raced, range_result

RECORD = raced({"fixed": 1.0, "triangular": 6.0}, range_test=range_result().to_dict())


def test_a_record_survives_its_file(tmp_path: Path):
    path = RECORD.save(tmp_path / "record.json")
    assert Record.load(path) == RECORD
    assert Record.load(tmp_path) == RECORD


def test_values_that_are_not_finite_are_none_in_memory_and_in_the_file(tmp_path: Path):
    cell = Cell("fixed", 0, (1,), (float("nan"),), (float("inf"),), (0.5,), 1.0, True)
    assert (cell.train_loss, cell.heldout_loss, cell.heldout_metric) == ((None,), (None,), (0.5,))
    record = dataclasses.replace(RECORD, cells=(cell,))
    kept = json.loads(record.save(tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert kept["cells"][0]["heldout_loss"] == [None]


def test_policies_and_cells_are_found_by_name():
    name = RECORD.policies[1].name
    assert RECORD.policy(name) is RECORD.policies[1]
    assert {cell.policy for cell in RECORD.cells_of(name)} == {name}
    with pytest.raises(ValueError, match=r"policy must be one of .*'fixed'"):
        RECORD.policy("magic")


def changed(**changes: object) -> dict[str, object]:
    return RECORD.to_dict() | changes


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "schema of the record must be 1. Received: 'list'"),
        (changed(schema=2), "schema of the record must be 1. Received: 2"),
        (changed(colour="red"), "the record must be made of .*'colour'"),
        ({"schema": 1}, "the record must be made of"),
        (changed(metric={"name": "accuracy"}), "metric must be made of name, mode"),
        (changed(metric={"name": "accuracy", "mode": "up"}), "mode must be one of 'max', 'min'"),
        (changed(cells=[3]), "cells must be a JSON object"),
    ],
)
def test_what_is_no_record_is_refused(values: dict[str, object], says: str):
    with pytest.raises(ValueError, match=says):
        Record.from_dict(values)


def test_a_file_that_is_not_json_is_named(tmp_path: Path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ValueError, match=r"record\.json is not a record: it is not JSON"):
        Record.load(tmp_path)


def test_curves_are_as_long_as_their_steps():
    with pytest.raises(ValueError, match=r"heldout_loss must be as long as steps \(2\)"):
        Cell("fixed", 0, (1, 2), (1.0, 1.0), (1.0,), (1.0, 1.0), 1.0, False)


def test_tasks_and_modes_are_known():
    with pytest.raises(ValueError, match="task must be one of"):
        DataInfo("d", 1, 1, 1, 1, "y", "ranking")
    with pytest.raises(ValueError, match="mode must be one of"):
        Metric("accuracy", "high")
