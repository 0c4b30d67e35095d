"""The runs of one comparison: planned, told, trained by one or several processes, and reported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclerate._errors import count
from cyclerate._plain import plain
from cyclerate.cli._console import (
    COLUMNS,
    Console,
    Mistake,
    asking,
    check_folder,
    choose_backend,
    wrapped,
)
from cyclerate.cli._plan import Plan, clear
from cyclerate.compare._answer import Answer, text_table
from cyclerate.compare._budgets import HOW_LONG, budgets_in
from cyclerate.compare._cells import Cell
from cyclerate.compare._comparison import Comparison
from cyclerate.compare._networks import (
    Objective,
    dense_network,
    dense_words,
    make_objective,
    rarer,
    usual_batch_size,
    usual_hidden,
)
from cyclerate.compare._policies import Policy, raced_policy, without_rate
from cyclerate.compare._record import About, DataInfo
from cyclerate.compare._wording import aligned
from cyclerate.cycles._how_long import RECORD, HowLong
from cyclerate.finder._range_test import RangeTestSettings

if TYPE_CHECKING:
    from cyclerate.compare._study import Job, Study
    from cyclerate.tables import Tabular

_POINTS, _LEAST_POINTS = 5, 3
MODEL_FILE = "best.keras"
PREPROCESSING_FILE = "preprocessing.json"
RANGE_TEST_FILE = "range_test.json"
_RARE = 0.2  # of the share that each class has where all are equal
_SECONDS_TO_SEE, _SECONDS_TO_END = 5.0, 10.0  # for workers, when all is done


def draw(comparison: Comparison, out: Path, console: Console) -> Path:
    """Draws the report of a comparison into a folder."""
    from cyclerate.compare import _page

    with console.bar("drawing the report"):
        return _page.write_report(comparison, out)


def run_plan(
    plan: Plan,
    out: Path,
    console: Console,
    workers: int = 1,
    *,
    overwrite: bool = False,
    how_long: bool = False,
) -> None:
    """Loads a table, compares the policies on it, and writes everything to `out`."""
    data = plan.table()
    check_folder(out)
    if overwrite:
        clear(out)
    plan.refuse_other(out)
    with console.bar("loading Keras"):
        choose_backend()
    from cyclerate.compare._compare import keep_network, refuse_record, run_comparison

    study, objective = _study(data, plan, out)
    refuse_record(study)
    points = _points(study, plan.seeds[0], out) if how_long else None
    _introduce(data, study, plan, console)
    plan.save(out)
    with _workers(out, workers - 1) as wait:
        jobs, about = _planned(study, data, objective, plan, console)
        _explain(about, study, plan, console)
        _already(study, jobs, console)
        data.preprocessing.save(out / PREPROCESSING_FILE)
        with console.bar("training", len(jobs) * about.total_steps) as bar:
            done: dict[str, int] = {}

            def watch(job: Job, steps: int) -> None:
                done[job.name] = steps
                bar(sum(done.values()), f"{job.policy}, seed {job.seed}")

            comparison = run_comparison(study, jobs, about, watch=watch, model_file=MODEL_FILE)
            wait()
            keep_network(study, jobs, comparison)
    if points is not None:
        _train_how_long(study, plan.seeds[0], points, out, console)
    _finish(comparison, out, console)


def join_comparison(plan: Plan, out: Path, console: Console) -> int:
    """Trains what is left of a comparison that another process keeps the record of.

    Returns:
        The number of runs that were trained here.
    """
    data = plan.table()
    if plan.backend is not None:
        os.environ["KERAS_BACKEND"] = plan.backend
    choose_backend()
    from cyclerate.compare._compare import refuse_record, run_comparison

    study, objective = _study(data, plan, out)
    refuse_record(study)
    jobs, about = _planned(study, data, objective, plan, Console(quiet=True))
    trained: set[str] = set()
    with console.bar("training", len(jobs) * about.total_steps) as bar:
        done: dict[str, int] = {}

        def watch(job: Job, steps: int) -> None:
            if steps < about.total_steps:
                trained.add(job.name)
            done[job.name] = steps
            bar(sum(done.values()), f"{job.policy}, seed {job.seed}")

        run_comparison(study, jobs, about, watch=watch, model_file=MODEL_FILE, keep_record=False)
    return len(trained)


def _points(study: Study, seed: int, out: Path) -> int:
    """In how many cycles --how-long can train; refused before all the runs, not after them."""
    points = min(_POINTS, study.budgets[0].total_steps.bit_length() - 1)
    if points < _LEAST_POINTS:
        raise Mistake(f"--how-long needs {2**_LEAST_POINTS} steps a run. Raise --epochs.")
    file = out / HOW_LONG / RECORD
    with asking():
        there = HowLong.load(file).provenance.get("seed") if file.is_file() else seed
    if there != seed:
        raise Mistake(f"{file} is of seed {there}: give --seed {there}, or name another folder.")
    return points


def _train_how_long(study: Study, seed: int, points: int, out: Path, console: Console) -> None:
    """Trains one network in cycles that double, as long as a run of the comparison."""
    steps, fold = study.budgets[0].total_steps, study.folds[0]
    console.say(f"How long to train: one more network in {points} cycles, {steps:,} steps in all.")
    done = 0
    with console.bar("how long", steps) as bar:

        def watch() -> None:
            nonlocal done
            done += 1
            bar(done)

        learner: Any = study.learner
        parts = [(study.data.x[rows], study.data.y[rows]) for rows in (fold.train, fold.heldout)]
        told = {"total_steps": steps, "points": points, "folder": out / HOW_LONG}
        with asking():
            learner.how_long(seed, *parts, watch, **told)


@contextmanager
def _workers(folder: Path, number: int) -> Generator[Callable[[], None]]:
    """Starts so many processes that work on a folder; gives what waits for them.

    They end with the block. One that dies costs the run it was at, which another does then.
    """
    code = "from cyclerate.cli import main; main()"
    command = [sys.executable, "-c", code, "work", "--quiet", "--", str(folder)]
    threads = max((os.cpu_count() or 1) // (number + 1), 1)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        for _ in range(number)
    ]

    def wait() -> None:
        """Until they have seen that all is done; who has not begun by then is not needed."""
        until = time.monotonic() + _SECONDS_TO_SEE
        while any(one.poll() is None for one in started) and time.monotonic() < until:
            time.sleep(0.05)

    try:
        yield wait
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _planned(
    study: Study, data: Tabular, objective: Objective, plan: Plan, console: Console
) -> tuple[list[Job], About]:
    """The runs, by the rate that a range test found, and what is compared."""
    from cyclerate.compare._compare import planned

    jobs, about = planned(study, _find_rate(study, plan, console))
    described = _described(about, data, objective, plan)
    notes = (*described.data.notes, *_rare(data, study))
    return jobs, replace(described, data=replace(described.data, notes=notes))


def _study(data: Tabular, plan: Plan, out: Path) -> tuple[Study, Objective]:
    from cyclerate.compare._folds import Fold
    from cyclerate.compare._keras_learner import objective_learner
    from cyclerate.compare._study import Data, Study

    rows, inputs = data.x_train.shape
    with asking():
        classes = len(data.target.classes) if data.target.classes else None
        own = None if data.target.transform == "none" else data.target.undone
        objective = make_objective(classes, plan.metric, data.target.scale, own)
        if objective.metric == "r2" and np.ptp(data.y_heldout) == 0:
            raise Mistake(
                f"--metric r2 needs targets that differ; '{data.target.name}' is the same in all "
                f"{count(len(data.y_heldout), 'held-out row')}. Try --metric rmse or mae."
            )
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
            fixed_lr=plan.lr,
            max_lr=plan.max_lr,
            out=out,
            verbose=0,
        ), objective


def _introduce(data: Tabular, study: Study, plan: Plan, console: Console) -> None:
    model, budget = study.start(plan.seeds[0]).model, study.budgets[0]
    cut = budget.total_steps < budget.steps_per_epoch * plan.epochs
    console.say(f"{data.name}: {data.rows:,} rows, target '{data.target.name}'.")
    for note in (*data.notes, *_rare(data, study)):
        console.say(note, point=True)
    console.say(
        f"Network: {model.description}; {model.parameters:,} parameters. {model.optimizer}, "
        f"batches of {model.batch_size}, {budget.steps_per_epoch:,} steps an epoch, "
        f"{plan.epochs} epochs: {budget.total_steps:,} steps a run"
        f"{', as whole cycles' * cut}."
    )


def _rare(data: Tabular, study: Study) -> list[str]:
    """Says where accuracy hides what is rare, what to measure in its place, and what that is of."""
    if study.metric == "average_precision" and data.target.classes:
        return [f"Average precision is that of '{data.target.classes[rarer(data.y_heldout)]}'."]
    if study.metric != "accuracy" or data.target.classes is None:
        return []
    sizes = np.bincount(np.concatenate([data.y_train, data.y_heldout]))
    share, rarest = sizes.min() / sizes.sum(), data.target.classes[int(sizes.argmin())]
    if share >= _RARE / len(sizes):
        return []
    two = ["--metric average_precision", "--metric roc_auc"] * (len(sizes) == 2)
    ways = ", ".join([*two, "--metric balanced_accuracy"])
    return [
        f"'{rarest}' is {100 * share:.2g} % of the rows, so accuracy says little of it. Try {ways}."
    ]


def _already(study: Study, jobs: list[Job], console: Console) -> None:
    """Says how many of the runs need not be trained."""
    cells = [Cell(job.name, study.settings_of(job)) for job in jobs]
    there = sum(study.folder.load(cell) is not None for cell in cells)
    if there:
        console.say(f"{there} of {count(len(jobs), 'run')} were already there.")


def _named(study: Study, plan: Plan) -> tuple[Policy, ...]:
    return plan.named(study.start(plan.seeds[0]).default_lr)


def _find_rate(study: Study, plan: Plan, console: Console) -> tuple[Policy, ...]:
    """Runs the range test, if a policy needs its rate; returns the policies that can be trained."""
    named = _named(study, plan)
    if plan.max_lr is not None or not any(policy.races_as for policy in named):
        return named
    run = study.budgets[0].total_steps
    most = RangeTestSettings().max_steps or 0
    console.say(
        f"Looking for the rate: at most {most:,} steps, {most / run:.0%} of one run of {run:,}."
    )
    with console.bar("range test"):
        found = study.find(plan.seeds[0], 0, raced_policy(named))
    found.save(Path(study.out or ".") / RANGE_TEST_FILE)
    share = found.steps / study.budgets[0].total_steps
    answer = f"{found.headline()}. " if found.max_lr else ""
    console.say(
        f"Range test: {answer}{found.verdict} It took {found.steps:,} steps, "
        f"{share:.0%} of one run, and {found.seconds or 0.0:.1f} s."
    )
    return named if found.max_lr or found.fallback_lr else without_rate(named)


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


def _explain(about: About, study: Study, plan: Plan, console: Console) -> None:
    for policy in about.policies:
        console.say(f"{policy.name}: {policy.why}", point=True)
    trained = {policy.name for policy in about.policies}
    if missing := [policy.name for policy in _named(study, plan) if policy.name not in trained]:
        console.say(
            f"Without a rate from the range test, {', '.join(missing)} cannot be trained. Try "
            "another --batch-size or --optimizer, or look at the curve in the report."
        )


def _finish(comparison: Comparison, out: Path, console: Console) -> None:
    """Prints the table and the answer, writes the report, says where everything is."""
    page, answer = draw(comparison, out, console), Answer(comparison)
    console.result(f"\n{text_table(answer)}\n")
    for sentence in (answer.sentence, *answer.notes):
        console.result(wrapped(sentence))
    budgets = budgets_in(out)
    if budgets is not None:
        lines = aligned([budgets.heads, *budgets.rows], COLUMNS - 1)
        console.result("\n" + "\n".join(lines) + f"\n\n{wrapped(budgets.sentence)}")
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
    said: dict[str, Any] = {"answer": answer.sentence, "report": str(page)}
    if budgets is not None:
        said |= {"how_long": plain(asdict(budgets.told)), "longer": budgets.sentence}
    console.document({**said, **comparison.to_dict()})
