"""The engine: what is kept, what is refused, and who computes a cell when several could."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclerate._errors import CyclerateError
from cyclerate.compare._cells import Cell, Folder, OtherSettings, Processes, finish

CELLS = [Cell(f"cells/{name}", {"name": name, "batch_size": 32}) for name in "abc"]


class Work:
    """Counts what it computes; ends with an error at one cell."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.computed = fails_at, ""

    def __call__(self, cell: Cell) -> dict[str, Any]:
        name = cell.settings["name"]
        if name == self.fails_at:
            raise RuntimeError("out of memory")
        self.computed += name
        return {"loss": float("nan"), "at": (1, 2), "name": name}


def names(done: Any) -> str:
    return "".join(cell.settings["name"] for cell, _ in done)


def test_a_result_is_the_same_new_or_read(tmp_path: Path):
    new, read, nowhere = (
        [done.result for _, done in finish(CELLS, Work(), Folder(path))]
        for path in (tmp_path, tmp_path, None)
    )
    assert new == read == nowhere
    assert new[0] == {"loss": None, "at": [1, 2], "name": "a"}
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == [
        "a.json",
        "b.json",
        "c.json",
    ]


def test_what_is_missing_is_computed_and_nothing_else(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of memory"):
        list(finish(CELLS, Work(fails_at="b"), Folder(tmp_path)))
    rest = Work()
    assert names(finish(CELLS, rest, Folder(tmp_path))) == "abc"
    assert rest.computed == "bc"
    (tmp_path / "cells" / "b.json").unlink()
    # What lies there comes first.
    assert names(finish(CELLS, Work(), Folder(tmp_path))) == "acb"


def test_a_cell_says_where_it_was_computed(tmp_path: Path):
    ((_, done),) = finish(CELLS[:1], Work(), Folder(tmp_path))
    assert set(done.provenance) == {"created", "versions", "machine"}
    kept = json.loads((tmp_path / "cells" / "a.json").read_text())
    assert kept["provenance"] == done.provenance
    assert kept["settings"] == CELLS[0].settings


def test_other_settings_are_named_before_anything_is_computed(tmp_path: Path):
    list(finish(CELLS[1:2], Work(), Folder(tmp_path)))
    other, work = Cell("cells/b", {"name": "b", "batch_size": 64, "rows": 3}), Work()
    with pytest.raises(OtherSettings, match="was made with other settings") as error:
        list(finish([CELLS[0], other], work, Folder(tmp_path)))
    assert "(batch_size: 32 there, 64 here, rows: null there, 3 here)" in str(error.value)
    assert work.computed == ""


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str):
    folder = Folder(tmp_path)
    list(finish(CELLS[:1], Work(), folder))
    (tmp_path / "cells" / "a.json").write_text(content)
    with pytest.raises(CyclerateError, match=r"a\.json cannot be read: remove it"):
        folder.load(CELLS[0])


def test_an_array_is_kept_beside_its_cell_and_missed(tmp_path: Path):
    folder, cell = Folder(tmp_path), CELLS[0]
    outputs = np.arange(6.0).reshape(2, 3)
    saved = folder.save(cell, {"outputs": outputs, "loss": 1})
    read = folder.load(cell)
    assert read is not None
    np.testing.assert_array_equal(read.result["outputs"], outputs)
    np.testing.assert_array_equal(saved.result["outputs"], outputs)
    file = tmp_path / "cells" / "a.npy"
    np.save(file, outputs + 1)
    assert folder.load(cell) is None
    file.unlink()
    assert folder.load(cell) is None


def test_processes_give_the_same(tmp_path: Path):
    from joblib.externals.loky import get_reusable_executor

    def work(cell: Cell) -> dict[str, Any]:
        return {"name": cell.settings["name"], "process": os.getpid()}

    found = {
        cell.name: done.result for cell, done in finish(CELLS, work, Folder(tmp_path), Processes(2))
    }
    get_reusable_executor().shutdown(wait=True)
    assert {name: result["name"] for name, result in found.items()} == {
        cell.name: cell.settings["name"] for cell in CELLS
    }
    assert os.getpid() not in {result["process"] for result in found.values()}
    assert [done.result for _, done in finish(CELLS, Work(), Folder(tmp_path))] == [
        found[cell.name] for cell in CELLS
    ]


def hold(path: Path, cell: Cell, then: str) -> None:
    """In a process of its own: takes the lock, says so, and finishes the cell or waits."""
    folder = Folder(path)
    with folder.locked(cell, wait=True):
        (path / "held").touch()
        if then == "finish":
            time.sleep(0.3)
            folder.save(cell, {"name": "from the other process"})
        else:
            time.sleep(60)


@pytest.fixture
def other(tmp_path: Path):
    started = []

    def start(cell: Cell, then: str) -> Any:
        process = multiprocessing.get_context("spawn").Process(
            target=hold, args=(tmp_path, cell, then)
        )
        process.start()
        started.append(process)
        while not (tmp_path / "held").exists():
            assert process.is_alive()
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_cell_that_another_process_computes_is_waited_for(tmp_path: Path, other: Any):
    other(CELLS[0], "finish")
    work = Work()
    found = [
        (cell.name, done.result["name"]) for cell, done in finish(CELLS, work, Folder(tmp_path))
    ]
    assert found == [("cells/b", "b"), ("cells/c", "c"), ("cells/a", "from the other process")]
    assert work.computed == "bc"


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path, other: Any):
    process = other(CELLS[0], "hang")
    with Folder(tmp_path).locked(CELLS[0], wait=False) as ours:
        assert not ours
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    work = Work()
    assert names(finish(CELLS, work, Folder(tmp_path))) == "abc"
    assert work.computed == "abc"
    assert not list((tmp_path / "cells").glob("*.lock"))
