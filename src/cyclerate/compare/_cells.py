"""The engine that resumes: cells of work, each kept in a file of its own as soon as it is computed.

A `Cell` is a name and its settings: all that decides its result, as JSON values. `finish` yields
every cell with its result, first those that lie in the folder, then the others as they are done:

    def work(cell):
        return {"loss": train(**cell.settings)}


    for cell, done in finish(cells, work, Folder("runs/mine")):
        print(cell.name, done.result["loss"])

The same call again, after a crash or with more cells, computes what is missing. A file that other
settings made is refused with the difference ("batch_size: 32 there, 64 here"). Who computes a cell
holds its lock file, so that processes of several machines may share a folder. `_engines` has what
computes side by side.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError, listed
from cyclerate._files import (
    PROGRESS,
    Progress,
    Reader,
    built,
    process_start,
    write_bytes,
    write_json,
)
from cyclerate._plain import digest, plain, provenance

SCHEMA = 2
HEARTBEAT_SECONDS = 10.0
"""How often who computes a cell touches its lock."""
STALE_SECONDS = 120.0
"""A lock of another machine is free when nobody has touched it for so long: NFS may show the time
of a file up to a minute late."""
_LOCK = re.compile(r"(?P<name>.+)\.lock(\.\d+)?")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between looks at what others compute
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

    def save(
        self, cell: Cell, result: Mapping[str, Any], made: dict[str, Any] | None = None
    ) -> Done:
        """Keeps a result in one step: the array first, so that where the JSON is, all of it is.

        `made` says where it comes from; from here and now if None.
        """
        arrays = {k: v for k, v in result.items() if isinstance(v, np.ndarray)}
        values = plain(dict(result) | {k: {"array": digest([v])} for k, v in arrays.items()})
        made = provenance() if made is None else made
        if self.path is not None:
            for array in arrays.values():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                write_bytes(self._file(cell, "npy"), buffer.getvalue())
            kept = {"schema": SCHEMA, "settings": plain(cell.settings), "result": values}
            write_json(self._file(cell, "json"), kept | {"provenance": made})
        return Done(values | arrays, made)

    @contextmanager
    def locked(self, cell: Cell) -> Generator[bool]:
        """Holds the lock of a cell; gives False if somebody else has it.

        The lock is a file, made by one alone on any file system, that is touched while it is held.
        It is free when its owner is gone: a process of this machine that runs no longer, or one of
        another machine that has not touched it for `STALE_SECONDS`. Such a file stays, and who
        comes next makes the one of the next number: of several that try, one succeeds.
        """
        if self.path is None:
            yield True
            return
        file = self._file(cell, "lock")
        file.parent.mkdir(parents=True, exist_ok=True)
        if (held := _take(file)) is None:
            yield False
            return
        mine = _owner(held)
        released = threading.Event()
        beats = threading.Thread(target=_touch, args=(held, mine, released), daemon=True)
        beats.start()
        try:
            yield True
        finally:
            released.set()
            beats.join()
            if _owner(held) == mine:  # the highest goes last: until then the cell is held
                for earlier in [number for number in _numbers(file) if number < _number(held)]:
                    _numbered(file, earlier).unlink(missing_ok=True)
                held.unlink(missing_ok=True)

    def progress(self, cell: Cell) -> Progress:
        """What says in a file of its own how far a cell is."""
        name = f"{Path(cell.name).name}.json"
        return Progress(None if self.path is None else Path(self.path) / PROGRESS / name)

    def tidy(self, cells: Iterable[Cell]) -> None:
        """Removes what processes that were killed right after a cell was finished have left."""
        if self.path is None or not any(Path(self.path).rglob("*.lock*")):
            return
        for cell in cells:
            if _numbers(self._file(cell, "lock")):
                with self.locked(cell):
                    pass

    def _file(self, cell: Cell, kind: str) -> Path:
        return Path(str(self.path)) / f"{cell.name}.{kind}"

    def _array(self, cell: Cell, wanted: str) -> NDArray[Any] | None:
        try:
            data = self._file(cell, "npy").read_bytes()
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (FileNotFoundError, ValueError):
            return None
        return array if digest([array]) == wanted else None


def _take(file: Path) -> Path | None:
    """Makes a lock file, after one whose owner is gone; None if somebody holds it."""
    process, token = os.getpid(), uuid.uuid4().hex
    started = process_start(process)
    mine = {"host": _host(), "process": process, "started": started, "token": token}
    for _ in range(3):
        highest = max(_numbers(file), default=None)
        before = None if highest is None else _numbered(file, highest)
        if before is not None and not _is_gone(_owner(before), before):
            return None
        next_one = _numbered(file, 0 if highest is None else highest + 1)
        with suppress(FileExistsError):
            descriptor = os.open(next_one, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                json.dump(mine, handle)
            if before is None or before.exists():
                return next_one
            # Somebody else came after it and is through, and a third may hold the cell by now.
            next_one.unlink(missing_ok=True)
    return None


def _numbers(file: Path) -> list[int]:
    """The numbers of a cell's lock files that there are; the first has none in its name."""
    start = f"{file.name}."
    with suppress(FileNotFoundError):
        names = [path.name for path in file.parent.iterdir()]
        later = [name[len(start) :] for name in names if name.startswith(start)]
        return [0] * (file.name in names) + [int(rest) for rest in later if rest.isdecimal()]
    return []


