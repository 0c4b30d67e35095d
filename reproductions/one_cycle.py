"""1cycle against a constant rate: two convolutional networks, a small regression, a large batch."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes

from cyclerate.compare._networks import dense_network, make_objective
from cyclerate.compare._wording import MISSING, rate
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Constant, OneCycle, Schedule
from cyclerate.tables import Tabular, prepare
from reproductions import _phrases as say, _training as training, datasets
from reproductions._charts import Chart, range_test_chart, trainings_chart
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size

TASKS = {"cifar10": "CIFAR-10", "fashion": "Fashion-MNIST", "boston": "Boston Housing"}
BATCH, LARGE_BATCH = 32, 2048
FILTERS, DENSE = (16, 32), 64
HIDDEN = (64, 32)
FIXED_RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_EPOCHS = {"cifar10": 12, "fashion": 12, "boston": 100}
_SWEEP = {"method": "range", "steps": 300}
# A step on 2,048 images costs as much as 64 steps on 32: the search is kept short.
_LARGE_STEPS = 30
_POLICIES = {
    "constant-rule": "constant, a tenth",
    "one_cycle-rule": "1cycle, a tenth",
    "constant-found": "constant, our rate",
    "one_cycle-found": "1cycle, our rate",
}
_SHORT = {
    "constant-rule": "rule, constant",
    "one_cycle-rule": "rule, 1cycle",
    "constant-found": "ours, constant",
    "one_cycle-found": "ours, 1cycle",
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
    tests = [
        training.range_test_cell(
            f"{task}/increments", f"{name}, exponential increments", common, **_SWEEP
        ),
        training.range_test_cell(f"{task}/range test", f"{name}, range test", common),
    ]
    rates = {test.name: test.settings for test in tests}
    trained = [
        Cell(f"{task}/{policy}", f"{name}, {label}", {**common, "policy": policy, "rates": rates})
        for policy, label in _POLICIES.items()
    ]
    seeds = None if task == "boston" else 2
    return [replace(cell, most_seeds=seeds) for cell in (*tests, *trained)]


def _large(size: Size) -> list[Cell]:
    """The batch of 2,048 on CIFAR-10, with the rate for 32 and with its own."""
    common, steps = _common("cifar10", size, LARGE_BATCH), _LARGE_STEPS
    sweep = training.range_test_cell(
        "large/increments",
        "batch 2,048, exponential increments",
        common,
        **{**_SWEEP, "steps": steps},
    )
    test = training.range_test_cell(
        "large/range test", "batch 2,048, range test", common, steps=steps, max_steps=2 * steps
    )
    policies = {
        "one_cycle-rule": ("1cycle, a tenth at 32", {**_SWEEP, **_common("cifar10", size)}),
        "one_cycle-own": ("1cycle, a tenth at 2,048", sweep.settings),
        "one_cycle-found": ("1cycle, our rate at 2,048", test.settings),
    }
    found = [sweep, test]
    for name, (label, rates) in policies.items():
        settings = {**common, "policy": name, "rates": rates}
        found.append(Cell(f"large/{name}", f"batch 2,048, {label}", settings))
    left_out = ("large/increments", "large/one_cycle-own") if size.quick else ()
    return [replace(cell, most_seeds=2) for cell in found if cell.name not in left_out]


def open_stage(size: Size) -> Stage:
    """Loads the tasks."""
    tasks = {
        name: _load(name, size) for name in dict.fromkeys(c.settings["task"] for c in cells(size))
    }

    @functools.cache
    def trainer(name: str, wanted_batch: int, epochs: int) -> training.Trainer:
        task = tasks[name]
        if isinstance(task, Tabular):
            split = training.Split(task.x_train, task.y_train, task.x_heldout, task.y_heldout)
            objective = make_objective(None, "rmse", task.target.scale)
            build = functools.partial(dense_network, task.x_train.shape[1], HIDDEN, 1)
        else:
            split, objective = task.split, training.OF_IMAGES
            build = training.conv_network(task, FILTERS, DENSE)
        rows = len(split.x_train)
        batch = min(wanted_batch, rows // 2)
        steps = rows // batch * epochs
        return training.Trainer(
            split=split, build=build, objective=objective, batch_size=batch, steps=steps
        )

    def run(cell: Cell, seed: int, results: Results) -> Outcome:
        settings = cell.settings
        here = trainer(settings["task"], settings["batch_size"], settings["epochs"])
        if cell.name.endswith("/increments"):
            result = here.range_test(seed, **settings["range_test"])
            return training.tested(result, rule=_articles_rule(result))
        return training.find_or_train(here, cell, seed, results, _schedule)

    notes: list[str] = []
    for name, task in tasks.items():
        title = TASKS[name]
        notes += [n if n.startswith(title) else f"{title}: {n}" for n in task.notes]
    return Stage((*notes, _ON_BOSTON) if "boston" in tasks else tuple(notes), run)


def _load(name: str, size: Size) -> training.ImageTask | Tabular:
    if size.quick:
        if name != "boston":
            return training.quick_images()
        frame: Any = load_diabetes(as_frame=True)
        return prepare(frame.frame, "target", name="diabetes")
    if name == "boston":
        return prepare(datasets.boston_housing(), "MEDV", name="boston_house_prices.csv")
    images = datasets.cifar10() if name == "cifar10" else datasets.fashion_mnist()
    return training.image_task(images)


def _articles_rule(result: RangeTestResult) -> float | None:
    """A tenth of the rate before the loss shoots up: where the smoothed loss is lowest."""
    known = np.isfinite(result.smoothed)
    if not known.any():
        return None
    return float(result.lrs[np.argmin(np.where(known, result.smoothed, np.inf))]) / 10.0


def _schedule(cell: Cell, seed: int, results: Results, steps: int) -> Schedule | None:
    if "lr" in cell.settings:
        return Constant(cell.settings["lr"])
    group, _, policy = cell.name.partition("/")
    constant = policy.startswith("constant")
    if policy.endswith("-found"):
        found = training.found_rates(results, f"{group}/range test", seed)
        if found is None:
            return None
        return Constant(found[1]) if constant else OneCycle(found[1], steps)
    source = "large" if policy.endswith("-own") else cell.settings["task"]
    top = results(f"{source}/increments", seed).values["rule"]
    if top is None:
        return None
    return Constant(top) if constant else articles_one_cycle(top, steps)


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


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """The article's figure of fixed rates, then for each task the policies and our range test."""
    fixed = trainings_chart(
        record,
        "fixed_rates",
        "CIFAR-10, fixed rates",
        {f"cifar10/rate {lr:g}": f"{lr:g}" for lr in FIXED_RATES},
        curve="train_loss",
        value="training loss",
        percent=False,
        note="Training loss by rate.",
        y_limits=(0.0, 3.0),
    )
    drawn = [fixed]
    for task, name in TASKS.items():
        policies = trainings_chart(
            record,
            f"policies_{task}",
            f"{name}, held-out loss",
            {f"{task}/{policy}": label for policy, label in _SHORT.items()},
            curve="loss",
            value="held-out loss",
            percent=False,
            note="Means and seeds; the rate by the article's rule, or ours.",
            reference=_SHORT["constant-rule"],
        )
        starts = [line.y[0] for line in policies.lines if line.y and line.y[0] is not None]
        limits = (0.0, 1.1 * max(starts)) if starts else None
        drawn.append(replace(policies, y_limits=limits))
        drawn.append(range_test_chart(record, f"{task}/range test", task, name))
    return tuple(drawn)


