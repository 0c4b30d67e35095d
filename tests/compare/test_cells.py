"""The engine: what is kept, what is refused, and who computes a cell when several could."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclerate._errors import CyclerateError
from cyclerate.compare import _cells
from cyclerate.compare._cells import Cell, Folder, OtherSettings, finish

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


def hold(path: Path, cell: Cell, then: str) -> None:
    """In a process of its own: takes the lock, says so, and finishes after all others, or waits."""
    folder = Folder(path)
    with folder.locked(cell) as ours:
        assert ours
        (path / "held").touch()
        if then == "finish":
            while not (path / "cells" / "c.json").exists():
                time.sleep(0.01)
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


def test_a_cell_that_was_finished_since_the_folder_was_read_is_not_computed_again(tmp_path: Path):
    def late(call: Any, cells: Any) -> Any:
        for cell in cells:
            Folder(tmp_path).save(cell, {"by": "another process"})
            yield cell, call(cell)

    work = Work()
    found = [done.result for _, done in finish(CELLS, work, Folder(tmp_path), late)]
    assert (found, work.computed) == ([{"by": "another process"}] * 3, "")


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path, other: Any):
    process = other(CELLS[0], "hang")
    with Folder(tmp_path).locked(CELLS[0]) as ours:
        assert not ours
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    work = Work()
    assert names(finish(CELLS, work, Folder(tmp_path))) == "abc"
    assert work.computed == "abc"
    assert not list((tmp_path / "cells").glob("*.lock"))


def test_one_of_many_threads_takes_over_the_lock_of_the_dead(tmp_path: Path):
    folder, file = Folder(tmp_path), tmp_path / "cells" / "a.lock"
    file.parent.mkdir()
    for _ in range(20):
        dead = {"host": _cells._host(), "process": os.getpid(), "started": "0", "token": "old"}
        file.write_text(json.dumps(dead))  # the number is ours again, and we began later
        together, holders = threading.Barrier(8), list[bool]()

        def take(together: threading.Barrier, holders: list[bool]) -> None:
            together.wait()
            with folder.locked(CELLS[0]) as ours:
                holders.append(ours)
                together.wait()

        threads = [threading.Thread(target=take, args=(together, holders)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(holders) == 1
        assert not list(file.parent.iterdir())


def test_another_machine_is_dead_when_its_lock_is_touched_no_longer(tmp_path: Path):
    file = tmp_path / "cells" / "a.lock"
    file.parent.mkdir()
    for content in ('{"host": "elsewhere", "process": 1, "started": "5", "token": "x"}', ""):
        file.write_text(content)
        for age, free in ((_cells.STALE_SECONDS - 30, False), (_cells.STALE_SECONDS + 30, True)):
            then = time.time() - age
            os.utime(file, (then, then))
            with Folder(tmp_path).locked(CELLS[0]) as ours:
                assert ours is free
        assert not list(file.parent.iterdir())


def test_a_lock_is_touched_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_cells, "HEARTBEAT_SECONDS", 0.01)
    file = tmp_path / "cells" / "a.lock"
    with Folder(tmp_path).locked(CELLS[0]):
        os.utime(file, (0, 0))
        for _ in range(500):
            if file.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert time.time() - file.stat().st_mtime < 60
        # Who was taken for dead lets the lock of the other one be.
        file.write_text('{"token": "of another"}')
    assert file.read_text() == '{"token": "of another"}'


WORKER = """
import os, sys, time
from pathlib import Path
from cyclerate.compare._cells import Cell, Folder, finish

folder = Path(sys.argv[1])

def work(cell):
    (folder / f"begun-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    time.sleep(cell.settings["seconds"])
    with open(folder / "log", "a") as log:
        print(cell.name, file=log)
    return {"value": cell.settings["number"] ** 2}

cells = [Cell(f"cells/{n}", {"number": n, "seconds": 0.05}) for n in range(24)]
print(sum(done.result["value"] for _, done in finish(cells, work, Folder(folder))))
"""


def test_of_four_workers_on_one_folder_two_are_killed(tmp_path: Path):
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for worker in workers[:2]:
            while not (tmp_path / f"begun-{worker.pid}").exists():
                assert worker.poll() is None
                time.sleep(0.01)
            worker.kill()
        (tmp_path / "go").touch()  # all wait for it in their first cell
        said = [worker.communicate(timeout=60)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    expected = sum(number**2 for number in range(24))
    assert said[2:] == [f"{expected}\n"] * 2
    assert said[:2] == ["", ""]
    # Each was computed to its end once, those of the dead by others.
    log = (tmp_path / "log").read_text().split()
    assert sorted(log) == sorted(f"cells/{number}" for number in range(24))
    assert {path.suffix for path in (tmp_path / "cells").iterdir()} == {".json"}
