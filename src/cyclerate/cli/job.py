"""The job that `compare` and `demo` share: range test, policies, cells, table, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclerate.cli.backend import choose_backend
from cyclerate.cli.folder import check_folder
from cyclerate.cli.mistakes import asking
from cyclerate.cli.talk import Talk, wrapped
from cyclerate.compare._policies import (
    DEFAULT_POLICIES,
    POLICIES,
    REFERENCE,
    Rates,
    make_policies,
    plan_budget,
    raced_policy,
)
from cyclerate.compare._record import DataInfo, PolicyInfo, Record

if TYPE_CHECKING:
    from cyclerate.compare._dense import DenseTrainer
    from cyclerate.finder import RangeTestResult
    from cyclerate.tables import Tabular

MODEL_FILE = "best.keras"
PREPROCESSING_FILE = "preprocessing.json"
RANGE_TEST_FILE = "range_test.json"
EPOCHS = 24


@dataclass(frozen=True)
class Plan:
    """What was asked of a comparison, checked."""

    out: Path
    command: str
    policies: tuple[str, ...] = DEFAULT_POLICIES
    epochs: int = EPOCHS
    batch_size: int | None = None
    hidden: tuple[int, ...] | None = None
    optimizer: str = "sgd"
    metric: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


def run_job(load: Callable[[], Tabular], plan: Plan, talk: Talk) -> None:
    """Loads a table, compares the policies on it, and writes everything to `plan.out`."""
    data = load()
    check_folder(plan.out)
    with talk.bar("loading Keras"):
        backend = choose_backend()
    trainer = _trainer(data, plan)
    _introduce(data, trainer, plan, talk)
    found = _range_test(trainer, plan, talk)
    record = _empty_record(data, trainer, plan, found, backend)
    _explain(record, plan, talk)
    data.preprocessing.save(plan.out / PREPROCESSING_FILE)
    _finish(_train(record, trainer, plan.out, talk), plan.out, talk)


def _finish(record: Record, out: Path, talk: Talk) -> None:
    """Prints the table and the answer, writes the report, says where everything is."""
    from cyclerate.compare._headline import headline
    from cyclerate.compare._page import write_report
    from cyclerate.compare._table import text_table

    with talk.bar("drawing the report"):
        page = write_report(record, out)
    answer = headline(record)
    talk.result(f"\n{text_table(record)}\n")
    for sentence in (answer.sentence, *answer.notes):
        talk.result(wrapped(sentence))
    talk.result(f"\nReport: {page}")
    if record.best and record.best.file:
        talk.say(
            f"Best network: {out / record.best.file}. It is that of {record.best.policy}, "
            f"seed {record.best.seed}. For new rows, a DataFrame:"
        )
        talk.lines(*(f"  {line}" for line in usage(out, record.best.file)))
    talk.document({"answer": answer.sentence, "report": str(page), **record.to_dict()})


def usage(out: Path, model_file: str) -> list[str]:
    """The lines that use a saved network on new rows."""
    return [
        "import keras; from cyclerate.tables import Preprocessing",
        f"prepare = Preprocessing.load({str(out / PREPROCESSING_FILE)!r})",
        f"model = keras.models.load_model({str(out / model_file)!r})",
        "prepare.answers(model.predict(prepare.features(new_rows)))",
    ]


def _trainer(data: Tabular, plan: Plan) -> DenseTrainer:
    from cyclerate.compare._dense import DenseTrainer, usual_batch_size, usual_hidden
    from cyclerate.compare._objective import make_objective
    from cyclerate.compare._trainer import Split

    rows = len(data.x_train)
    classes = data.target.classes
    with asking():
        objective = make_objective(
            len(classes) if classes else None, plan.metric, data.target.scale
        )
        batch_size = plan.batch_size or usual_batch_size(rows)
        return DenseTrainer(
            split=Split(data.x_train, data.y_train, data.x_heldout, data.y_heldout),
            objective=objective,
            budget=plan_budget(plan.epochs, max(rows // batch_size, 1)),
            batch_size=batch_size,
            hidden=plan.hidden or usual_hidden(rows, data.x_train.shape[1]),
            optimizer=plan.optimizer,
        )


def _introduce(data: Tabular, trainer: DenseTrainer, plan: Plan, talk: Talk) -> None:
    model, budget = trainer.describe(), trainer.budget
    talk.say(f"{data.name}: {data.rows:,} rows, target '{data.target.name}'.")
    for note in data.notes:
        talk.say(note, point=True)
    talk.say(
        f"Network: {model.description}; {model.parameters:,} parameters. {model.optimizer}, "
        f"batches of {model.batch_size}, {budget.steps_per_epoch:,} steps an epoch, "
        f"{plan.epochs} epochs: {budget.total_steps:,} steps a run."
    )


def _range_test(trainer: DenseTrainer, plan: Plan, talk: Talk) -> RangeTestResult | None:
    if not any(POLICIES[name].needs_suggestion for name in plan.policies):
        return None
    with talk.bar("range test"):
        found = trainer.range_test(plan.seeds[0], policy=raced_policy(plan.policies))
    found.save(plan.out / RANGE_TEST_FILE)
    cost = found.steps / trainer.budget.total_steps
    answer = f"{found.headline()}. " if found.max_lr else ""
    talk.say(
        f"Range test: {answer}{found.verdict} It took {found.steps:,} steps, {cost:.0%} of one "
        f"run, and {found.seconds or 0.0:.1f} s."
    )
    return found


def _empty_record(
    data: Tabular, trainer: DenseTrainer, plan: Plan, found: RangeTestResult | None, backend: str
) -> Record:
    from cyclerate.compare import _provenance as provenance
    from cyclerate.compare._optimizers import default_rate

    rates = Rates(
        default_lr=default_rate(plan.optimizer),
        base_lr=found.base_lr if found else None,
        max_lr=found.max_lr if found else None,
        default_of=f"{trainer.describe().optimizer} in Keras",
    )
    budget = plan_budget(plan.epochs, trainer.budget.steps_per_epoch)
    policies = make_policies(plan.policies, rates, budget)
    names = [policy.name for policy in policies]
    return Record(
        title=f"{data.name}: {data.target.name}",
        created=provenance.now(),
        command=plan.command,
        versions=provenance.versions(backend),
        machine=provenance.machine(),
        data=_data_info(data),
        model=trainer.describe(),
        metric=trainer.objective.metric,
        epochs=plan.epochs,
        steps_per_epoch=trainer.budget.steps_per_epoch,
        total_steps=trainer.budget.total_steps,
        seeds=plan.seeds,
        range_test=found.to_dict() if found else None,
        policies=policies,
        cells=(),
        reference=REFERENCE if REFERENCE in names else names[0],
        summary=(),
        best=None,
    )


def _data_info(data: Tabular) -> DataInfo:
    return DataInfo(
        name=data.name,
        rows=data.rows,
        train_rows=len(data.x_train),
        heldout_rows=len(data.x_heldout),
        features=len(data.preprocessing.columns),
        target=data.target.name,
        task=data.target.task,
        classes=data.target.classes,
        notes=data.notes,
    )


def _explain(record: Record, plan: Plan, talk: Talk) -> None:
    for policy in record.policies:
        talk.say(f"{policy.name}: {policy.why}", point=True)
    missing = [name for name in plan.policies if name not in {p.name for p in record.policies}]
    if missing:
        talk.say(
            f"Without a rate from the range test, {', '.join(missing)} cannot be trained. Try "
            "another --batch-size or --optimizer, or look at the curve in range_test.png."
        )


def _train(record: Record, trainer: DenseTrainer, out: Path, talk: Talk) -> Record:
    from cyclerate.compare._recording import run_cells

    total = len(record.policies) * len(record.seeds) * record.total_steps
    with talk.bar("training", total) as bar:
        done: dict[tuple[str, int], int] = {}

        def progress(policy: PolicyInfo, seed: int, steps: int) -> None:
            done[policy.name, seed] = steps
            bar(sum(done.values()), f"{policy.name}, seed {seed}")

        return run_cells(record, trainer, out, MODEL_FILE, progress)
