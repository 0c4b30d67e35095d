"""`cyclerate compare`: one CSV file, one target, every policy with every seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cyclerate._errors import check_choice, check_count
from cyclerate.cli.job import EPOCHS, Plan, run_job
from cyclerate.cli.mistakes import asking
from cyclerate.cli.options import (
    Json,
    Quiet,
    command_line,
    folder_name,
    parts,
    seed_range,
    widths,
)
from cyclerate.cli.talk import Talk
from cyclerate.compare._objective import METRICS
from cyclerate.compare._optimizers import OPTIMIZERS
from cyclerate.compare._policies import DEFAULT_POLICIES, POLICIES, check_policies

if TYPE_CHECKING:
    from cyclerate.tables import Tabular

_DEFAULT_POLICIES = ",".join(DEFAULT_POLICIES)
_TASKS = ("classification", "regression")


def compare(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA.csv", help="A CSV file, also gzipped.", show_default=False),
    ],
    *,
    target: Annotated[str, typer.Option(help="The column to learn.", show_default=False)],
    sep: Annotated[str, typer.Option(help="The character between the columns.")] = ",",
    drop: Annotated[
        list[str] | None, typer.Option(help="A column to leave out; again for more.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help=f"{' or '.join(_TASKS)}.", show_default="by the target")
    ] = None,
    policies: Annotated[str, typer.Option(help=f"Of {', '.join(POLICIES)}.")] = _DEFAULT_POLICIES,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = EPOCHS,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows in a step.", show_default="by the rows")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths, as 64,32.", show_default="by the data")
    ] = None,
    optimizer: Annotated[str, typer.Option(help=f"Of {', '.join(OPTIMIZERS)}.")] = "sgd",
    metric: Annotated[
        str | None, typer.Option(help=f"Of {', '.join(METRICS)}.", show_default="by the task")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each policy.")] = 3,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.", show_default="runs/DATA-TARGET")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare learning rate policies on a table of yours.

    Holds out a fifth of the rows, builds a dense network, runs a range test, then trains with every
    policy and every seed for the same number of steps: a table, a report, the best network.
    """
    talk = Talk(as_json=as_json, quiet=quiet)
    with asking():
        plan = Plan(
            out=out or Path("runs") / folder_name(data, target),
            command=command_line(context),
            policies=check_policies(parts(policies)),
            epochs=check_count("--epochs", epochs),
            batch_size=None if batch_size is None else check_count("--batch-size", batch_size),
            hidden=None if hidden is None else widths(hidden),
            optimizer=check_choice("--optimizer", optimizer, OPTIMIZERS),
            metric=None if metric is None else check_choice("--metric", metric, METRICS),
            seeds=seed_range(seed, seeds),
        )
        if task is not None:
            check_choice("--task", task, _TASKS)
    run_job(lambda: _table(data, target, sep, drop, task), plan, talk)


def _table(data: Path, target: str, sep: str, drop: list[str] | None, task: str | None) -> Tabular:
    from cyclerate.tables import load_csv

    with asking():
        return load_csv(data, target, sep=sep, drop=drop, task=task)
