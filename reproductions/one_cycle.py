"""1cycle against a constant rate: two convolutional networks, a small regression, a large batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes

from cyclerate.compare._dense import DenseTrainer
from cyclerate.compare._objective import make_objective
from cyclerate.compare._trainer import KerasTrainer, Split
from cyclerate.compare._wording import MISSING, rate
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Constant, OneCycle, Schedule
from cyclerate.tables import Tabular, prepare
from reproductions import saying
from reproductions._charts import Chart
from reproductions._experiment import Experiment
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions._tables import Table, measured
from reproductions._training import NO_RATE, NetworkTrainer, Plan, line, sooner, train
from reproductions.datasets import cifar10, fashion_mnist
from reproductions.finding import (
    find_rate,
    found_rates,
    outcome_of,
    range_test_cell,
    range_test_chart,
)
from reproductions.networks import ImageTask, conv_network, image_task, quick_images
from reproductions.published import boston_housing

TASKS = {"cifar10": "CIFAR-10", "fashion": "Fashion-MNIST", "boston": "Boston Housing"}
BATCH, LARGE_BATCH = 32, 2048
FILTERS, DENSE = (16, 32), 64
HIDDEN = (64, 32)
FIXED_RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_EPOCHS = {"cifar10": 4, "fashion": 4, "boston": 100}
_SWEEP = {"method": "range", "start_lr": 1e-6, "end_lr": 10.0, "steps": 300, "repeats": 1}
# A step on 2,048 images costs as much as 64 steps on 32: the search is kept short.
_LARGE_TEST = {"steps": 30, "max_steps": 60}
_METRIC = {"cifar10": "accuracy", "fashion": "accuracy", "boston": "rmse"}
_SHORT = {
    "constant-rule": "rule, constant",
    "one_cycle-rule": "rule, 1cycle",
    "constant-found": "ours, constant",
    "one_cycle-found": "ours, 1cycle",
}
_POLICIES = {
    "constant-rule": "constant, a tenth",
    "one_cycle-rule": "1cycle, a tenth",
    "constant-found": "constant, our rate",
    "one_cycle-found": "1cycle, our rate",
}


def cells(size: Size) -> tuple[Cell, ...]:
    """Fixed rates; for each task both ways to find a rate and both policies; the large batch."""
    found: list[Cell] = []
    for lr in FIXED_RATES[3:4] if size.quick else FIXED_RATES:
        settings = {**_common("cifar10", size), "lr": lr}
        found.append(Cell(f"cifar10/rate {lr:g}", f"CIFAR-10, fixed {lr:g}", settings, 1))
    for task in ("cifar10",) if size.quick else TASKS:
        found += _cells_of(task, size)
    return (*found, *_large(size))


def _common(task: str, size: Size, batch: int = BATCH) -> dict[str, Any]:
    network = {"hidden": HIDDEN} if task == "boston" else {"filters": FILTERS, "dense": DENSE}
    epochs = size.epochs(_EPOCHS[task], quick=2)
    return {"task": task, "epochs": epochs, "batch_size": batch, "rows": "all", **network}


def _cells_of(task: str, size: Size) -> list[Cell]:
    common, name = _common(task, size), TASKS[task]
    seeds = None if task == "boston" else 2
    tests = [
        Cell(f"{task}/increments", f"{name}, exponential increments", {**common, "sweep": _SWEEP}),
        range_test_cell(f"{task}/range test", f"{name}, range test", common["epochs"], common),
    ]
    rates = {test.name: test.settings for test in tests}
    trained = [
        Cell(f"{task}/{policy}", f"{name}, {label}", {**common, "policy": policy, "rates": rates})
        for policy, label in _POLICIES.items()
    ]
    return [replace(cell, most_seeds=seeds) for cell in (*tests, *trained)]


def _large(size: Size) -> list[Cell]:
    """The batch of 2,048 on CIFAR-10, with the rate for 32 and with its own."""
    common = _common("cifar10", size, LARGE_BATCH)
    small = {"rates": _common("cifar10", size)}
    test = range_test_cell(
        "large/range test", "batch 2,048, range test", common["epochs"], common, **_LARGE_TEST
    )
    sweep = {**common, "sweep": {**_SWEEP, "steps": _LARGE_TEST["steps"]}}
    policies = {
        "one_cycle-rule": ("1cycle, a tenth at 32", {**_SWEEP, **small}),
        "one_cycle-own": ("1cycle, a tenth at 2,048", sweep["sweep"]),
        "one_cycle-found": ("1cycle, our rate at 2,048", test.settings),
    }
    if size.quick:
        del policies["one_cycle-own"]
    cells = [
        Cell("large/increments", "batch 2,048, exponential increments", sweep),
        test,
        *(
            Cell(f"large/{name}", f"batch 2,048, {label}", {**common, "policy": name, "rates": of})
            for name, (label, of) in policies.items()
        ),
    ]
    return [replace(cell, most_seeds=2) for cell in cells[size.quick :]]


@dataclass
class OneCycleStage:
    """The tasks, loaded when their first cell comes."""

    size: Size
    _tasks: dict[str, ImageTask | Tabular] = field(default_factory=dict, init=False, repr=False)

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the data."""
        said: list[str] = []
        for name in dict.fromkeys(cell.settings["task"] for cell in cells(self.size)):
            task = self._task(name)
            title = TASKS[name]
            said += [n if n.startswith(title) else f"{title}: {n}" for n in task.notes]
        if "boston" in self._tasks:
            said.append(_ON_BOSTON)
        return tuple(said)

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Sweeps, finds, or trains."""
        trainer = self._trainer(cell)
        if "sweep" in cell.settings:
            return _increments(trainer.range_test(seed, **cell.settings["sweep"]))
        if "range_test" in cell.settings:
            return find_rate(trainer, seed, **cell.settings["range_test"])
        schedule = _schedule(cell, seed, done, trainer.budget.total_steps)
        return NO_RATE if schedule is None else train(trainer, schedule, seed)

    def _task(self, name: str) -> ImageTask | Tabular:
        if name not in self._tasks:
            self._tasks[name] = _load(name, self.size)
        return self._tasks[name]

    def _trainer(self, cell: Cell) -> KerasTrainer:
        task = self._task(cell.settings["task"])
        if isinstance(task, Tabular):
            split = Split(task.x_train, task.y_train, task.x_heldout, task.y_heldout)
            objective = make_objective(None, "rmse", task.target.scale)
            return DenseTrainer(split=split, objective=objective, **_length(cell, split))
        return NetworkTrainer(
            split=task.split,
            objective=task.objective,
            build=conv_network(task, FILTERS, DENSE),
            **_length(cell, task.split),
        )


def _length(cell: Cell, split: Split) -> dict[str, Any]:
    batch = min(cell.settings["batch_size"], len(split.x_train) // 2)
    epoch = len(split.x_train) // batch
    return {"batch_size": batch, "budget": Plan(epoch, epoch * cell.settings["epochs"])}


def _increments(result: RangeTestResult) -> Outcome:
    """A sweep read as the article does: a tenth of the rate before the loss shoots up.

    That is where the smoothed loss is lowest.
    """
    outcome = outcome_of(result)
    known = np.isfinite(result.smoothed)
    rule = None
    if known.any():
        lowest = int(np.argmin(np.where(known, result.smoothed, np.inf)))
        rule = float(result.lrs[lowest]) / 10.0
    return replace(outcome, values={**outcome.values, "rule": rule})


def _schedule(cell: Cell, seed: int, done: Reproduction, steps: int) -> Schedule | None:
    if "lr" in cell.settings:
        return Constant(cell.settings["lr"])
    group, _, policy = cell.name.partition("/")
    if policy.endswith("-found"):
        found = found_rates(done, f"{group}/range test", seed)
        if found is None:
            return None
        constant = policy.startswith("constant")
        return Constant(found.max_lr) if constant else OneCycle(found.max_lr, steps)
    source = "large" if policy.endswith("-own") else cell.settings["task"]
    runs = done.of(f"{source}/increments")
    top = next(run.outcome.values["rule"] for run in runs if run.seed == seed)
    if top is None:
        return None
    return Constant(top) if policy.startswith("constant") else articles_one_cycle(top, steps)


def articles_one_cycle(max_lr: float, steps: int) -> OneCycle:
    """The article's shape: linear, up from a tenth and down again, then a last steep descent."""
    return OneCycle(
        max_lr,
        steps,
        up_frac=0.45,
        start_div=10.0,
        end_div=1e3,
        shape="linear",
        three_phase=True,
    )


