"""The stored records of the experiments, and the page made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reproductions import EXPERIMENTS, _page, _record
from reproductions._record import Reproduction
from tests.reproductions.toys import record_of

STORED = sorted(_record.STORED.glob("*.json"))


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_a_stored_record_is_small_and_names_no_path(file: Path):
    assert file.stat().st_size < 300_000
    record = Reproduction.load(file)
    assert record.experiment == file.stem.partition("-scale-")[0]
    assert (record.size.scale == 1.0) == ("-scale-" not in file.stem)
    assert not record.size.quick
    assert "/" not in record.command
    for run in record.runs:
        assert run.provenance["versions"]["cyclerate"]


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_the_page_says_what_the_record_says(file: Path):
    record = Reproduction.load(file)
    experiment = EXPERIMENTS[record.experiment]
    text = _page.PAGE.read_text(encoding="utf-8")
    for table in experiment.tables(record):
        assert table.markdown() in text
    for lesson in experiment.lessons(record):
        assert lesson in text


def test_a_long_curve_is_thinned_and_keeps_its_end():
    record = record_of(a=(0.123456789,)).to_dict()
    steps = list(map(float, range(1001)))
    record["runs"][0]["outcome"]["curves"]["steps"] = steps
    record["command"] = "python -m reproductions toy --out '/my folder' --seeds 2"
    thin = _record.thinned(record)
    kept = thin["runs"][0]["outcome"]["curves"]
    assert kept["steps"][-1] == 1000.0
    assert 50 < len(kept["steps"]) <= _record.MOST_POINTS
    assert kept["loss"] == [1.0, 0.123457]
    assert thin["runs"][0]["outcome"]["values"]["loss"] == 0.123456789
    assert thin["command"] == "python -m reproductions toy --seeds 2"
    assert json.loads(_record.in_lines(thin)) == thin
