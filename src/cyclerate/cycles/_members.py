"""A folder of trained members, and the mean of what they hold or predict.

Files, and a manifest that names them with their checksums. The manifest is what counts. A member's
file is complete before the manifest names it, and is removed only when the manifest names it no
more; both appear by renaming. So the folder is readable after a kill at any moment, and what no
manifest names is a leftover.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import (
    CyclerateError,
    bad_argument,
    check_count,
    check_flag,
    check_number,
    check_rate,
    count,
    listed,
)
from cyclerate._files import built, check_path, read_json, replacing, without_schema, write_json
from cyclerate.schedules import Schedule

SCHEMA = 1
MANIFEST = "ensemble.json"

# A plain name: nothing in a manifest can point outside its folder.
_FILE = re.compile(r"step-[0-9]{8,}\.(keras|safetensors)")
_LEFTOVER = re.compile(rf"{_FILE.pattern}|\.{_FILE.pattern}\.[a-z0-9_]+\.tmp\.(keras|safetensors)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class LostMemberWarning(UserWarning):
    """A member of an ensemble cannot be used: its file is missing or not what was saved.

    The others still predict. To stop at it instead:

    >>> import warnings
    >>> warnings.simplefilter("error", LostMemberWarning)
    """


class NoMembersError(CyclerateError):
    """A folder holds no member that can be used; the message says what became of them."""


@dataclass(frozen=True)
class Member:
    """A model as it was at the end of a cycle.

    Attributes:
        file: The name of its file in the folder.
        sha256: The checksum of that file.
        step: The optimizer step after whose update it was saved, counted from 0.
        cycle: The cycle that ended there, counted from 1.
        lr: The rate of that step.
        metric: What the user measured, or None.
    """

    file: str
    sha256: str
    step: int
    cycle: int
    lr: float
    metric: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not _FILE.fullmatch(self.file):
            raise bad_argument("file", "a name as step-00000099.keras", self.file)
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise bad_argument("sha256", "64 hexadecimal digits", self.sha256)
        numbers: dict[str, Any] = {
            "step": check_count("step", self.step, low=0),
            "cycle": check_count("cycle", self.cycle),
            "lr": check_rate("lr", self.lr, low_open=False),
            "metric": None if self.metric is None else check_number("metric", self.metric),
        }
        for name, number in numbers.items():
            object.__setattr__(self, name, number)


@dataclass(frozen=True)
class Manifest:
    """The members of a folder by their step, and the schedule they were trained by."""

    schedule: dict[str, Any]
    members: tuple[Member, ...] = ()

    def save(self, folder: Path) -> None:
        """Writes it into the folder, in one step."""
        write_json(folder / MANIFEST, {"schema": SCHEMA, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Reads that of a folder; each value is checked."""
        try:
            return read_json(folder / MANIFEST, "manifest of an ensemble", cls._from_dict)
        except FileNotFoundError:
            raise NoMembersError(f"{folder} holds no {MANIFEST}: no member was saved.") from None

    @classmethod
    def _from_dict(cls, values: Any) -> Manifest:
        read = built(cls, without_schema(values, SCHEMA), "the manifest")
        if any(later.step <= earlier.step for earlier, later in pairwise(read.members)):
            allowed, steps = "rising in step", [member.step for member in read.members]
            raise bad_argument("members", allowed, steps)
        return read