def _load(name: str, size: Size) -> ImageTask | Tabular:
    if size.quick:
        return quick_images() if name != "boston" else _quick_table()
    if name == "boston":
        return prepare(boston_housing(), "MEDV", name="boston_house_prices.csv")
    return image_task(cifar10() if name == "cifar10" else fashion_mnist())


def _quick_table() -> Tabular:
    frame: Any = load_diabetes(as_frame=True)
    return prepare(frame.frame, "target", name="diabetes")


def open_stage(size: Size) -> OneCycleStage:
    """Prepares the tasks."""
    return OneCycleStage(size)


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """The article's figure of fixed rates, then for each task the policies and our range test."""
    drawn = [_fixed_rates(record)]
    for task, name in TASKS.items():
        drawn.append(_policies(record, task, name))
        drawn.append(range_test_chart(record, f"{task}/range test", task, name))
    return tuple(drawn)


def _fixed_rates(record: Reproduction) -> Chart:
    lines = tuple(
        line(record, f"cifar10/rate {lr:g}", f"{lr:g}", "train_loss") for lr in FIXED_RATES
    )
    ends = "; ".join(
        f"{lr:g}: {measured(record, f'cifar10/rate {lr:g}', 'train_loss')}"
        for lr in FIXED_RATES
        if record.of(f"cifar10/rate {lr:g}")
    )
    return Chart(
        name="fixed_rates",
        title="CIFAR-10, fixed rates",
        x_label="optimizer steps",
        y_label="training loss",
        lines=lines,
        caption=f"Training loss by rate. At the end: {ends}.",
        alt=f"Line chart of the training loss over the steps. At the end: {ends}.",
        y_limits=(0.0, 3.0),
    )


