"""Files appear whole or not at all: each is written under a temporary name and renamed.

And what is read back is checked: it is a value that we could have written, or a named error.
The temporary name has the process in it: what a killed one has left goes with the next file there.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import re
import shutil
import tempfile
import time
import types
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from cyclerate._errors import bad_argument, check_count, check_number

T = TypeVar("T")

PROGRESS = "progress"
"""The folder of files that say how far runs are; the file of a single training, with `.json`."""

Stamp = tuple[int, int, int]
"""What changes when a file does: its time, its size, its number."""

_SECONDS_BETWEEN = 1.0  # two writings of how far something is
_MOST_BYTES = 2**28
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"


def temporary_prefix(folder: Path, start: str) -> str:
    """Returns how the name of something temporary is to begin: with `start`, and whose it is.

    What processes of this machine have left in the folder under such names, killed, is removed.
    """
    name = re.compile(rf"{re.escape(start)}{_MACHINE}-(\d+)-")
    for entry in os.scandir(folder):
        if (whose := name.match(entry.name)) and process_start(int(whose[1])) is None:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return f"{start}{_MACHINE}-{os.getpid()}-"


def process_start(process: int) -> str | None:
    """When a process of this machine was started, where the system says so; None if none runs.

    The number of a process is used again: with this it is another one.
    """
    if os.name != "posix":  # elsewhere, to ask is to end it
        return ""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:  # it is somebody else's
        pass
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if state in "ZX" else fields[18]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """Gives a temporary file to write, which then replaces `path` in one step; makes its folders.

    It ends as `path` does, for writers that go by that; an exception in the block removes it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(
        dir=target.parent,
        prefix=temporary_prefix(target.parent, f".{target.name}."),
        suffix=".tmp" + "".join(target.suffixes),
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes `data` to `path`, replacing it in one step; makes the parent folders."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Writes `text` to `path` as UTF-8, replacing it in one step.

    What is no character, as in the name of a file that is not UTF-8, becomes JSON's escape of it.
    """
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Writes `value` as strict JSON (no NaN, no Infinity), replacing `path` in one step."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


@dataclass
class Progress:
    """A file that says how far something is, for `cyclerate watch`; with `path=None` there is none.

    It is written at most once a second.
    """

    path: Path | None
    _written: float = field(default=-math.inf, init=False)

    def tell(self, values: Callable[[], Any], *, now: bool = False) -> None:
        """Writes what `values` gives, if it is time for that, or anyway."""
        at = time.monotonic()
        if self.path is not None and (now or at - self._written >= _SECONDS_BETWEEN):
            self._written = at
            write_text(self.path, json.dumps(values(), allow_nan=False))

    def remove(self) -> None:
        """Removes it, as what it spoke of has ended; its folder, too, if nothing else is there."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self.path.parent.rmdir()


@dataclass
class Reader:
    """Reads JSON files of a folder for whoever looks on: each again when it has changed.

    Regular files alone, and none that a link leads to; nothing is written.
    """

    root: Path
    files: dict[tuple[str, str], Stamp] = field(default_factory=dict, init=False)
    _kept: dict[tuple[str, str], tuple[Stamp, Any]] = field(default_factory=dict, init=False)

    def look(self, *folders: str) -> None:
        """Notes which files lie in these folders now; "" is the root."""
        self.files = {}
        for name in folders:
            folder = self.root / name
            with suppress(OSError):
                for entry in () if name and folder.is_symlink() else os.scandir(folder):
                    if entry.is_file(follow_symlinks=False):
                        told = entry.stat(follow_symlinks=False)
                        stamp = (told.st_mtime_ns, told.st_size, told.st_ino)
                        self.files[name, entry.name] = stamp
        self._kept = {place: kept for place, kept in self._kept.items() if place in self.files}

    def names(self, folder: str) -> list[str]:
        """The names of the files of a folder, in their order."""
        return sorted(name for where, name in self.files if where == folder)

    def read(self, folder: str, name: str, make: Callable[[Any], T]) -> T | None:
        """Returns what `make` makes of a file; None where there is none, or none that fits."""
        place = (folder, name)
        stamp = self.files.get(place)
        if stamp is None or stamp[1] > _MOST_BYTES:
            return None
        kept = self._kept.get(place)
        if kept is None or kept[0] != stamp:
            made = None
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                made = make(json.loads(self._content(place)))
            self._kept[place] = kept = (stamp, made)
        return kept[1]

    def _content(self, place: tuple[str, str]) -> bytes:
        """What a file holds, if it is one still: a link or a pipe in its place is none."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with os.fdopen(os.open(self.root.joinpath(*place), flags), "rb") as file:
            return file.read(_MOST_BYTES)


def check_path(name: str, path: Any) -> str:
    """Returns a path as text.

    Raises:
        ValueError: It is no path.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise bad_argument(name, "a path, text or os.PathLike", path)
    return text


def read_json(path: str | os.PathLike[str], what: str, make: Callable[[Any], T]) -> T:
    """Returns what `make` makes of the content of a strict JSON file.

    Raises:
        ValueError: It is not UTF-8 or not JSON, or `make` refuses it; the message names the file.
        OSError: It cannot be read.
    """
    content = Path(check_path("path", path)).read_bytes()
    try:
        return make(json.loads(content.decode("utf-8"), parse_constant=_refuse))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{os.fspath(path)} holds no {what}: it is not JSON ({where})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} holds no {what}: {error}") from error


