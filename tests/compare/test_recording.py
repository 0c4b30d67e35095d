"""The order of the cells, and what is kept as they finish, with a trainer that trains nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclerate.compare._record import Best, Cell, PolicyInfo, Record
from cyclerate.compare._recording import run_cells
from tests.compare.records import raced

LOSSES = {"fixed": (0.5, 0.4), "triangular": (0.3, 0.6)}


class Stub:
    """Gives every cell the loss of `LOSSES`; saves the name of the cell it trained last."""

    def __init__(self, fails_at: tuple[str, int] | None = None) -> None:
        self.fails_at, self.last, self.saved = fails_at, "", []
        self.trained: list[str] = []
        self.batch_size = 32

    def decided_by(self) -> dict[str, object]:
        return {"batch_size": self.batch_size}

    def train(self, policy: PolicyInfo, seed: int, progress: Callable[[int], None]) -> Cell:
        if (policy.name, seed) == self.fails_at:
            raise RuntimeError("out of memory")
        progress(10)
        self.last = f"{policy.name} {seed}"
        self.trained.append(self.last)
        loss = LOSSES[policy.name][seed]
        return Cell(policy.name, seed, (10,), (loss,), (loss,), (1 - loss,), 1.0, False)

    def save(self, path: Path) -> None:
        self.saved.append(self.last)
        path.write_text(self.last)


def empty() -> Record:
    full = raced({"fixed": 1.0, "triangular": 6.0})
    return dataclasses.replace(
        full,
        policies=tuple(policy for policy in full.policies if policy.name in LOSSES),
        seeds=(0, 1),
        cells=(),
        summary=(),
        best=None,
    )


def test_every_policy_is_trained_with_every_seed(tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    record = run_cells(
        empty(), Stub(), tmp_path, progress=lambda p, s, n: seen.append((p.name, s, n))
    )
    order = [("fixed", 0), ("fixed", 1), ("triangular", 0), ("triangular", 1)]
    assert [(cell.policy, cell.seed) for cell in record.cells] == order
    assert seen == [(*cell, 10) for cell in order for _ in range(2)]
    assert [row.loss_mean for row in record.summary] == [pytest.approx(0.45), pytest.approx(0.45)]
    assert Record.load(tmp_path) == record


def test_the_best_network_is_saved_when_it_is_the_best(tmp_path: Path):
    stub = Stub()
    record = run_cells(empty(), stub, tmp_path)
    assert stub.saved == ["fixed 0", "fixed 1", "triangular 0"]
    assert (tmp_path / "best.keras").read_text() == "triangular 0"
    assert record.best == Best("triangular", 0, "best.keras")


def test_no_network_is_saved_where_none_is_wanted(tmp_path: Path):
    record = run_cells(empty(), Stub(), tmp_path, model_file=None)
    assert record.best == Best("triangular", 0, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "record.json"]


def test_what_is_done_is_kept_when_a_later_cell_fails(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of memory"):
        run_cells(empty(), Stub(fails_at=("triangular", 0)), tmp_path)
    kept = Record.load(tmp_path)
    assert [(cell.policy, cell.seed) for cell in kept.cells] == [("fixed", 0), ("fixed", 1)]
    assert (tmp_path / "best.keras").read_text() == "fixed 1"


def test_the_same_call_again_trains_what_is_missing(tmp_path: Path):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run_cells(empty(), Stub(), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="out of memory"):
        run_cells(empty(), Stub(fails_at=("triangular", 0)), tmp_path / "cut")
    rest = Stub()
    assert run_cells(empty(), rest, tmp_path / "cut") == whole
    assert rest.trained == ["triangular 0", "triangular 1"]
    assert (tmp_path / "cut" / "best.keras").read_text() == "triangular 0"


def test_cells_of_other_settings_are_trained_anew(tmp_path: Path):
    run_cells(empty(), Stub(), tmp_path)
    other = Stub()
    other.batch_size = 64
    run_cells(empty(), other, tmp_path)
    assert other.trained == ["fixed 0", "fixed 1", "triangular 0", "triangular 1"]


def test_the_best_network_is_that_of_this_record(tmp_path: Path):
    run_cells(empty(), Stub(), tmp_path)
    fewer = dataclasses.replace(empty(), policies=empty().policies[:1])
    stub = Stub()
    assert run_cells(fewer, stub, tmp_path).best == Best("fixed", 1, "best.keras")
    assert stub.trained == ["fixed 1"]
    assert (tmp_path / "best.keras").read_text() == "fixed 1"
