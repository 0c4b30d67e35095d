"""`cyclerate demo`: the whole job on data that is already there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cyclerate.cli.job import Plan, run_job
from cyclerate.cli.options import Json, Quiet, command_line
from cyclerate.cli.talk import Talk

if TYPE_CHECKING:
    from cyclerate.tables import Tabular


def demo(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See it work: the whole comparison on the digits that come with scikit-learn."""
    plan = Plan(out=out, command=command_line(context))
    run_job(_digits, plan, Talk(as_json=as_json, quiet=quiet))


def _digits() -> Tabular:
    from cyclerate.tables import digits

    return digits()
