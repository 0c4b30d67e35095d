"""The engine that resumes: cells of work, each kept in a file of its own as soon as it is computed.

A `Cell` is a name and its settings: all that decides its result, as JSON values. `finish` yields
every cell with its result, first those that lie in the folder, then the others as they are done:

    def work(cell):
        return {"loss": train(**cell.settings)}


    for cell, done in finish(cells, work, Folder("runs/mine")):
        print(cell.name, done.result["loss"])

The same call again, after a crash or with more cells, computes what is missing. A file that other
settings made is refused with the difference ("batch_size: 32 there, 64 here"). Who computes a cell
holds its lock, so that several processes may share a folder. `Processes(4)` computes side by side.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError, require
from cyclerate._files import built, write_bytes, write_json
from cyclerate._plain import digest, plain, provenance
from cyclerate._text import listed

try:
    import fcntl
except ImportError:  # not on Windows: there a folder belongs to one process at a time
    fcntl = None

SCHEMA = 2
T = TypeVar("T")
Work = Callable[["Cell"], Mapping[str, Any]]
"""Computes a cell: JSON values by name, and at most one array among them."""


class OtherSettings(CyclerateError, ValueError):
    """The folder holds work of other settings; the message names what differs."""


@dataclass(frozen=True)
class Cell:
    """A piece of work; it is kept in the file NAME.json of its folder."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """What a cell gave, and where that was computed: time, versions and machine."""

    result: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """Finished cells; with `path=None` nothing is kept.

    >>> import tempfile
    >>> folder, cell = Folder(tempfile.mkdtemp()), Cell("fixed-0", {"batch_size": 32})
    >>> folder.save(cell, {"loss": 0.5}).result
    {'loss': 0.5}
    >>> folder.load(Cell("fixed-0", {"batch_size": 64}))
    Traceback (most recent call last):
    cyclerate.compare._cells.OtherSettings: ...batch_size: 32 there, 64 here...
    """

    path: str | os.PathLike[str] | None

    def load(self, cell: Cell) -> Done | None:
        """The result of a finished cell; None if it is not finished.

        Raises:
            OtherSettings: The file is of a cell that something else decided.
            CyclerateError: The file was damaged.
        """
        if self.path is None:
            return None
        file = self._file(cell, "json")
        kept = read(file, "settings", "result", "provenance")
        if kept is None:
            return None
        refuse_others(file, kept["settings"], cell.settings)
        done = Done(kept["result"], kept["provenance"])
        for key, value in done.result.items():
            if isinstance(value, dict) and list(value) == ["array"]:
                if (array := self._array(cell, value["array"])) is None:
                    return None
                done.result[key] = array
        return done

    def save(self, cell: Cell, result: Mapping[str, Any]) -> Done:
        """Keeps a result in one step: the array first, so that where the JSON is, all of it is."""
        arrays = {k: v for k, v in result.items() if isinstance(v, np.ndarray)}
        values = plain(dict(result) | {k: {"array": digest([v])} for k, v in arrays.items()})
        made = provenance()
        if self.path is not None:
            for array in arrays.values():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                write_bytes(self._file(cell, "npy"), buffer.getvalue())
            kept = {"schema": SCHEMA, "settings": plain(cell.settings), "result": values}
            write_json(self._file(cell, "json"), kept | {"provenance": made})
        return Done(values | arrays, made)

    @contextmanager
    def locked(self, cell: Cell, *, wait: bool) -> Generator[bool]:
        """Holds the lock of a cell; gives False if another process has it and `wait` is not set.

        The system lets go of it when its process dies, however that happens.
        """
        if self.path is None or fcntl is None:
            yield True
            return
        file = self._file(cell, "lock")
        file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with file.open("ab") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    yield False
                    return
                if _is_still(file, handle.fileno()):
                    try:
                        yield True
                    finally:
                        file.unlink(missing_ok=True)
                    return

    def _file(self, cell: Cell, kind: str) -> Path:
        return Path(str(self.path)) / f"{cell.name}.{kind}"

    def _array(self, cell: Cell, wanted: str) -> NDArray[Any] | None:
        try:
            data = self._file(cell, "npy").read_bytes()
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (FileNotFoundError, ValueError):
            return None
        return array if digest([array]) == wanted else None


def _is_still(file: Path, descriptor: int) -> bool:
    """Its last owner may have removed the file between our opening and our locking it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def finish(
    cells: Iterable[Cell],
    work: Work,
    folder: Folder,
    execute: Callable[..., Iterable[tuple[Cell, Done | None]]] | None = None,
) -> Generator[tuple[Cell, Done]]:
    """Yields every cell with its result: the finished ones at once, the others when they are done.

    `execute` calls a function with each of some cells, and yields pairs of cell and answer in any
    order: one after another by default; `Processes` side by side.

    Raises:
        OtherSettings: The folder holds a cell that other settings made; nothing is computed then.
    """
    cells = list(cells)
    found = [(cell, folder.load(cell)) for cell in cells]
    missing = [cell for cell, done in found if done is None]
    yield from ((cell, done) for cell, done in found if done is not None)
    elsewhere: list[Cell] = []
    compute = partial(_compute, work=work, folder=folder)
    for cell, done in (execute or in_turn)(partial(compute, wait=False), missing):
        if done is None:
            elsewhere.append(cell)
        else:
            yield cell, done
    for cell in elsewhere:
        if (done := compute(cell, wait=True)) is not None:
            yield cell, done


