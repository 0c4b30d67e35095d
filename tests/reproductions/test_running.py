"""Finished cells are kept, whatever happens next, and not run again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cyclerate import _plain
from cyclerate._errors import CyclerateError
from cyclerate.compare._cells import OtherSettings
from reproductions import EXPERIMENTS
from reproductions._experiment import Results, Stage, run
from reproductions._record import FILE_NAME, Cell, Outcome, Reproduction, Size
from tests.reproductions.toys import Toy, outcome, toy

SIZE = Size(seeds=(0, 1))
BOTH = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_every_cell_runs_with_every_seed_and_is_told_of(tmp_path: Path):
    stage, told = Toy(), []
    record = run(toy(stage, a=1, b=2), SIZE, tmp_path, "again", lambda *what: told.append(what))
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
    assert (record.data, record.command) == (("made of <b>nothing</b>",), "again")
    assert record.runs[0].provenance["versions"]["cyclerate"]
    assert record.runs[0].provenance["machine"]["cores"]


def test_after_an_interrupt_the_rest_alone_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_plain, "now", lambda: "today")
    with pytest.raises(KeyboardInterrupt):
        run(toy(Toy(stop_at=("b", 0)), a=1, b=2), SIZE, tmp_path)
    kept = Reproduction.load(tmp_path / FILE_NAME)
    assert [(r.cell, r.seed) for r in kept.runs] == BOTH[:2]

    monkeypatch.setattr(_plain, "now", lambda: "tomorrow")
    stage = Toy()
    record = run(toy(stage, a=1, b=2), SIZE, tmp_path)
    assert stage.ran == BOTH[2:]
    assert [r.provenance["created"] for r in record.runs] == ["today"] * 2 + ["tomorrow"] * 2

    stage = Toy()
    assert run(toy(stage, a=1, b=2), SIZE, tmp_path) == record
    assert stage.ran == []


def test_without_the_record_the_cells_are_still_there(tmp_path: Path):
    record = run(toy(Toy(), a=1), SIZE, tmp_path)
    (tmp_path / FILE_NAME).unlink()
    stage = Toy()
    assert run(toy(stage, a=1), SIZE, tmp_path) == record
    assert stage.ran == []


def test_a_cell_with_other_settings_is_refused_by_name(tmp_path: Path):
    run(toy(Toy(), a=1, b=2), SIZE, tmp_path)
    stage, before = Toy(), (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(OtherSettings, match="loss: 2 there, 3 here"):
        run(toy(stage, a=1, b=3), SIZE, tmp_path)
    assert stage.ran == []
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_more_seeds_add_runs_and_fewer_take_none_away(tmp_path: Path):
    run(toy(Toy(), a=1), Size((0, 1)), tmp_path)
    stage = Toy()
    record = run(toy(stage, a=1), Size((0, 1, 2)), tmp_path)
    assert stage.ran == [("a", 2)]
    fewer = run(toy(Toy(), a=1), Size((0,)), tmp_path)
    assert fewer.runs == record.runs


@pytest.mark.parametrize(
    ("size", "differs"),
    [
        (Size((0,), quick=True), "quick: false there, true here"),
        (Size((0,), scale=0.5), "scale: 1.0 there, 0.5 here"),
    ],
)
def test_a_folder_of_another_size_is_left_alone(size: Size, differs: str, tmp_path: Path):
    run(toy(Toy(), a=1), SIZE, tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(OtherSettings, match=differs + r"\): name another folder"):
        run(toy(Toy(), a=1), size, tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_folder_of_another_experiment_is_left_alone(tmp_path: Path):
    run(toy(Toy(), a=1), SIZE, tmp_path)
    other = dataclasses.replace(toy(Toy(), b=1), name="other")
    with pytest.raises(OtherSettings, match='experiment: "toy" there, "other" here'):
        run(other, SIZE, tmp_path)


def test_what_another_cell_found_is_computed_once_in_whatever_order(tmp_path: Path):
    ran: list[tuple[str, int]] = []

    def work(cell: Cell, seed: int, results: Results) -> Outcome:
        loss = 1.0 if cell.name == "b" else 1.0 + (results("b", seed).values["loss"] or 0.0)
        ran.append((cell.name, seed))
        return outcome(loss)

    experiment = dataclasses.replace(toy(Toy(), a=1, b=2), open=lambda _: Stage((), work))
    record = run(experiment, SIZE, tmp_path)
    assert ran == [("b", 0), ("a", 0), ("b", 1), ("a", 1)]
    assert record.values("a", "loss") == (2.0, 2.0)
    assert [(r.cell, r.seed) for r in record.runs] == BOTH


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_cell_has_a_file_of_its_own(name: str, tmp_path: Path):
    experiment = dataclasses.replace(
        EXPERIMENTS[name], open=lambda _: Stage((), lambda *_: outcome(1.0))
    )
    record = run(experiment, SIZE, tmp_path)
    files = sorted((tmp_path / "cells").iterdir())
    assert len(files) == len(record.runs) > 7
    assert {file.suffix for file in files} == {".json"}


def test_a_record_keeps_what_json_can_hold(tmp_path: Path):
    record = run(toy(Toy(), a=float("nan")), Size((0,)), tmp_path)
    assert record.runs[0].outcome.values == {"loss": None, "diverged": 0.0}
    assert json.loads((tmp_path / FILE_NAME).read_text())["runs"][0]["settings"] == {"loss": None}


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": 2}', "no json"])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match="holds no record of an experiment"):
        Reproduction.load(tmp_path / FILE_NAME)
    with pytest.raises(CyclerateError, match=r"Name another folder, or remove the file\.$"):
        run(toy(Toy(), a=1), SIZE, tmp_path)


def test_some_of_the_cells_are_run_alone_and_the_others_kept(tmp_path: Path):
    run(toy(Toy(), a=1, b=2), Size((0,)), tmp_path, only=["b"])
    stage = Toy()
    record = run(toy(stage, a=1, b=2), SIZE, tmp_path, only=["a"])
    assert stage.ran == BOTH[:2]
    assert [(r.cell, r.seed) for r in record.runs] == BOTH[:3]


def test_what_another_process_finished_meanwhile_stays_in_the_record(tmp_path: Path):
    class Shared(Toy):
        def run(self, cell: Cell, seed: int, results: Results) -> Outcome:
            run(toy(Toy(), a=1, b=2), Size((0,)), tmp_path, only=["b"])
            return super().run(cell, seed, results)

    run(toy(Shared(), a=1, b=2), SIZE, tmp_path, only=["a"])
    kept = Reproduction.load(tmp_path / FILE_NAME)
    assert [(r.cell, r.seed) for r in kept.runs] == BOTH[:3]


def test_scale_lengthens_and_quick_does_not_look_at_it():
    assert Size((0,), scale=2.5).epochs(4) == 10
    assert Size((0,), scale=0.01).epochs(4) == 1
    assert Size((0,), scale=9.0, quick=True).epochs(50, quick=3) == 3
