"""`cyclerate design`: the page to choose a schedule on, without a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.cli._console import Console, asking
from cyclerate.cli._options import Quiet, check_folder
from cyclerate.schedules import (
    Constant,
    CosLog,
    ExpRange,
    OneCycle,
    Schedule,
    Triangular,
    Triangular2,
    WarmRestarts,
    WarmupStableDecay,
)

# Of a lower rate, a highest one, and steps; the cyclical ones begin with four cycles.
_MADE: dict[str, Callable[[float, float, int], Schedule]] = {
    "one_cycle": lambda low, high, steps: OneCycle(high, steps),
    "triangular": lambda low, high, steps: Triangular(low, high, max(1, steps // 8)),
    "triangular2": lambda low, high, steps: Triangular2(low, high, max(1, steps // 8)),
    "exp_range": lambda low, high, steps: ExpRange(
        low, high, max(1, steps // 8), gamma=0.1 ** (1 / steps)
    ),
    "restarts": lambda low, high, steps: WarmRestarts(high, max(1, steps // 4)),
    "wsd": lambda low, high, steps: WarmupStableDecay(high, steps),
    "coslog": lambda low, high, steps: CosLog(high, steps),
    "constant": lambda low, high, steps: Constant(high),
}


def design(
    *,
    policy: Annotated[str, typer.Option(help=f"Of {', '.join(_MADE)}.")] = "one_cycle",
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
        name = check_choice("--policy", policy, _MADE)
        high = check_number("--max-lr", max_lr, low=0, low_open=True)
        low = high / 4 if base_lr is None else check_number("--base-lr", base_lr, low=0, high=high)
        if out.suffix.lower() != ".html":
            raise bad_argument("--out", "the name of a .html file", str(out))
        schedule = _MADE[name](low, high, check_count("--steps", steps))
    check_folder(out.parent, "--out")
    from cyclerate.compare._page import write_design

    console = Console(quiet=quiet)
    page = write_design(schedule, steps, out)
    console.say("Open it in a browser; it is one file and loads nothing.")
    console.result(f"Page: {page}")
