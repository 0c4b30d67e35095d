"""`cyclerate demo`: the whole job on data that is already there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cyclerate.cli.backend import choose_backend
from cyclerate.cli.folder import check_folder
from cyclerate.cli.job import Plan, finish, run_job
from cyclerate.cli.options import Json, Quiet, command_line
from cyclerate.cli.talk import Talk

_OUT = Path("demo")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = _OUT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See it work: the whole comparison on the digits that come with scikit-learn."""
    talk = Talk(as_json=as_json, quiet=quiet)
    check_folder(out)
    from cyclerate.data import digits

    with talk.bar("loading Keras"):
        backend = choose_backend()
    plan = Plan(out=out, command=command_line("demo", None, {"out": out if out != _OUT else None}))
    finish(run_job(digits(), plan, backend, talk), out, talk)