def _policies(record: Reproduction, task: str, name: str) -> Chart:
    lines = tuple(
        line(record, f"{task}/{policy}", label, "loss") for policy, label in _SHORT.items()
    )
    ends = "; ".join(f"{a.name} {a.y[-1]:.3f}" for a in lines if a.y and a.y[-1] is not None)
    starts = [a.y[0] for a in lines if a.y and a.y[0] is not None]
    return Chart(
        name=f"policies_{task}",
        title=f"{name}, held-out loss",
        x_label="optimizer steps",
        y_label="held-out loss",
        lines=lines,
        caption=f"Means and seeds; the rate by the article's rule, or ours. At the end: {ends}.",
        alt=f"Line chart of the held-out loss over the steps. At the end: {ends}.",
        y_limits=(0.0, 1.1 * max(starts)) if starts else None,
        reference=_SHORT["constant-rule"],
    )


def tables(record: Reproduction) -> tuple[Table, ...]:
    """1cycle against constant, and the large batch."""
    return tuple(table for table in (_main_table(record), _large_table(record)) if table.rows)


def _main_table(record: Reproduction) -> Table:
    rows: list[tuple[str, ...]] = []
    for task, name in TASKS.items():
        for policy, label in _POLICIES.items():
            cell = f"{task}/{policy}"
            if record.of(cell):
                rows.append((f"{name}, {label}", _said(policy), *_numbers(record, task, cell)))
    legend = (
        "Metric: held-out accuracy, or the root mean square error of Boston Housing in 1,000 "
        "dollars. A tenth: of the rate before the loss shoots up, as in the article. Sooner: the "
        "share of the steps after which the held-out loss was at the final one of the constant "
        f"rate with the same top rate. {_seeds(record)}."
    )
    heads = ("policy", "article", "top rate", "metric", "loss", "sooner")
    return Table("Article and here", heads, tuple(rows), legend)