def without_schema(values: Any, schema: int) -> dict[str, Any]:
    """Returns the other values of an object that is of this schema.

    Raises:
        ValueError: It is not.
    """
    found = values.get("schema") if isinstance(values, Mapping) else values
    if type(found) is not int or found != schema:
        raise bad_argument("schema", str(schema), found)
    return {name: value for name, value in values.items() if name != "schema"}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def built(kind: Any, value: Any, where: str) -> Any:
    """Returns a JSON value as a type says: a dataclass by its fields' types, a list as a tuple.

    Whole numbers are counts, none below 0; numbers are finite. `Any` takes all there is.

    Raises:
        ValueError: A field is missing or unknown, or a value is of another type.

    >>> built(tuple[int, ...], [1, 2], "steps")
    (1, 2)
    >>> built(dict[str, float | None], {"loss": "low"}, "final")
    Traceback (most recent call last):
    ValueError: final.loss must be a finite number. Received: 'low'
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (part for part in parts if part is not types.NoneType)
        return None if value is None else built(some, value, where)
    if origin is tuple:
        some = parts[0] if parts[1:] == (...,) else None
        if not isinstance(value, (list, tuple)) or (some is None and len(value) != len(parts)):
            raise bad_argument(where, "a list" if some else f"a list of {len(parts)}", value)
        kinds = [some] * len(value) if some else parts
        pairs = zip(kinds, value, strict=True)
        return tuple(built(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(pairs))
    if dataclasses.is_dataclass(kind) or origin is dict:
        if not isinstance(value, Mapping):
            raise bad_argument(where, "an object with keys and values", value)
        inside = "" if " " in where else f"{where}."  # what is called "the record" is the whole
        types_of = dict.fromkeys(value, parts[1]) if origin is dict else _types(kind, value, where)
        made = {name: built(types_of[name], value[name], f"{inside}{name}") for name in value}
        return made if origin is dict else kind(**made)  # pyright: ignore[reportCallIssue]
    if kind is int:
        return check_count(where, value, low=0)
    if kind is float:
        return check_number(where, value)
    if kind is not Any and not isinstance(value, kind):
        raise bad_argument(where, {str: "text", bool: "true or false"}[kind], value)
    return value


def _types(kind: Any, value: Mapping[str, Any], where: str) -> dict[str, Any]:
    fields, missing = dataclasses.fields(kind), dataclasses.MISSING
    needed = {f.name for f in fields if f.default is missing and f.default_factory is missing}
    names = [field.name for field in fields]
    if not needed <= value.keys() <= set(names):
        raise bad_argument(where, f"made of {', '.join(names)}", sorted(map(str, value)))
    return get_type_hints(kind)