class MemberFolder:
    """A folder that members, files with this suffix, are added to during a training.

    The latest `keep` are kept. The members of a previous run are removed when the first new one is
    there (`overwrite`), or gone on with if their schedule is the same (`resume`), or else refused.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        schedule: Schedule,
        suffix: str,
        *,
        keep: int | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        self._folder = Path(check_path("folder", folder))
        self._suffix = suffix
        self._keep = None if keep is None else check_count("keep", keep)
        overwrite, resume = check_flag("overwrite", overwrite), check_flag("resume", resume)
        if overwrite and resume:
            raise bad_argument("overwrite, resume", "given one at a time", (overwrite, resume))
        self._manifest = Manifest(schedule.to_dict())
        if resume and (self._folder / MANIFEST).exists():
            self._manifest = self._previous()
        elif (self._folder / MANIFEST).exists() and not overwrite:
            raise bad_argument(
                "folder",
                "without the members of a previous run (or give overwrite=True or resume=True)",
                str(folder),
            )
        self._overwrite = overwrite

    @property
    def members(self) -> tuple[Member, ...]:
        """The members there are, by their step."""
        return self._manifest.members

    def add(
        self,
        step: int,
        cycle: int,
        lr: float,
        write: Callable[[Path], object],
        metric: float | None = None,
    ) -> Member:
        """Saves a member; `write` writes the model to the path it is given.

        A member of this step or a later one is from a run that was gone back in; it goes first.
        """
        if self._overwrite:
            self._clear()
        self._name(member for member in self.members if member.step < step)
        path = self._folder / f"step-{step:08d}{self._suffix}"
        with replacing(path) as temporary:
            write(temporary)
            sha256 = checksum(temporary)
        member = Member(path.name, sha256, step, cycle, lr, metric)
        self._name([*self.members, member][-(self._keep or 0) :])
        return member

    def _name(self, members: Iterable[Member]) -> None:
        """Makes these the members; only then removes the files of the others."""
        before, kept = self.members, tuple(members)
        if kept == before:
            return
        self._manifest = dataclasses.replace(self._manifest, members=kept)
        self._manifest.save(self._folder)
        for file in {member.file for member in before} - {member.file for member in kept}:
            (self._folder / file).unlink(missing_ok=True)

    def _clear(self) -> None:
        """Removes the manifest of a previous run, and then the files that it named or left over."""
        self._overwrite = False
        (self._folder / MANIFEST).unlink(missing_ok=True)
        for path in self._folder.glob("*"):
            if _LEFTOVER.fullmatch(path.name):
                path.unlink()

    def _previous(self) -> Manifest:
        previous = Manifest.load(self._folder)
        if previous.schedule != self._manifest.schedule:
            allowed = f"the one that {self._folder} was made with, {previous.schedule}"
            raise bad_argument("schedule", allowed, self._manifest.schedule)
        others = [m.file for m in previous.members if not m.file.endswith(self._suffix)]
        if others:
            allowed = f"with members in {self._suffix} files"
            raise bad_argument("folder", allowed, listed(others))
        return previous


class Members:
    """The members of a folder that can be used, the `last` ones or all, read one at a time.

    Attributes:
        members: Those that can be used, by their step.
        lost: Why the others cannot, by the name of the file.
    """

    def __init__(
        self, folder: str | os.PathLike[str], suffix: str, *, last: int | None = None
    ) -> None:
        self._folder = Path(check_path("folder", folder))
        last = None if last is None else check_count("last", last)
        named = Manifest.load(self._folder).members[-(last or 0) :]
        others = [member.file for member in named if not member.file.endswith(suffix)]
        if others:
            raise bad_argument("folder", f"one of {suffix} files", listed(others))
        self.lost: dict[str, str] = {}
        self.members: tuple[Member, ...] = named
        for member in named:
            self._check(member)
        self._some_are_left()

    def __len__(self) -> int:
        return len(self.members)

    def each(self) -> Iterable[tuple[Member, Path]]:
        """Gives every member with its file, checked again just before."""
        for member in self.members:
            if self._check(member):
                yield member, self._folder / member.file
        self._some_are_left()

    def _check(self, member: Member) -> bool:
        try:
            same = checksum(self._folder / member.file) == member.sha256
            reason = "its checksum differs from that in the manifest"
        except OSError as error:
            same, reason = False, error.strerror or str(error)
        if not same:
            self.lost[member.file] = reason
            self.members = tuple(other for other in self.members if other is not member)
            warnings.warn(
                f"{self._folder / member.file} (cycle {member.cycle}) is left out of the "
                f"ensemble: {reason}.",
                LostMemberWarning,
                stacklevel=4,
            )
        return same

    def _some_are_left(self) -> None:
        if not self.members:
            became = listed(f"{file}: {reason}" for file, reason in self.lost.items())
            raise NoMembersError(
                f"{self._folder} holds no usable member; {count(len(self.lost), 'file')} lost"
                f"{': ' if became else ''}{became}."
            )


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


T = TypeVar("T")
Floats = NDArray[np.float64]
Outputs = str | Callable[[Floats], Any]
"""The outputs of a model: "probabilities", "logits", "values", or a function of an array."""


def running_mean(mean: Any, value: Any, number: int) -> Any:
    """Returns the mean of `number` values from that of all but the last.

        mean + (value - mean) / number

    Source: Izmailov et al. 2018, arXiv 1803.05407, algorithm 1.

    >>> running_mean(2.0, 8.0, number=3)
    4.0
    """
    return mean + (value - mean) / number


def probabilities_from(outputs: Outputs) -> Callable[[Any], Any]:
    """Returns the function from a model's outputs to the float64 values that are averaged.

    Probabilities must lie in [0, 1]; logits go through the softmax of the last axis, or the sigmoid
    where that has the length 1. The outputs are arrays, or tuples, lists and dicts of them.
    """
    kinds = {"probabilities": _checked, "logits": _from_logits, "values": lambda array: array}
    if not callable(outputs) and outputs not in kinds:
        allowed = f"one of {', '.join(map(repr, kinds))}, or a function"
        raise bad_argument("outputs", allowed, outputs)
    convert = outputs if callable(outputs) else kinds[outputs]
    return lambda tree: _mapped(lambda a: np.asarray(convert(np.asarray(a, np.float64))), tree)


def mean_of(predictions: Iterable[Any]) -> Any:
    """Returns the mean of predictions: arrays, or tuples, lists and dicts of them.

    >>> mean_of(np.array(row) for row in [[0.2, 0.8], [0.4, 0.6]]).round(6).tolist()
    [0.3, 0.7]
    """
    mean = None
    for number, prediction in enumerate(predictions, start=1):
        if number == 1:
            mean = prediction
        else:
            mean = _mapped(lambda m, p, n=number: running_mean(m, p, n), mean, prediction)
    return mean


def _checked(array: Floats) -> Floats:
    if array.size and not (array.min() >= -1e-6 and array.max() <= 1 + 1e-6):
        raise bad_argument(
            "outputs",
            '"logits" or "values" for a model whose outputs are not all in [0, 1]',
            "probabilities",
        )
    return array


def _from_logits(array: Floats) -> Floats:
    if array.shape[-1:] == (1,):
        return np.exp(-np.logaddexp(0.0, -array))
    shifted = np.exp(array - array.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _mapped(function: Callable[..., Any], *trees: Any) -> Any:
    """Applies the function to the arrays at the same place of each structure."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: _mapped(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(_mapped(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)