def _compute(cell: Cell, *, work: Work, folder: Folder, wait: bool) -> Done | None:
    """None if another process is at it."""
    with folder.locked(cell, wait=wait) as ours:
        if not ours:
            return None
        # Another process may have finished it since the folder was read.
        return folder.load(cell) or folder.save(cell, work(cell))


def in_turn(call: Callable[[Cell], T], cells: Iterable[Cell]) -> Iterable[tuple[Cell, T]]:
    """Computes one cell after another, in this process."""
    return ((cell, call(cell)) for cell in cells)


@dataclass(frozen=True)
class Processes:
    """Computes cells in processes of joblib, which share the processor's threads."""

    number: int

    def __call__(
        self, call: Callable[[Cell], T], cells: Sequence[Cell]
    ) -> Iterable[tuple[Cell, T]]:
        """Yields what is done as it comes; a single cell is computed here."""
        if len(cells) < 2:
            yield from in_turn(call, cells)
            return
        joblib = require("joblib", "cli")
        threads = max((os.cpu_count() or 1) // self.number, 1)
        calls = [joblib.delayed(_answered)(call, cell) for cell in cells]
        with (
            _backend_for_others(),
            joblib.parallel_config("loky", n_jobs=self.number, inner_max_num_threads=threads),
        ):
            yield from joblib.Parallel(return_as="generator_unordered")(calls)


def _answered(call: Callable[[Cell], T], cell: Cell) -> tuple[Cell, T]:
    return cell, call(cell)


@contextmanager
def _backend_for_others() -> Generator[None]:
    """New processes take the Keras backend from the environment; there it is, then."""
    keras, name = sys.modules.get("keras"), "KERAS_BACKEND"
    before = os.environ.get(name)
    if keras is not None:
        os.environ[name] = keras.backend.backend()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def read(file: Path, *keys: str) -> dict[str, Any] | None:
    """The JSON object of a file with these keys; None if there is no file.

    Raises:
        CyclerateError: It is no such file.
    """
    try:
        kept = json.loads(file.read_bytes())
        return {key: built(dict[str, Any], kept[key], key) for key in keys}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CyclerateError(
            f"{file} cannot be read: remove it to have it made again, or name another folder."
        ) from error


def refuse_others(file: Path, there: Any, here: Any) -> None:
    """Refuses a file of other settings.

    Raises:
        OtherSettings: They differ; the message names each difference.
    """
    if differing := _differing(there, plain(here)):
        which = listed(differing, most=3)
        raise OtherSettings(
            f"{file} was made with other settings ({which}): name another folder, or remove it."
        )


def _differing(there: Any, here: Any, name: str = "") -> list[str]:
    """The names of what differs, and both values where they are short."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(set(there) | set(here))
        parts = [_differing(there.get(k), here.get(k), f"{name}.{k}".lstrip(".")) for k in keys]
        return [one for part in parts for one in part]
    return [] if there == here else [f"{name}: {_short(there)} there, {_short(here)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
