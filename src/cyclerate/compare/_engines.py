"""Where cells are computed: here, in processes of joblib, or by anything that has `submit`.

A cell goes there with all that it needs, packed by cloudpickle, so that a function of a notebook
goes, too. Each process computes one cell at a time: the global random generators, which a run
seeds, are one of a kind in it, so that threads of one process take turns.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from cyclerate._errors import CyclerateError, bad_argument, check_count, require
from cyclerate.compare._cells import Cell, Done, Execute, in_turn

Compute = Callable[[Cell], Done | None]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5  # seconds between looks at what was submitted
_SUBMIT = "an object with a method submit(function, *arguments) that returns a future"


def choose_engine(executor: Any, n_jobs: int | None) -> Execute | None:
    """Says where cells are computed; None for here, one after another.

    An executor first, then so many processes, then the backend of joblib that is active.

    Raises:
        ValueError: The executor has no `submit`; or there are both an executor and processes.
    """
    if n_jobs is not None:
        check_count("n_jobs", n_jobs, below=2**15)
    if executor is not None:
        if not callable(getattr(executor, "submit", None)):
            raise bad_argument("executor", _SUBMIT, executor)
        if n_jobs is not None:
            raise bad_argument("n_jobs", "None beside an executor, which has its own", n_jobs)
        return Submitted(executor)
    number = n_jobs or _active_backend()[1]
    return None if number == 1 else Joblib(n_jobs)


@dataclass(frozen=True)
class Submitted:
    """Computes cells as futures of an executor: of `concurrent.futures`, Dask, submitit, ..."""

    executor: Any

    def __call__(self, call: Compute, cells: list[Cell]) -> Iterable[tuple[Cell, Done | None]]:
        """Yields what is done as it comes; what is not begun when one fails is cancelled."""
        packed, waiting = pack(call), list[tuple[Cell, Any]]()
        pause = _FIRST_PAUSE
        try:
            for cell in cells:
                waiting.append((cell, self.executor.submit(packed, cell)))
            while waiting:
                done = [pair for pair in waiting if _is_done(pair[1])]
                for pair in done:
                    waiting.remove(pair)
                    yield pair[0], pair[1].result()
                pause = _FIRST_PAUSE if done else min(1.5 * pause, _LONGEST_PAUSE)
                time.sleep(pause if waiting else 0.0)
        finally:
            for _, future in waiting:
                getattr(future, "cancel", lambda: None)()


def _is_done(future: Any) -> bool:
    """What cannot say so is waited for in its turn."""
    return bool(getattr(future, "done", lambda: True)())


@dataclass(frozen=True)
class Joblib:
    """Computes cells by joblib: with the backend that is active, if `parallel_config` chose one.

    Otherwise in processes of loky, which share the processor's threads.
    """

    number: int | None

    def __call__(self, call: Compute, cells: list[Cell]) -> Iterable[tuple[Cell, Done | None]]:
        """Yields what is done as it comes; a single cell is computed here."""
        if len(cells) < 2:
            yield from in_turn(call, cells)
            return
        joblib = require("joblib", "cli")
        backend, number = _active_backend()
        number, context = self.number or number, nullcontext()
        if backend is None:
            threads = max((os.cpu_count() or 1) // number, 1)
            context = joblib.parallel_config("loky", inner_max_num_threads=threads)
        as_they_come = getattr(backend, "supports_return_generator", True)
        packed = pack(call)
        with context:
            parallel = joblib.Parallel(
                n_jobs=number, return_as="generator_unordered" if as_they_come else "list"
            )
            yield from parallel(joblib.delayed(_answered)(packed, cell) for cell in cells)


def _answered(call: Compute, cell: Cell) -> tuple[Cell, Done | None]:
    return cell, call(cell)


def _active_backend() -> tuple[Any, int]:
    """The backend of joblib that `parallel_config` chose, None if it did not; and its processes."""
    if "joblib" not in sys.modules:
        return None, 1
    active = importlib.import_module("joblib.parallel").get_active_backend
    (backend, wanted), (again, _) = active(), active()
    number = backend.effective_n_jobs(backend.default_n_jobs if wanted is None else wanted)
    # The default is made at each call; what was chosen is one object.
    return backend if backend is again else None, int(number)


@dataclass(frozen=True)
class Packed:
    """A function as bytes, unpacked where it is called; a process keeps the last one."""

    content: bytes = field(repr=False)
    key: str
    backend: str | None

    def __call__(self, cell: Cell) -> Done | None:
        """Calls it with a cell.

        Raises:
            CyclerateError: Keras computes with another backend in this process.
        """
        with _turn:
            if self.key != _last.key:
                self._choose_backend()
                # What the comparison has packed itself, and an engine has carried here: no file.
                _last.key, _last.call = self.key, pickle.loads(self.content)  # noqa: S301
            return _last.call(cell)

    def _choose_backend(self) -> None:
        if self.backend is None:
            return
        keras = sys.modules.get("keras")
        if keras is None:
            os.environ["KERAS_BACKEND"] = self.backend
        elif (there := keras.backend.backend()) != self.backend:
            raise CyclerateError(
                f"a worker has Keras on {there}, the comparison on {self.backend}: set "
                f"KERAS_BACKEND={self.backend} where the workers start."
            )


class _Last:
    """What this process has unpacked last: its compiled steps serve the next cell of a policy."""

    key = ""
    call: Compute


_last, _turn = _Last(), threading.RLock()


def pack(call: Compute) -> Packed:
    """Packs a function and all that it refers to."""
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError:
        require("joblib", "cli")
        cloudpickle = importlib.import_module("joblib.externals.cloudpickle")
    content = cloudpickle.dumps(call)
    keras = sys.modules.get("keras")
    backend = None if keras is None else str(keras.backend.backend())
    return Packed(content, hashlib.sha256(content).hexdigest(), backend)
