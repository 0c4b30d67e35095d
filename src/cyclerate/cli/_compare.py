"""`cyclerate compare`, `demo`, `work` and `report`: what they are asked, and what they then do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cyclerate._errors import check_count, count
from cyclerate.cli._console import (
    Console,
    Json,
    Mistake,
    Quiet,
    asking,
    check_folder,
    command_line,
    folder_name,
    parts,
    seed_range,
    widths,
)
from cyclerate.cli._plan import (
    EPOCHS,
    POLICIES as DEFAULT_POLICIES,
    TASKS,
    TRANSFORMS,
    Plan,
    load_plan,
)
from cyclerate.cli._runs import draw, join_comparison, run_plan
from cyclerate.compare._answer import Answer, text_table
from cyclerate.compare._comparison import FILE_NAME, Comparison
from cyclerate.compare._networks import METRICS, OPTIMIZERS
from cyclerate.compare._policies import POLICIES

_DEFAULT_POLICIES = ",".join(DEFAULT_POLICIES)
Table = Annotated[
    Path,
    typer.Argument(
        metavar="DATA.csv",
        help="A CSV file, also gzipped; Parquet; Feather.",
        show_default=False,
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(help="The character between the columns.", show_default="found"),
]
Drop = Annotated[list[str] | None, typer.Option(help="A column to leave out; again for more.")]
Task = Annotated[
    str | None, typer.Option(help=f"{' or '.join(TASKS)}.", show_default="by the target")
]
Transform = Annotated[
    str, typer.Option(help=f"What the target becomes, of {', '.join(TRANSFORMS)}.")
]
PolicyNames = Annotated[str, typer.Option(help=f"Of {', '.join(POLICIES)}; or all.")]
OwnRate = Annotated[
    float | None, typer.Option(help="The rate you have now.", show_default="Keras's own")
]
MaxLr = Annotated[
    float | None, typer.Option(help="The highest rate.", show_default="by a range test")
]


def compare(
    context: typer.Context,
    data: Table,
    *,
    target: Annotated[str, typer.Option(help="The column to learn.", show_default=False)],
    sep: Separator = None,
    drop: Drop = None,
    task: Task = None,
    target_transform: Transform = "none",
    policies: PolicyNames = _DEFAULT_POLICIES,
    lr: OwnRate = None,
    max_lr: MaxLr = None,
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
    workers: Annotated[int, typer.Option(help="Processes that share the runs.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.", show_default="runs/DATA-TARGET")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again where --out holds a comparison.")
    ] = False,
    how_long: Annotated[
        bool, typer.Option("--how-long", help="One more training: would a longer one gain?")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare learning rate policies on a table of yours.

    Holds out a fifth of the rows, builds a dense network, runs a range test, then trains with every
    policy and every seed for the same number of steps: a table, a report, the best network.
    """
    console = Console(as_json=as_json, quiet=quiet)
    with asking():
        plan = Plan(
            command=command_line(context),
            data=str(data),
            target=target,
            sep=sep,
            drop=tuple(drop or ()),
            task=task,
            target_transform=target_transform,
            policies=tuple(POLICIES if policies == "all" else parts(policies)),
            lr=lr,
            max_lr=max_lr,
            epochs=epochs,
            batch_size=batch_size,
            hidden=None if hidden is None else widths(hidden),
            optimizer=optimizer,
            metric=metric,
            seeds=seed_range(seed, seeds),
        )
        check_count("--workers", workers)
    folder = out or Path("runs") / folder_name(data, target)
    run_plan(plan, folder, console, workers, overwrite=overwrite, how_long=how_long)


def demo(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See it work: the whole comparison on the digits that come with scikit-learn."""
    run_plan(Plan(command=command_line(context)), out, Console(as_json=as_json, quiet=quiet))


def work(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The --out of a comparison.", show_default=False),
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="The table, if it has another path here.", show_default="as there"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Join a comparison begun in DIR, also from another machine, and run what is left of it.

    Each run is done once, by whoever is free; what a process that died was at is done by another.
    """
    plan, console = load_plan(folder), Console(quiet=quiet)
    if data is not None:
        plan = replace(plan, data=str(data))
    elif plan.data is not None and not Path(plan.data).exists():
        raise Mistake(f"there is no file {plan.data} here: name the table with --data.")
    trained = join_comparison(plan, folder, console)
    console.say(f"Trained {count(trained, 'run')} here; all of {folder} are finished.")


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help=f"A folder with {FILE_NAME}.", show_default=False),
    ],
) -> None:
    """Draw report.html again from record.json."""
    if not folder.exists():
        raise Mistake(f"there is no folder {folder}. Check the path.")
    try:
        with asking():
            comparison = Comparison.load(folder)
    except FileNotFoundError as error:
        raise Mistake(
            f"{folder} holds no {FILE_NAME}: name the --out folder of a comparison."
        ) from error
    console = Console()
    page = draw(comparison, check_folder(folder if folder.is_dir() else folder.parent), console)
    console.result(f"{text_table(Answer(comparison))}\n\nReport: {page}")
