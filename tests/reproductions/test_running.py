"""Finished cells are kept, whatever happens next, and not run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reproductions._record import FILE_NAME, Reproduction, Size
from reproductions.running import OtherSize, run
from tests.reproductions.toys import SITTING, ToyStage, toy

SIZE = Size(seeds=(0, 1))
BOTH = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_every_cell_runs_with_every_seed_and_is_told_of(tmp_path: Path):
    stage, told = ToyStage(), []
    record = run(toy(stage, a=1, b=2), SIZE, tmp_path, SITTING, lambda *what: told.append(what))
    assert stage.ran == BOTH
    assert [(r.cell, r.seed, r.outcome.values["loss"]) for r in record.runs] == [
        ("a", 0, 1.0),
        ("a", 1, 1.1),
        ("b", 0, 2.0),
        ("b", 1, 2.1),
    ]
    assert told[0] == (0, 4, "<i>a</i>, seed 0")
    assert told[-1] == (4, 4, "")
    assert Reproduction.load(tmp_path / FILE_NAME) == record
    assert (record.data, record.sittings) == (("made of <b>nothing</b>",), (SITTING,))


def test_after_an_interrupt_the_rest_alone_is_run(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run(toy(ToyStage(stop_at=("b", 0)), a=1, b=2), SIZE, tmp_path, SITTING)
    kept = Reproduction.load(tmp_path / FILE_NAME)
    assert [(r.cell, r.seed) for r in kept.runs] == BOTH[:2]

    stage = ToyStage()
    record = run(toy(stage, a=1, b=2), SIZE, tmp_path, SITTING)
    assert stage.ran == BOTH[2:]
    assert [r.sitting for r in record.runs] == [0, 0, 1, 1]
    assert len(record.sittings) == 2

    stage = ToyStage()
    assert run(toy(stage, a=1, b=2), SIZE, tmp_path, SITTING) == record
    assert stage.ran == []


def test_a_cell_with_other_settings_is_run_anew(tmp_path: Path):
    run(toy(ToyStage(), a=1, b=2), SIZE, tmp_path, SITTING)
    stage = ToyStage()
    record = run(toy(stage, a=1, b=3), SIZE, tmp_path, SITTING)
    assert stage.ran == BOTH[2:]
    assert record.values("b", "loss") == (3.0, 3.1)
    assert len(record.runs) == 4


def test_more_seeds_add_runs_and_fewer_take_none_away(tmp_path: Path):
    run(toy(ToyStage(), a=1), Size((0, 1)), tmp_path, SITTING)
    stage = ToyStage()
    record = run(toy(stage, a=1), Size((0, 1, 2)), tmp_path, SITTING)
    assert stage.ran == [("a", 2)]
    fewer = run(toy(ToyStage(), a=1), Size((0,)), tmp_path, SITTING)
    assert fewer.runs == record.runs


@pytest.mark.parametrize("size", [Size((0,), quick=True), Size((0,), scale=0.5)])
def test_a_folder_of_another_size_is_left_alone(size: Size, tmp_path: Path):
    run(toy(ToyStage(), a=1), SIZE, tmp_path, SITTING)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(OtherSize, match="of the experiment toy with the scale 1: name another"):
        run(toy(ToyStage(), a=1), size, tmp_path, SITTING)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_record_keeps_what_json_can_hold(tmp_path: Path):
    record = run(toy(ToyStage(), a=float("nan")), Size((0,)), tmp_path, SITTING)
    assert record.runs[0].outcome.values == {"loss": None, "diverged": 0.0}
    assert json.loads((tmp_path / FILE_NAME).read_text())["runs"][0]["settings"] == {"loss": None}


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": 1}', "no json"])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match="is not the record of an experiment"):
        Reproduction.load(tmp_path / FILE_NAME)


def test_scale_lengthens_and_quick_does_not_look_at_it():
    assert Size((0,), scale=2.5).epochs(4) == 10
    assert Size((0,), scale=0.01).epochs(4) == 1
    assert Size((0,), scale=9.0, quick=True).epochs(50, quick=3) == 3
