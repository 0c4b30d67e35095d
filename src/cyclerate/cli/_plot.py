"""`cyclerate plot` and `design`: any schedule as a picture, in the terminal, or on a page."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_number,
    listed,
    near_names,
    require,
)
from cyclerate._files import replacing
from cyclerate.cli._console import Console, Mistake, Quiet, asking, check_folder
from cyclerate.compare._numbers import OFFERED
from cyclerate.schedules import Schedule, from_dict
from cyclerate.schedules._base import kinds
from cyclerate.schedules._drawing import shown_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray


# What one word on a command line can describe, the simplest first; the rest needs --json.
_PLAIN = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(): name
    for name in sorted(kinds(), key=lambda name: (name not in {"Constant", "Linear"}, name))
    if name not in {"Sequence", "Mirrored"}
}
_ALSO = {"fixed": "Constant", "restarts": "WarmRestarts"}
_BLOCKS = " ▁▂▃▄▅▆▇█"
_COLUMNS, _LINES = 64, 8


def plot(
    context: typer.Context,
    policy: Annotated[
        str | None,
        typer.Argument(metavar="POLICY", help=f"Of {', '.join(_PLAIN)}.", show_default=False),
    ] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", help="The schedule as JSON, as to_dict() gives it.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps to draw.", show_default="the schedule's length")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .png file; without it, the terminal.")
    ] = None,
) -> None:
    """Draw a schedule. Its arguments are options: --base-lr 0.01 --max-lr 0.1 --step-size 500."""
    words = context.args
    if policy is not None and policy.startswith("--"):
        # An option that is not declared here is taken for the policy when it comes first.
        policy, words = None, [policy, *words]
    with asking():
        if steps is not None:
            check_count("--steps", steps)
    schedule = _read(policy, as_json, words, steps)
    # A ramp's own length is called steps too: it is drawn with what follows it.
    number = shown_steps(schedule) if steps is None or hasattr(schedule, "steps") else steps
    if output is None:
        title = textwrap.fill(repr(schedule), _COLUMNS + 10, subsequent_indent="  ")
        Console().result(f"{title}\n{drawing(schedule(np.arange(number)))}")
    else:
        _save(schedule, number, output)
        Console().result(str(output))


def drawing(values: NDArray[np.float64]) -> str:
    """Draws values as columns of block letters, 8 lines high and less than 80 columns wide.

    >>> print(drawing(np.linspace(0.0, 1.0, 9)).splitlines()[3])
             |     ████
    """
    low, high = float(values.min()), float(values.max())
    # Columns of equal width, give or take a step: unequal ones would bend the time axis.
    edges = np.linspace(0, len(values), min(len(values), _COLUMNS) + 1).astype(int)
    # Of each column the value farthest from the middle, the upper one of two: no peak and no
    # restart is averaged away.
    middle = (low + high) / 2
    parts = np.split(values, edges[1:-1])
    columns = [max(part, key=lambda value: (abs(value - middle), value)) for part in parts]
    spread = high - low or 1.0
    eighths = [round((value - low) / spread * _LINES * 8) for value in columns]
    lines: list[str] = []
    for line in reversed(range(_LINES)):
        label = {_LINES - 1: f"{high:.3g}", 0: f"{low:.3g}"}.get(line, "")
        cells = (_BLOCKS[min(max(eighth - 8 * line, 0), 8)] for eighth in eighths)
        lines.append(f"{label:>8} |{''.join(cells)}")
    last = f"{len(values) - 1:,}"
    return "\n".join([*lines, f"{'step':>8}  0{last:>{max(len(columns) - 1, len(last) + 1)}}"])


def _read(policy: str | None, text: str | None, words: list[str], steps: int | None) -> Schedule:
    if (policy is None) == (text is None):
        raise Mistake(
            f"name a policy first ({', '.join(_PLAIN)}), or describe a schedule with --json."
        )
    with asking():
        if text is not None:
            if words:
                raise Mistake(f"with --json there are no other arguments: {' '.join(words)}")
            return from_dict(_parse(text))
        name = str(policy).lower().replace("-", "_")
        kind = (_PLAIN | _ALSO).get(name)
        if kind is None:
            near = near_names(name, _PLAIN)
            meant = f" Did you mean {listed(near)}?" if near else ""
            raise Mistake(f"there is no policy {policy!r}.{meant}\nPolicies: {', '.join(_PLAIN)}.")
        return from_dict({"type": kind, **_arguments(kind, words, steps)})


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Mistake(
            f"--json is not JSON ({error}). An example: "
            """'{"type": "Triangular", "base_lr": 0.001, "max_lr": 0.1, "step_size": 500}'"""
        ) from error


def _arguments(kind: str, words: list[str], steps: int | None) -> dict[str, Any]:
    """Reads `--base-lr 0.001` and the like as the arguments of a schedule."""
    fields = {field.name: field for field in dataclasses.fields(kinds()[kind])}  # type: ignore[arg-type]
    given: dict[str, Any] = {} if steps is None or "steps" not in fields else {"steps": steps}
    waiting = list(words)
    while waiting:
        option, _, value = waiting.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in fields:
            flags = ", ".join(map(_flag, fields))
            raise Mistake(f"{kind} does not know {option}. Its arguments: {flags}.")
        if not value and not waiting:
            raise Mistake(f"{option} needs a value.")
        given[name] = _value(value or waiting.pop(0))
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in given
    ]
    if missing:
        raise Mistake(f"{kind} also needs {', '.join(map(_flag, missing))}.")
    return given


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _value(text: str) -> Any:
    """Numbers, true, false and null as JSON has them; anything else is a word."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _save(schedule: Schedule, steps: int, output: Path) -> None:
    if output.suffix.lower() != ".png":
        with asking():
            raise bad_argument("--output", "the name of a .png file", str(output))
    check_folder(output.parent, "--output")
    figures: Any = require("matplotlib.figure", "cli")
    figure = figures.Figure(figsize=(4.2, 2.6), dpi=220, layout="constrained")
    schedule.plot(steps, figure.add_subplot())
    with replacing(output) as temporary:
        figure.savefig(temporary, format="png")


def design(
    *,
    policy: Annotated[str, typer.Option(help=f"Of {', '.join(OFFERED)}.")] = "one_cycle",
    max_lr: Annotated[float, typer.Option(help="The highest rate.")] = 0.1,
    base_lr: Annotated[
        float | None,
        typer.Option(help="The lower rate of a cycle.", show_default="a quarter of --max-lr"),
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps of the training.")] = 1000,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("design.html"),
    quiet: Quiet = False,
) -> None:
    """Choose a schedule on a page of its own, and copy its code."""
    with asking():
        name = check_choice("--policy", policy, OFFERED)
        high = check_number("--max-lr", max_lr, low=0, low_open=True)
        low = high / 4 if base_lr is None else check_number("--base-lr", base_lr, low=0, high=high)
        if out.suffix.lower() != ".html":
            raise bad_argument("--out", "the name of a .html file", str(out))
        schedule = OFFERED[name].make(low, high, check_count("--steps", steps))
    check_folder(out.parent, "--out")
    from cyclerate.compare._page import write_design

    console = Console(quiet=quiet)
    page = write_design(schedule, steps, out)
    console.say("Open it in a browser; it is one file and loads nothing.")
    console.result(f"Page: {page}")