def tables(record: Reproduction) -> tuple[Table, ...]:
    """1cycle against constant, and the large batch."""
    return _main_table(record), _large_table(record)


def _main_table(record: Reproduction) -> Table:
    rows: list[tuple[str, ...]] = []
    for task, name in TASKS.items():
        for policy, label in _POLICIES.items():
            cell = f"{task}/{policy}"
            if record.of(cell):
                told = "better, faster" if policy == "one_cycle-rule" else MISSING
                numbers = _numbers(record, task, cell)
                rows.append((f"{name}, {label}", told, *numbers, _reached(record, cell)))
    seeds = {name: len(record.of(f"{task}/constant-rule")) for task, name in TASKS.items()}
    shown = ", ".join(f"{name} {number}" for name, number in seeds.items() if number)
    legend = (
        "Metric: held-out accuracy, or the root mean square error of Boston Housing in 1,000 "
        "dollars. A tenth: of the rate before the loss shoots up, as in the article. Reached "
        "after: the share of its steps after which the held-out loss was at the final one of the "
        "constant rate with the same top rate. Mean ± standard deviation over the seeds: "
        f"{shown}."
    )
    heads = ("policy", "article", "top rate", "metric", "loss", "reached after")
    return Table("Article and here", heads, tuple(rows), legend)


def _numbers(record: Reproduction, task: str, cell: str) -> tuple[str, ...]:
    metric = say.measured(record, cell, "metric", share=task != "boston")
    return (say.top_rates(record, cell), metric, say.measured(record, cell, "loss"))


def _reached(record: Reproduction, cell: str) -> str:
    if "/one_cycle" not in cell:
        return MISSING
    part = say.reached_after(record, cell, cell.replace("one_cycle", "constant"))
    return "never" if part is None else f"{100 * part:.0f} % of steps"