def _said(policy: str) -> str:
    return {"one_cycle-rule": "better, faster"}.get(policy, MISSING)


def _numbers(record: Reproduction, task: str, cell: str) -> tuple[str, ...]:
    tops = [_top(run.outcome.schedule) for run in record.of(cell)]
    metric = measured(record, cell, "metric", share=_METRIC[task] == "accuracy")
    arrival = MISSING
    if "/one_cycle" in cell:
        share = sooner(record, cell, cell.replace("one_cycle", "constant"))
        arrival = "never" if share is None else f"{100 * share:.0f} %"
    return (saying.rates(tops), metric, measured(record, cell, "loss"), arrival)


def _top(schedule: dict[str, Any] | None) -> float | None:
    if schedule is None:
        return None
    return schedule["value"] if schedule["type"] == "Constant" else schedule["max_lr"]


def _seeds(record: Reproduction) -> str:
    numbers = {TASKS[task]: len(record.of(f"{task}/constant-rule")) for task in TASKS}
    shown = ", ".join(f"{name} {number}" for name, number in numbers.items() if number)
    return f"Mean ± standard deviation over the seeds: {shown}"


def _large_table(record: Reproduction) -> Table:
    labels = {
        "one_cycle-rule": ("a tenth, found at 32", "NaN"),
        "one_cycle-own": ("a tenth, found at 2,048", MISSING),
        "one_cycle-found": ("our rate, found at 2,048", MISSING),
    }
    rows = [
        (label, said, *_numbers(record, "cifar10", f"large/{policy}")[:3])
        for policy, (label, said) in labels.items()
        if record.of(f"large/{policy}")
    ]
    if record.of("cifar10/one_cycle-rule"):
        small = _numbers(record, "cifar10", "cifar10/one_cycle-rule")[:3]
        rows.append(("for comparison: batch 32, a tenth", "better", *small))
    legend = (
        "CIFAR-10, 1cycle, the same epochs: a batch of 2,048 makes 64 times fewer steps of them."
    )
    heads = ("1cycle, batch 2,048", "article", "top rate", "accuracy", "loss")
    return Table("A batch of 2,048", heads, tuple(rows), legend)


def lessons(record: Reproduction) -> tuple[str, ...]:
    """1cycle against constant for each task; which rate; the large batch; fixed rates."""
    said = [_on_task(record, task) for task in TASKS]
    return tuple(filter(None, (*said, _on_rates(record), _on_batch(record), _on_fixed(record))))


def _on_task(record: Reproduction, task: str) -> str:
    parts: list[str] = []
    for kind, words in (("rule", "the article's rule"), ("found", "our range test's rate")):
        one, other = f"{task}/one_cycle-{kind}", f"{task}/constant-{kind}"
        told = saying.loss_beside(record, one, other)
        if told is None:
            continue
        share = sooner(record, one, other)
        when = "" if share is None else f", reached after {100 * share:.0f} % of the steps"
        parts.append(f"by {words} {told} the constant rate{when}")
    return f"{TASKS[task]}: 1cycle has {'; '.join(parts)}." if parts else ""


