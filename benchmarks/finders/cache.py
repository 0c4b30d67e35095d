"""Results on disk: one small JSON file per kind and task, with where it came from."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import math
import platform
import sys
from pathlib import Path
from typing import Any

from benchmarks.finders.task import Task
from cyclerate._files import write_text

FOLDER = Path(__file__).parent / "cache"


def path_of(kind: str, task: Task) -> Path:
    return FOLDER / kind / f"{task.name}.json"


def read(kind: str, task: Task) -> dict[str, Any] | None:
    """Returns what is stored, or None."""
    path = path_of(kind, task)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write(kind: str, task: Task, result: dict[str, Any], packages: tuple[str, ...] = ()) -> None:
    """Stores a result with the versions, the date and the command that made it."""
    _store(kind, task, {**_provenance(task, packages), **result})


def made(*kinds: str) -> str:
    """Returns a section: when the results of these kinds (patterns) were stored, and with what."""
    rows = ["| results | tasks | made | with |", "| --- | ---: | --- | --- |"]
    for folder in sorted(folder for kind in kinds for folder in FOLDER.glob(kind)):
        files = sorted(folder.glob("*.json"))
        stored = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        days = sorted(one["created"][:10] for one in stored)
        dates = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        told = {", ".join(f"{name} {v}" for name, v in one["versions"].items()) for one in stored}
        rows.append(f"| `{folder.name}` | {len(files)} | {dates} | {'; '.join(sorted(told))} |")
    return "\n".join(["## What made these figures", "", *rows])


def amend(kind: str, task: Task, what: str, changes: dict[str, Any]) -> None:
    """Replaces a part of what is stored, and notes under `what` when and how that was made."""
    stored = json.loads(path_of(kind, task).read_text(encoding="utf-8"))
    made = {key: value for key, value in _provenance(task).items() if key != "task"}
    _store(kind, task, {**stored, **changes, what: {**made, "replaces": sorted(changes)}})


def _provenance(task: Task, packages: tuple[str, ...] = ()) -> dict[str, Any]:
    arguments = " ".join(sys.argv[1:])
    spec = sys.modules["__main__"].__spec__  # None where a file is run by its path
    module = spec.name.removesuffix(".__main__") if spec else "benchmarks.finders"
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": f"python -m {module} {arguments}",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "numpy", *packages)},
        },
        "task": {
            "optimizer": task.optimizer,
            "batch_size": task.batch_size,
            "steps": task.steps,
            "half": task.half,
        },
    }


def _store(kind: str, task: Task, result: dict[str, Any]) -> None:
    text = json.dumps(_plain(result), allow_nan=False)
    # One line per entry: short files, readable differences.
    write_text(path_of(kind, task), text.replace('}, {"', '},\n{"').replace('], "', '],\n"') + "\n")


def _plain(value: Any) -> Any:
    """Rounds floats to five digits and turns those that are not finite into None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
