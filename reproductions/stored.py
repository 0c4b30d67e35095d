"""Records as they are stored here: thinned curves, few digits, no paths."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cyclerate._files import write_text
from reproductions import Reproduction
from reproductions._record import FILE_NAME

FOLDER = Path(__file__).parent / "records"
MOST_POINTS = 100
_SERIES = ("lrs", "losses", "smoothed")
_OUT = re.compile(r" --out ('[^']*'|\S+)")


def keep(folder: Path) -> Path:
    """Stores the record of a finished experiment; returns the file."""
    record = Reproduction.load(folder / FILE_NAME)
    values = thinned(record.to_dict())
    Reproduction.from_dict(values)
    return write_text(FOLDER / f"{record.experiment}.json", _lines(values))


def load(name: str) -> Reproduction | None:
    """Returns the stored record of an experiment, if there is one."""
    file = FOLDER / f"{name}.json"
    return Reproduction.load(file) if file.is_file() else None


def thinned(values: dict[str, Any]) -> dict[str, Any]:
    """Returns a record's values with at most 100 points in a curve, and six digits in a number."""
    runs = [{**run, "outcome": _thin_outcome(run["outcome"])} for run in values["runs"]]
    sittings = [{**s, "command": _OUT.sub("", s["command"])} for s in values["sittings"]]
    return {**values, "runs": runs, "sittings": sittings}


def _thin_outcome(outcome: dict[str, Any]) -> dict[str, Any]:
    curves = {name: _thin(curve) for name, curve in outcome["curves"].items()}
    found = outcome["found"]
    if found is not None:
        found = {**found, **{name: _thin(found[name]) for name in _SERIES}, "runs": []}
    return {**outcome, "curves": curves, "found": found}


def _thin(series: list[float | None]) -> list[float | None]:
    every = -(-len(series) // MOST_POINTS) or 1
    # Counted from the end: the last point is what a curve came to.
    kept = series[::-1][::every][::-1]
    return [None if value is None else float(f"{value:.6g}") for value in kept]


def _lines(values: dict[str, Any]) -> str:
    """One line for each run: a change of one is a change of one line."""
    runs = ",\n".join(json.dumps(run, allow_nan=False) for run in values["runs"])
    head = json.dumps({**values, "runs": []}, indent=1, allow_nan=False, ensure_ascii=False)
    return head.replace('"runs": []', f'"runs": [\n{runs}\n]', 1) + "\n"
