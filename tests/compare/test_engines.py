"""Cells computed elsewhere: by executors and by joblib, with the same results."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cyclerate._errors import CyclerateError
from cyclerate.compare import Comparison, cross_validate
from cyclerate.compare._cells import Cell, Folder, finish
from cyclerate.compare._engines import Packed, choose_engine, pack
from tests.compare.small import compared, data, make_model

joblib = pytest.importorskip("joblib")
CELLS = [Cell(f"cells/{name}", {"name": name}) for name in "abcd"]


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(autouse=True, scope="module")
def _shut_down() -> Generator[None]:
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def where(cell: Cell) -> dict[str, Any]:
    return {"name": cell.settings["name"], "process": os.getpid()}


def computed_in(folder: Folder, *engine: Any) -> set[int]:
    found = {cell.name: done.result for cell, done in finish(CELLS, where, folder, *engine)}
    assert {name: result["name"] for name, result in found.items()} == {
        cell.name: cell.settings["name"] for cell in CELLS
    }
    again = {cell.name: done.result for cell, done in finish(CELLS, where, folder)}
    assert again == found
    return {result["process"] for result in found.values()}


def test_processes_of_joblib_compute_elsewhere(tmp_path: Path):
    assert os.getpid() not in computed_in(Folder(tmp_path), choose_engine(None, 2))


def test_the_active_backend_of_joblib_is_used(tmp_path: Path):
    assert choose_engine(None, None) is None
    with joblib.parallel_config("threading", n_jobs=2):
        assert choose_engine(None, 1) is None
        assert computed_in(Folder(tmp_path / "a"), choose_engine(None, None)) == {os.getpid()}
        assert computed_in(Folder(tmp_path / "b"), choose_engine(None, 2)) == {os.getpid()}
    with joblib.parallel_config("loky", n_jobs=2):
        elsewhere = computed_in(Folder(tmp_path / "c"), choose_engine(None, None))
        assert os.getpid() not in elsewhere
    with joblib.parallel_config("loky"):  # which has one process unless told otherwise
        assert choose_engine(None, None) is None


def test_an_executor_computes(tmp_path: Path):
    with ThreadPoolExecutor(3) as threads:
        here = computed_in(Folder(tmp_path / "a"), choose_engine(threads, None))
    assert here == {os.getpid()}
    with processes() as pool:
        assert os.getpid() not in computed_in(Folder(tmp_path / "b"), choose_engine(pool, None))


def test_threads_of_a_process_take_turns(tmp_path: Path):
    busy, most = [0], [0]

    def work(_: Cell) -> dict[str, Any]:
        busy[0] += 1
        most[0] = max(busy[0], most[0])
        time.sleep(0.01)
        busy[0] -= 1
        return {"most": most[0]}

    with ThreadPoolExecutor(4) as threads:
        done = list(finish(CELLS, work, Folder(tmp_path), choose_engine(threads, None)))
    assert [one.result["most"] for _, one in done] == [1] * 4


def test_a_failure_is_raised_and_what_has_not_begun_is_cancelled(tmp_path: Path):
    futures: list[Future[Any]] = []
    cancelled = tmp_path / "cancelled"

    class Pool(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            futures.append(super().submit(fn, *args, **kwargs))
            futures[-1].add_done_callback(lambda done: done.cancelled() and cancelled.touch())
            return futures[-1]

    def work(cell: Cell) -> dict[str, Any]:
        if cell.settings["name"] == "b":
            raise RuntimeError("out of memory")
        # The pool's thread takes this one at once, while the last is still to be cancelled.
        while cell.settings["name"] == "c" and not cancelled.exists():
            time.sleep(0.01)
        return {}

    with Pool(1) as pool, pytest.raises(RuntimeError, match="out of memory"):
        list(finish(CELLS, work, Folder(tmp_path), choose_engine(pool, None)))
    assert [future.cancelled() for future in futures] == [False, False, False, True]
    # What was begun is kept, and counts the next time.
    assert Folder(tmp_path).load(CELLS[2]) is not None


class Elsewhere:
    """An executor on a machine that does not see our folder, whose futures are bare."""

    def submit(self, packed: Packed, cell: Cell) -> Any:
        class Bare:
            def result(self) -> Any:
                return Folder(None).save(cell, {"out": np.arange(3.0)}, {"machine": "far"})

        return Bare()


def test_what_was_computed_beside_another_folder_is_kept_in_ours(tmp_path: Path):
    folder = Folder(tmp_path)
    list(finish(CELLS, where, folder, choose_engine(Elsewhere(), None)))
    done = folder.load(CELLS[3])
    assert done is not None
    assert done.provenance == {"machine": "far"}
    np.testing.assert_array_equal(done.result["out"], np.arange(3.0))


@pytest.mark.parametrize("executor", [4, "threads", threading])
def test_what_has_no_submit_is_refused_by_name(executor: Any, tmp_path: Path):
    for call in (compared, validated):
        with pytest.raises(ValueError, match=r"^executor must be an object with a method submit"):
            call(executor=executor, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_processes_beside_an_executor_are_refused():
    with pytest.raises(ValueError, match=r"^n_jobs must be None beside an executor"):
        choose_engine(Elsewhere(), 2)
    with pytest.raises(ValueError, match=r"^n_jobs must be a whole number >= 1. Received: 0"):
        choose_engine(None, 0)


def test_a_worker_with_another_backend_of_keras_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(
        sys.modules, "keras", SimpleNamespace(backend=SimpleNamespace(backend=lambda: "torch"))
    )
    packed = pack(Folder(None).load)
    assert packed.backend == "torch"
    assert packed(CELLS[0]) is None
    other = Packed(packed.content, "another", "jax")
    with pytest.raises(CyclerateError, match="a worker has Keras on torch, the comparison on jax"):
        other(CELLS[0])


def validated(**settings: Any) -> Any:
    return cross_validate(
        make_model, *data(), epochs=4, batch_size=16, folds=3, max_lr=0.3, **settings
    )


def cells(result: Comparison) -> list[Any]:
    """All of the runs but their seconds."""
    return [
        {key: value for key, value in vars(run).items() if key != "seconds"} for run in result.cells
    ]


@pytest.fixture(scope="module")
def alone() -> Comparison:
    return compared()


def test_records_are_the_same_whoever_ran_a_cell(alone: Comparison, tmp_path: Path):
    def make_here() -> Any:
        return make_model()

    one = {"make_model": make_here}
    with ThreadPoolExecutor(3) as threads:
        assert cells(compared(executor=threads, **one)) == cells(alone)
    with processes() as pool:
        assert cells(compared(executor=pool, out=tmp_path, **one)) == cells(alone)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert cells(compared(**one)) == cells(alone)
    # And what lies there is taken as it is.
    assert cells(compared(out=tmp_path, executor=Elsewhere(), **one)) == cells(alone)


def test_folds_are_predicted_the_same_by_an_executor():
    alone = validated()
    with ThreadPoolExecutor(2) as threads:
        there = validated(executor=threads)
    np.testing.assert_array_equal(there.predictions, alone.predictions)
    assert there.times_heldout.tolist() == [1] * 96
