"""What a comparison of the command was asked for: checked, and kept, so that others can join it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclerate._errors import CyclerateError, check_choice, check_count, check_number
from cyclerate._files import PROGRESS, Reader, built, read_json, without_schema, write_json
from cyclerate.cli._console import BACKENDS, Mistake, asking
from cyclerate.compare._budgets import HOW_LONG
from cyclerate.compare._cells import refuse_others, taken
from cyclerate.compare._networks import METRICS, OPTIMIZERS
from cyclerate.compare._policies import Policy, named_policies
from cyclerate.compare._record import cell_name
from cyclerate.cycles._how_long import RECORD
from cyclerate.cycles._members import MANIFEST
from cyclerate.schedules import Constant

if TYPE_CHECKING:
    from cyclerate.tables import Tabular

FILE = "plan.json"
SCHEMA = 1
EPOCHS = 24
POLICIES = ("fixed", "found", "triangular", "one_cycle")
TRANSFORMS = ("none", "log", "log1p")
TASKS = ("classification", "regression")
# What the settings of the runs say as a hash alone; here it has a name.
_DECIDING = ("target", "drop", "task", "target_transform", "lr", "max_lr")


@dataclass(frozen=True)
class Plan:
    """What decides a comparison; `data` is None for the digits of the demo."""

    command: str
    data: str | None = None
    target: str = "target"
    sep: str | None = None
    drop: tuple[str, ...] = ()
    task: str | None = None
    target_transform: str = "none"
    policies: tuple[str, ...] = POLICIES
    epochs: int = EPOCHS
    lr: float | None = None
    max_lr: float | None = None
    batch_size: int | None = None
    hidden: tuple[int, ...] | None = None
    optimizer: str = "sgd"
    metric: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    backend: str | None = None

    def __post_init__(self) -> None:
        named_policies(self.policies)
        check_count("--epochs", self.epochs)
        for name in ("lr", "max_lr"):
            if (rate := getattr(self, name)) is not None:
                check_number(f"--{name.replace('_', '-')}", rate, low=0, low_open=True)
        check_choice("--optimizer", self.optimizer, OPTIMIZERS)
        if self.batch_size is not None:
            check_count("--batch-size", self.batch_size)
        check_choice("--target-transform", self.target_transform, TRANSFORMS)
        for name, allowed in (("metric", METRICS), ("task", TASKS), ("backend", BACKENDS)):
            if (value := getattr(self, name)) is not None:
                check_choice(f"--{name}", value, allowed)

    def named(self, default_lr: float | None = None) -> tuple[Policy, ...]:
        """The policies to compare; beside a rate of the user's own also the optimizer's default."""
        named = named_policies(self.policies)
        if self.lr is None or default_lr is None or self.lr == default_lr:
            return named
        usual = Constant(default_lr)
        why = "The default rate of the optimizer."
        own = Policy("default", "default", None, lambda _rates, _budget: usual, why)
        return (*named[:1], own, *named[1:])

    @property
    def cells(self) -> list[str]:
        """The names of the runs, as far as they are known before it has begun."""
        return [cell_name(*place, 0) for place in product(self.policies, self.seeds)]

    def table(self) -> Tabular:
        """Reads the table.

        Raises:
            Mistake: It cannot be used.
        """
        from cyclerate.tables import digits, load_csv

        if self.data is None:
            return digits()
        with asking():
            return load_csv(
                self.data,
                self.target,
                sep=self.sep,
                drop=list(self.drop),
                task=self.task,
                target_transform=self.target_transform,
            )

    def save(self, folder: Path) -> None:
        """Writes it for those who join."""
        backend = os.environ.get("KERAS_BACKEND")
        data = None if self.data is None else str(Path(self.data).absolute())
        own = replace(self, backend=backend, data=data)
        write_json(folder / FILE, {"schema": SCHEMA, **asdict(own)})

    def refuse_other(self, folder: Path) -> None:
        """Refuses a folder in which something else was begun.

        Raises:
            OtherSettings: The message names what differs.
        """
        if (folder / FILE).is_file():
            here, there = (
                {name: values.get(name) for name in _DECIDING}
                for values in (asdict(self), _values(folder / FILE))
            )
            refuse_others(folder / FILE, there, here)


def clear(folder: Path) -> None:
    """Removes what a comparison has written into a folder, and nothing else.

    Raises:
        Mistake: Another process is at work there, and would go on to write its own.
    """
    reader = Reader(folder)
    reader.look("cells", "range_tests")
    held = [taken(reader, name).values() for name in ("cells", "range_tests")]
    if at_work := sorted(who for whose in held for who, alive in whose if alive):
        raise Mistake(
            f"--overwrite: {at_work[0]} is at work in {folder}: end it, or name another folder."
        )
    for name in ("cells", "range_tests", PROGRESS):
        for kind in ("json", "npy", "lock"):
            for file in (folder / name).glob(f"*.{kind}"):
                file.unlink()
    for name in (FILE, "record.json", "best.keras", "preprocessing.json", "range_test.json"):
        (folder / name).unlink(missing_ok=True)
    for kind in (RECORD, MANIFEST, "step-*.keras", "state-*"):
        for file in (folder / HOW_LONG).glob(kind):
            file.unlink()


def load_plan(folder: Path) -> Plan:
    """Reads the plan of a comparison that was begun in a folder.

    Raises:
        Mistake: There is none, or it is damaged.
    """
    file = folder / FILE
    if not folder.is_dir():
        raise Mistake(f"there is no folder {folder}. Check the path.")
    if not file.is_file():
        raise Mistake(
            f"{folder} holds no {FILE}: begin there with `cyclerate compare ... --out {folder}`. A "
            "comparison that a program of yours began is joined by starting the program again."
        )
    with asking():
        return built(Plan, _values(file), "the plan")


def plan_of(values: Any) -> Plan:
    """The plan that a file holds.

    Raises:
        ValueError: It is none.
    """
    return built(Plan, without_schema(values, SCHEMA), "the plan")


def _values(file: Path) -> dict[str, Any]:
    try:
        return read_json(file, "plan", lambda values: without_schema(values, SCHEMA))
    except ValueError as error:
        raise CyclerateError(f"{error}. Remove it, or name another folder.") from error