def _on_rates(record: Reproduction) -> str:
    parts: list[str] = []
    for task, name in TASKS.items():
        rule = saying.middle(record.values(f"{task}/increments", "rule"))
        found = saying.middle(record.values(f"{task}/range test", "max_lr"))
        if rule is None or found is None:
            continue
        one, other = f"{task}/one_cycle-found", f"{task}/one_cycle-rule"
        told = saying.loss_beside(record, one, other)
        beside = f", with {told} the rule" if told else ""
        parts.append(f"{name} {rate(rule)} by the rule, {rate(found)} by our test{beside}")
    return f"Rates for 1cycle: {'; '.join(parts)}." if parts else ""


def _on_batch(record: Reproduction) -> str:
    runs = record.of("large/one_cycle-rule")
    if not runs:
        return ""
    lost = sum(run.outcome.values.get("diverged") == 1.0 for run in runs)
    fate = f"diverged in {lost} of {len(runs)} runs" if lost else "did not diverge"
    accuracies = [
        f"{words} {measured(record, cell, 'metric', share=True)}"
        for cell, words in (
            ("large/one_cycle-rule", "the rate for 32 gives"),
            ("large/one_cycle-found", "our test's rate for 2,048"),
            ("cifar10/one_cycle-rule", "a batch of 32"),
        )
        if record.of(cell)
    ]
    found = saying.rates(record.values("large/range test", "max_lr"))
    return (
        f"A batch of 2,048 {fate} with the rate for 32. Our range test for it says {found}. "
        f"Accuracy after the same epochs: {', '.join(accuracies)}."
    )


def _on_fixed(record: Reproduction) -> str:
    ends = {lr: record.mean(f"cifar10/rate {lr:g}", "train_loss") for lr in FIXED_RATES}
    known = {lr: loss for lr, loss in ends.items() if loss is not None}
    if not known:
        return ""
    best = min(known, key=lambda lr: known[lr])
    lost = [lr for lr in FIXED_RATES if record.of(f"cifar10/rate {lr:g}") and ends[lr] is None]
    bad = f"; {', '.join(f'{lr:g}' for lr in lost)} diverged" if lost else ""
    return (
        f"Of the fixed rates on CIFAR-10, {best:g} ends with the lowest training loss "
        f"({known[best]:.3f}); the highest loss at the end, {max(known.values()):.3f}, is that of "
        f"{max(known, key=lambda lr: known[lr]):g}{bad}."
    )


_ON_BOSTON = (
    "Boston Housing was withdrawn from scikit-learn: its column B rests on an assumption about "
    "race that cannot be defended. It is here only because the article has it."
)

EXPERIMENT = Experiment(
    name="one-cycle",
    title="1cycle against a constant rate",
    source=(
        "Jonathan Quijas, 1Cycle Learning Rate Scheduling with TensorFlow and Keras, "
        "Towards AI, updated 2023"
    ),
    article=(
        (
            "The rate is found by a few hundred steps at exponentially rising rates from 1e-6 to "
            "10: about a tenth of the point before the loss shoots up."
        ),
        (
            "1cycle goes up linearly to that rate in the first half of the training, from a tenth "
            "of it, and down again; the last steps drop by several orders of magnitude."
        ),
        (
            "A convolutional network on CIFAR-10 and on Fashion-MNIST and a dense one on Boston "
            "Housing, batches of 32: clearly better and faster than without. Batches of 2,048 "
            "led to exploding updates and NaN. A figure shows the training loss for several rates."
        ),
    ),
    differences=(
        (
            "The networks, the lengths and the figures' numbers are not given in its text. Here: "
            "two convolutions of 16 and 32 filters and a dense layer of 64; 64 and 32 units for "
            "Boston Housing; plain SGD; 4 epochs of the images (100 of the table), so that it "
            "takes less than an hour without a GPU. --scale makes it longer."
        ),
        "The point before the loss shoots up is read as the lowest one of the smoothed loss.",
        "The data are standardised, as the article asks.",
        "Beyond the article: both policies also run with the rate of our range test.",
    ),
    backend="tensorflow",
    seeds=3,
    minutes=40,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