def _numbered(file: Path, number: int) -> Path:
    return file if number == 0 else file.with_name(f"{file.name}.{number}")


def _number(held: Path) -> int:
    return int(held.suffix[1:]) if held.suffix[1:].isdecimal() else 0


def _touch(file: Path, mine: dict[str, Any], released: threading.Event) -> None:
    while not released.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            if _owner(file) != mine:
                return
            os.utime(file)


def _owner(file: Path) -> dict[str, Any] | None:
    """Who made a lock; None if it has not been written yet, or is none."""
    with suppress(OSError, ValueError):
        there = json.loads(file.read_bytes())
        return there if isinstance(there, dict) else None
    return None


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock."""
    return _LOCK.fullmatch(name) is not None


def taken(reader: Reader, folder: str) -> dict[str, tuple[str, bool]]:
    """Who has taken which cells of a folder, and whether they are still at work, by their names.

    For whoever looks on and writes nothing: by the times of the files, which may be another
    machine's.
    """
    found: dict[str, tuple[str, bool]] = {}
    for name in sorted(reader.names(folder), key=lambda name: (len(name), name)):
        if held := _LOCK.fullmatch(name):  # the highest number comes last, and counts
            owner = reader.read(folder, name, dict) or {}
            host = str(owner.get("host", "")).partition(" ")[0]
            who = f"{host}, process {owner.get('process')}" if host else "somebody"
            here, touched = _runs_here(owner), reader.files[folder, name][0] / 1e9
            recent = time.time() - touched <= STALE_SECONDS
            found[held["name"]] = (who, recent if here is None else here)
    return found


def _runs_here(owner: dict[str, Any] | None) -> bool | None:
    """Whether the process that made a lock still runs; None if it is one of another machine."""
    process = (owner or {}).get("process")
    if owner is None or owner.get("host") != _host() or os.name != "posix":
        return None
    return process_start(process) == owner.get("started") if isinstance(process, int) else None


def _is_gone(owner: dict[str, Any] | None, file: Path) -> bool:
    if (here := _runs_here(owner)) is not None:
        return not here
    try:
        # By the clock of the file's own machine, which is what `utime` writes as well.
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".now-") as new:
            return Path(new.name).stat().st_mtime - file.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return True


@cache
def _host() -> str:
    """This machine since it was started, and this space of process numbers."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


Execute = Callable[
    [Callable[["Cell"], "Done | None"], list["Cell"]], Iterable[tuple["Cell", "Done | None"]]
]
"""Calls a function with each of some cells; yields pairs of cell and answer in any order."""


def finish(
    cells: Iterable[Cell], work: Work, folder: Folder, execute: Execute | None = None
) -> Generator[tuple[Cell, Done]]:
    """Yields every cell with its result: the finished ones at once, the others when they are done.

    `execute` computes them: one after another by default; `_engines` has others. What another
    process computes is waited for, and computed here if that process dies.

    Raises:
        OtherSettings: The folder holds a cell that other settings made; nothing is computed then.
    """
    cells = list(cells)
    found = [(cell, folder.load(cell)) for cell in cells]
    missing = [cell for cell, done in found if done is None]
    yield from ((cell, done) for cell, done in found if done is not None)
    elsewhere: list[Cell] = []
    compute = partial(_compute, work=work, folder=folder)
    for cell, done in (execute or in_turn)(compute, missing):
        if done is None:
            elsewhere.append(cell)
            continue
        if execute is not None and folder.path is not None and folder.load(cell) is None:
            # Computed on a machine that has another folder of that name, or none.
            folder.save(cell, done.result, done.provenance)
        yield cell, done
    pause = _FIRST_PAUSE
    while elsewhere:
        waiting: list[Cell] = []
        for cell in elsewhere:
            if (done := folder.load(cell) or compute(cell)) is None:
                waiting.append(cell)
            else:
                yield cell, done
        if waiting:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        elsewhere = waiting
    folder.tidy(cells)


def _compute(cell: Cell, *, work: Work, folder: Folder) -> Done | None:
    """None if another process is at it."""
    with folder.locked(cell) as ours:
        if not ours:
            return None
        # Another process may have finished it since the folder was read.
        return folder.load(cell) or folder.save(cell, work(cell))


def in_turn(call: Callable[[Cell], T], cells: Iterable[Cell]) -> Iterable[tuple[Cell, T]]:
    """Computes one cell after another, in this process."""
    return ((cell, call(cell)) for cell in cells)


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
