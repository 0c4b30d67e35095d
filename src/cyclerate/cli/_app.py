"""The command's parts, and what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

import cyclerate
from cyclerate.cli._compare import compare, demo, report, work
from cyclerate.cli._console import Boundary
from cyclerate.cli._plot import design, plot
from cyclerate.cli._range_test import range_test
from cyclerate.cli._watch import watch

app = typer.Typer(
    name="cyclerate",
    cls=Boundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cyclerate {cyclerate.__version__}")
        raise typer.Exit


@app.callback()
def cyclerate_command(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Find a network's learning rate, cycle it, and see what that gained."""


app.command("demo")(demo)
app.command("compare")(compare)
app.command("work")(work)
app.command("watch")(watch)
app.command("range-test")(range_test)
# A schedule's own arguments are not declared here: the schedules know them.
app.command("plot", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    plot
)
app.command("design")(design)
app.command("report")(report)
