"""`cyclerate compare`, `demo` and `report`: policies compared on a table, and the page of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from cyclerate._errors import check_choice, check_count
from cyclerate.cli._console import Console, Mistake, asking, wrapped
from cyclerate.cli._options import (
    Json,
    Quiet,
    check_folder,
    choose_backend,
    command_line,
    folder_name,
    parts,
    seed_range,
    widths,
)
from cyclerate.compare._answer import Answer, text_table
from cyclerate.compare._comparison import FILE_NAME, Comparison
from cyclerate.compare._networks import (
    METRICS,
    OPTIMIZERS,
    Objective,
    dense_network,
    dense_words,
    make_objective,
    usual_batch_size,
    usual_hidden,
)
from cyclerate.compare._policies import (
    DEFAULT_POLICIES,
    POLICIES,
    Policy,
    named_policies,
    raced_policy,
    without_rate,
)
from cyclerate.compare._record import About, DataInfo

if TYPE_CHECKING:
    from cyclerate.compare._study import Job, Study
    from cyclerate.tables import Tabular

MODEL_FILE = "best.keras"
PREPROCESSING_FILE = "preprocessing.json"
RANGE_TEST_FILE = "range_test.json"
EPOCHS = 24
_DEFAULT_POLICIES = ",".join(DEFAULT_POLICIES)
_TASKS = ("classification", "regression")


@dataclass(frozen=True)
class Plan:
    """What was asked of a comparison, checked."""

    out: Path
    command: str
    policies: tuple[Policy, ...] = named_policies(DEFAULT_POLICIES)
    epochs: int = EPOCHS
    batch_size: int | None = None
    hidden: tuple[int, ...] | None = None
    optimizer: str = "sgd"
    metric: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


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
    console = Console(as_json=as_json, quiet=quiet)
    with asking():
        plan = Plan(
            out=out or Path("runs") / folder_name(data, target),
            command=command_line(context),
            policies=named_policies(parts(policies)),
            epochs=check_count("--epochs", epochs),
            batch_size=None if batch_size is None else check_count("--batch-size", batch_size),
            hidden=None if hidden is None else widths(hidden),
            optimizer=check_choice("--optimizer", optimizer, OPTIMIZERS),
            metric=None if metric is None else check_choice("--metric", metric, METRICS),
            seeds=seed_range(seed, seeds),
        )
        if task is not None:
            check_choice("--task", task, _TASKS)
    _run(lambda: _table(data, target, sep, drop, task), plan, console)


def _table(data: Path, target: str, sep: str, drop: list[str] | None, task: str | None) -> Tabular:
    from cyclerate.tables import load_csv

    with asking():
        return load_csv(data, target, sep=sep, drop=drop, task=task)


def demo(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See it work: the whole comparison on the digits that come with scikit-learn."""
    plan = Plan(out=out, command=command_line(context))
    _run(_digits, plan, Console(as_json=as_json, quiet=quiet))


def _digits() -> Tabular:
    from cyclerate.tables import digits

    return digits()


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help=f"A folder with {FILE_NAME}.", show_default=False),
    ],
) -> None:
    """Draw report.html and its pictures again from record.json."""
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
    page = _draw(comparison, check_folder(folder if folder.is_dir() else folder.parent), console)
    console.result(f"{text_table(Answer(comparison))}\n\nReport: {page}")


def _draw(comparison: Comparison, out: Path, console: Console) -> Path:
    from cyclerate.compare import _page

    with console.bar("drawing the report"):
        return _page.write_report(comparison, out)


def _run(load: Callable[[], Tabular], plan: Plan, console: Console) -> None:
    """Loads a table, compares the policies on it, and writes everything to `plan.out`."""
    data = load()
    check_folder(plan.out)
    with console.bar("loading Keras"):
        choose_backend()
    from cyclerate.compare._compare import planned, refuse_record, run_comparison

    study, objective = _study(data, plan)
    refuse_record(study)
    _introduce(data, study, plan, console)
    jobs, about = planned(study, _find_rate(study, plan, console))
    about = _described(about, data, objective, plan)
    _explain(about, plan, console)
    data.preprocessing.save(plan.out / PREPROCESSING_FILE)
    with console.bar("training", len(jobs) * about.total_steps) as bar:
        done: dict[str, int] = {}

        def watch(job: Job, steps: int) -> None:
            done[job.name] = steps
            bar(sum(done.values()), f"{job.policy}, seed {job.seed}")

        comparison = run_comparison(study, jobs, about, watch=watch, model_file=MODEL_FILE)
    _finish(comparison, plan.out, console)