def _large_table(record: Reproduction) -> Table:
    labels = {
        "large/one_cycle-rule": ("a tenth, found at 32", "NaN"),
        "large/one_cycle-own": ("a tenth, found at 2,048", MISSING),
        "large/one_cycle-found": ("our rate, found at 2,048", MISSING),
        "cifar10/one_cycle-rule": ("for comparison: batch 32, a tenth", "better"),
    }
    rows = tuple(
        (label, told, *_numbers(record, "cifar10", cell))
        for cell, (label, told) in labels.items()
        if record.of(cell)
    )
    legend = (
        "CIFAR-10, 1cycle, the same epochs, of which a batch of 2,048 takes 64 times fewer steps."
    )
    heads = ("1cycle, batch 2,048", "article", "top rate", "accuracy", "loss")
    return Table("A batch of 2,048", heads, rows, legend)


def lessons(record: Reproduction) -> tuple[str, ...]:
    """1cycle against constant for each task; which rate; the large batch; fixed rates."""
    on_tasks = [_on_task(record, task) for task in TASKS]
    return say.sentences(*on_tasks, _on_rates(record), _on_batch(record), _on_fixed(record))


def _on_task(record: Reproduction, task: str) -> str:
    parts: list[str] = []
    for kind, words in (("rule", "the article's rule"), ("found", "our range test's rate")):
        one, other = f"{task}/one_cycle-{kind}", f"{task}/constant-{kind}"
        told = say.loss_beside(record, one, other)
        if told is None:
            continue
        part = say.reached_after(record, one, other)
        when = (
            "" if part is None else f", whose end it reaches after {100 * part:.0f} % of its steps"
        )
        parts.append(f"by {words} {told} the constant rate{when}")
    return f"{TASKS[task]}: 1cycle has {'; '.join(parts)}." if parts else ""


def _on_rates(record: Reproduction) -> str:
    parts: list[str] = []
    for task, name in TASKS.items():
        rule = say.middle(record.values(f"{task}/increments", "rule"))
        found = say.middle(record.values(f"{task}/range test", "max_lr"))
        if rule is None or found is None:
            continue
        told = say.loss_beside(record, f"{task}/one_cycle-found", f"{task}/one_cycle-rule")
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
        f"{words} {say.measured(record, cell, 'metric', share=True)}"
        for cell, words in (
            ("large/one_cycle-rule", "the rate for 32 gives"),
            ("large/one_cycle-found", "our test's rate for 2,048"),
            ("cifar10/one_cycle-rule", "a batch of 32"),
        )
        if record.of(cell)
    ]
    found = say.rates(record.values("large/range test", "max_lr"))
    return (
        f"A batch of 2,048 {fate} with the rate for 32. Our range test for it says {found}. "
        f"Accuracy after the same epochs: {', '.join(accuracies)}."
    )


def _on_fixed(record: Reproduction) -> str:
    ends = {
        lr: record.mean(f"cifar10/rate {lr:g}", "train_loss")
        for lr in FIXED_RATES
        if record.of(f"cifar10/rate {lr:g}")
    }
    known = {lr: loss for lr, loss in ends.items() if loss is not None}
    if not known:
        return ""
    best, worst = min(known, key=lambda lr: known[lr]), max(known, key=lambda lr: known[lr])
    lost = [f"{lr:g}" for lr in ends if lr not in known]
    bad = f"; {', '.join(lost)} diverged" if lost else ""
    return (
        f"Of the fixed rates on CIFAR-10, {best:g} ends with the lowest training loss "
        f"({known[best]:.3f}); the highest loss at the end, {known[worst]:.3f}, is that of "
        f"{worst:g}{bad}."
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
    article="""
        The rate is found by a few hundred steps at exponentially rising rates from 1e-6 to 10:
        about a tenth of the point before the loss shoots up.

        1cycle goes up linearly to that rate in the first half of the training, from a tenth of it,
        and down again; the last steps drop by several orders of magnitude.

        A convolutional network on CIFAR-10 and on Fashion-MNIST and a dense one on Boston Housing,
        batches of 32: clearly better and faster than without. Batches of 2,048 led to exploding
        updates and NaN. A figure shows the training loss for several rates.
    """,
    differences="""
        The networks, the lengths and the figures' numbers are not given in its text. Here: two
        convolutions of 16 and 32 filters and a dense layer of 64; 64 and 32 units for Boston
        Housing; plain SGD; 12 epochs of the images and 100 of the table.

        The point before the loss shoots up is read as the lowest one of the smoothed loss.

        The data are standardised, as the article asks.

        Beyond the article: both policies also run with the rate of our range test.
    """,
    backend="tensorflow",
    seeds=3,
    minutes=110,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
