"""Runs published experiments again, and keeps what came out.

python -m reproductions                    (lists the experiments)
python -m reproductions NAME [--quick]     (runs one, or goes on where it was stopped)
python -m reproductions keep DIR...        (stores the records of whole runs)
python -m reproductions page               (writes docs/reproductions.md from the stored records)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cyclerate._errors import bad_argument, check_choice, check_number
from cyclerate.cli._console import (
    Boundary,
    Console,
    Json,
    Quiet,
    asking,
    check_folder,
    choose_backend,
    command_line,
    seed_range,
    wrapped,
)
from reproductions import EXPERIMENTS, _experiment, _page, _record
from reproductions._experiment import Experiment
from reproductions._record import Reproduction, Size

PROGRAM = "python -m reproductions"


class Experiments(Boundary):
    """The commands; without the name of one, it is `run` that is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the words of the command line."""
        named = args[:1] and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["run", *args])


app = typer.Typer(
    cls=Experiments,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


@app.command()
def keep(folders: Annotated[list[Path], typer.Argument(metavar="DIR...")]) -> None:
    """Store the records of whole runs, thinned, for the page."""
    for folder in folders:
        kept = _record.keep(folder)
        typer.echo(f"{kept}: {kept.stat().st_size / 1024:.0f} KiB")


@app.command()
def page() -> None:
    """Write docs/reproductions.md and its pictures from the stored records; nothing is trained."""
    typer.echo(_page.write_docs(EXPERIMENTS.values()))


@app.command()
def run(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Of the list without it.", show_default=False),
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small data and short runs: does it work?")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(help="Runs of each cell.", show_default="by the experiment")
    ] = None,
    scale: Annotated[float, typer.Option(help="Factor on the epochs of every training.")] = 1.0,
    target: Annotated[
        float | None, typer.Option(help="Accuracy to reach.", show_default="by the experiment")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A cell to run; again for more.", show_default="all")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.", show_default="runs/NAME")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a published experiment again: what the article says, and what is found here.

    Every run is kept as soon as it is finished; the same command goes on where it was stopped.
    """
    console = Console(as_json=as_json, quiet=quiet)
    if name is None:
        _list(console)
        return
    with asking():
        experiment = EXPERIMENTS[check_choice("NAME", name, EXPERIMENTS)]
        check_number("--scale", scale, low=0, low_open=True)
        usual = 1 if quick else experiment.seeds
        if target is not None:
            if experiment.target is None:
                raise bad_argument("--target", f"left out: {name} has none", target)
            check_number("--target", target, low=0, high=1, low_open=True)
        size = Size(seed_range(0, usual if seeds is None else seeds), scale, quick, target)
        named = [cell.name for cell in experiment.cells(size)]
        chosen = [check_choice("--only", cell, named) for cell in only or ()]
    folder = check_folder(out or Path("runs") / (f"{name}-quick" if quick else name))
    console.say(f"{experiment.title}. {experiment.source}.")
    with console.bar("loading Keras"):
        backend = choose_backend(experiment.backend)
    faster = experiment.backend
    if faster not in (backend, "torch"):  # with PyTorch the network is its own, not Keras's
        console.say(f"On a CPU KERAS_BACKEND={faster} is several times faster than {backend}.")
    with console.bar("experiment") as bar:
        record = _experiment.run(
            experiment,
            size,
            folder,
            command_line(context).replace("cyclerate run", PROGRAM, 1),
            lambda done, number, what: bar(done, f"{done}/{number} {what}"[:60]),
            only=chosen,
        )
    _tell(experiment, record, folder, console)


def _list(console: Console) -> None:
    for experiment in EXPERIMENTS.values():
        console.result(f"{experiment.name:<12}{experiment.title}")
        about = f"{experiment.source}; about {experiment.minutes} minutes on one core"
        console.result(wrapped(about, indent=12))
    console.document({name: experiment.title for name, experiment in EXPERIMENTS.items()})


def _tell(experiment: Experiment, record: Reproduction, folder: Path, console: Console) -> None:
    with console.bar("drawing the page"):
        page = _page.write_page(experiment, record, folder)
    tables = [table for table in experiment.tables(record) if table.rows]
    lessons = experiment.lessons(record)
    for table in tables:
        console.result(f"\n{table.title}\n\n{table.text()}")
    console.result("")
    for sentence in (*_page.warnings(experiment, record), *lessons):
        console.result(wrapped(sentence, point=True))
    console.result(f"\nPage: {page}")
    shown = [
        {"title": table.title, "heads": list(table.heads), "rows": list(map(list, table.rows))}
        for table in tables
    ]
    console.document(
        {"page": str(page), "lessons": list(lessons), "tables": shown, **record.to_dict()}
    )


if __name__ == "__main__":
    app(prog_name=PROGRAM)