def _study(data: Tabular, plan: Plan) -> tuple[Study, Objective]:
    from cyclerate.compare._folds import Fold
    from cyclerate.compare._keras_learner import objective_learner
    from cyclerate.compare._study import Data, Study

    rows, inputs = data.x_train.shape
    with asking():
        classes = len(data.target.classes) if data.target.classes else None
        objective = make_objective(classes, plan.metric, data.target.scale)
        batch_size = plan.batch_size or usual_batch_size(rows)
        hidden, outputs = plan.hidden or usual_hidden(rows, inputs), objective.outputs
        places = np.arange(data.rows)
        return Study(
            learner=objective_learner(
                lambda seed: dense_network(inputs, hidden, outputs, seed),
                objective,
                batch_size,
                optimizer=plan.optimizer,
                words=dense_words(inputs, hidden, outputs),
            ),
            data=Data(
                np.concatenate([data.x_train, data.x_heldout]),
                np.concatenate([data.y_train, data.y_heldout]),
            ),
            folds=(Fold(places[:rows], places[rows:]),),
            seeds=plan.seeds,
            epochs=plan.epochs,
            batch_size=batch_size,
            metric=objective.metric,
            out=plan.out,
            verbose=0,
        ), objective


def _introduce(data: Tabular, study: Study, plan: Plan, console: Console) -> None:
    model, budget = study.start(plan.seeds[0]).model, study.budgets[0]
    console.say(f"{data.name}: {data.rows:,} rows, target '{data.target.name}'.")
    for note in data.notes:
        console.say(note, point=True)
    console.say(
        f"Network: {model.description}; {model.parameters:,} parameters. {model.optimizer}, "
        f"batches of {model.batch_size}, {budget.steps_per_epoch:,} steps an epoch, "
        f"{plan.epochs} epochs: {budget.total_steps:,} steps a run."
    )


def _find_rate(study: Study, plan: Plan, console: Console) -> tuple[Policy, ...]:
    """Runs the range test, if a policy needs its rate; returns the policies that can be trained."""
    if not any(policy.races_as for policy in plan.policies):
        return plan.policies
    with console.bar("range test"):
        found = study.find(plan.seeds[0], 0, raced_policy(plan.policies))
    found.save(plan.out / RANGE_TEST_FILE)
    share = found.steps / study.budgets[0].total_steps
    answer = f"{found.headline()}. " if found.max_lr else ""
    console.say(
        f"Range test: {answer}{found.verdict} It took {found.steps:,} steps, {share:.0%} of one "
        f"run, and {found.seconds or 0.0:.1f} s."
    )
    return plan.policies if found.max_lr else without_rate(plan.policies)


def _described(about: About, data: Tabular, objective: Objective, plan: Plan) -> About:
    return replace(
        about,
        title=f"{data.name}: {data.target.name}",
        command=plan.command,
        mode=objective.mode,
        data=DataInfo(
            name=data.name,
            rows=data.rows,
            train_rows=len(data.x_train),
            heldout_rows=len(data.x_heldout),
            features=len(data.preprocessing.columns),
            target=data.target.name,
            task=data.target.task,
            classes=data.target.classes,
            notes=data.notes,
        ),
    )


def _explain(about: About, plan: Plan, console: Console) -> None:
    for policy in about.policies:
        console.say(f"{policy.name}: {policy.why}", point=True)
    trained = {policy.name for policy in about.policies}
    if missing := [policy.name for policy in plan.policies if policy.name not in trained]:
        console.say(
            f"Without a rate from the range test, {', '.join(missing)} cannot be trained. Try "
            "another --batch-size or --optimizer, or look at the curve in range_test.png."
        )


def _finish(comparison: Comparison, out: Path, console: Console) -> None:
    """Prints the table and the answer, writes the report, says where everything is."""
    page, answer = _draw(comparison, out, console), Answer(comparison)
    console.result(f"\n{text_table(answer)}\n")
    for sentence in (answer.sentence, *answer.notes):
        console.result(wrapped(sentence))
    console.result(f"\nReport: {page}")
    best = comparison.about.best
    if best and best.file:
        console.say(
            f"Best network: {out / best.file}. It is that of {best.policy}, seed {best.seed}. For "
            "new rows, a DataFrame:"
        )
        console.lines(
            "  import keras; from cyclerate.tables import Preprocessing",
            f"  prepare = Preprocessing.load({str(out / PREPROCESSING_FILE)!r})",
            f"  model = keras.models.load_model({str(out / best.file)!r})",
            "  prepare.answers(model.predict(prepare.features(new_rows)))",
        )
    said = {"answer": answer.sentence, "report": str(page)}
    console.document({**said, **comparison.to_dict()})
