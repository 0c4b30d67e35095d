"""Cyclical rates on the cardiovascular disease table, with a dense network and plain SGD."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate.compare._networks import dense_network, make_objective
from cyclerate.compare._wording import MISSING
from cyclerate.schedules import Constant, OneCycle, Schedule, Triangular
from cyclerate.tables import Tabular, prepare
from reproductions import _phrases as say, _training as training, datasets
from reproductions._charts import Chart, range_test_chart, trainings_chart
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size

BATCH = 350
FIXED_RATE = 0.01
HIDDEN = (64, 32)
SCALINGS = {"min-max": "columns scaled to 0..1", "standard": "columns standardised"}
_FULL, _SHORT = 50, 16  # epochs
_ARTICLE = {"min-max/fixed": "64.7 %", "min-max/triangular-2": "65.0 %"}
_ARTICLE_FIXED = 0.647


def cells(size: Size) -> tuple[Cell, ...]:
    """For each scaling: the range test, the article's two policies, longer cycles, and 1cycle."""
    full, short = size.epochs(_FULL, quick=8), size.epochs(_SHORT, quick=4)
    policies = {
        "fixed": (f"fixed {FIXED_RATE}", {"epochs": full}),
        "triangular-2": ("triangular 2", _whole_cycles(full, 2)),
        "triangular-10": ("triangular 10", _whole_cycles(full, 10)),
        "one_cycle": ("1cycle", {"epochs": full}),
        "one_cycle-short": ("1cycle, short", {"epochs": short}),
    }
    found: list[Cell] = []
    for scaling in SCALINGS:
        common = {"scaling": scaling, "batch_size": BATCH, "hidden": list(HIDDEN)}
        test = training.range_test_cell(
            f"{scaling}/range test", f"range test, {scaling}", {**common, "epochs": full}
        )
        found.append(test)
        for name, (label, more) in policies.items():
            settings = {**common, "policy": name, **more, "rates": test.settings}
            found.append(Cell(f"{scaling}/{name}", f"{label}, {scaling}", settings))
    return tuple(found)


def _whole_cycles(epochs: int, half: int) -> dict[str, Any]:
    """As many whole cycles as the epochs hold, at least one; the halves shortened if need be."""
    half = min(half, max(epochs // 2, 1))
    return {"epochs": max(epochs // (2 * half), 1) * 2 * half, "half_cycle_epochs": half}


def open_stage(size: Size) -> Stage:
    """Loads the table, or makes up a small one for a quick run."""
    name = "made-up table" if size.quick else "cardio_train.csv"
    frame = made_up_table() if size.quick else datasets.cardio()
    table = prepare(frame, "cardio", name=name, drop=["id"])
    batch = min(BATCH, len(table.x_train) // 4)

    @functools.cache
    def trainer(scaling: str, epochs: int) -> training.Trainer:
        return training.Trainer(
            split=_split(table, scaling),
            build=functools.partial(dense_network, table.x_train.shape[1], HIDDEN, 1),
            objective=make_objective(classes=2),
            batch_size=batch,
            steps=len(table.x_train) // batch * epochs,
        )

    def run(cell: Cell, seed: int, results: Results) -> Outcome:
        here = trainer(cell.settings["scaling"], cell.settings["epochs"])
        return training.find_or_train(here, cell, seed, results, _schedule)

    rows = f"{name}: {table.rows:,} rows, {table.x_train.shape[1]} inputs."
    again = "Where scaled to 0..1: by the lowest and highest value of the training part."
    return Stage((rows, *table.notes, again), run)


def _schedule(cell: Cell, seed: int, results: Results, steps: int) -> Schedule | None:
    policy, settings = cell.settings["policy"], cell.settings
    if policy == "fixed":
        return Constant(FIXED_RATE)
    found = training.found_rates(results, f"{settings['scaling']}/range test", seed)
    if found is None:
        return None
    if policy.startswith("one_cycle"):
        return OneCycle(found[1], steps)
    return Triangular(*found, steps // settings["epochs"] * settings["half_cycle_epochs"])


def _split(table: Tabular, scaling: str) -> training.Split:
    x_train, x_heldout = table.x_train, table.x_heldout
    if scaling == "min-max":
        low, high = x_train.min(axis=0), x_train.max(axis=0)
        x_train, x_heldout = ((x - low) / (high - low) for x in (x_train, x_heldout))
    return training.Split(x_train, table.y_train, x_heldout, table.y_heldout)


def made_up_table(rows: int = 2000) -> pd.DataFrame:
    """A small table that is like the real one where it matters: a signal, noise, outliers."""
    rng = np.random.default_rng(0)
    age: NDArray[Any] = rng.normal(53, 7, rows).round(2)
    pressure: NDArray[Any] = rng.normal(127, 17, rows).round(1)
    ill = rng.random(rows) < 1 / (1 + np.exp(-(age - 53) / 7 - (pressure - 127) / 10))
    pressure[:5] = 16_000.0
    columns = {"id": range(rows), "age": age, "ap_hi": pressure, "cardio": ill.astype(int)}
    return pd.DataFrame(columns)


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Held-out accuracy over the epochs and the range test, for each scaling."""
    names = {
        "fixed": f"SGD {FIXED_RATE}",
        "triangular-2": "cycles, 2",
        "triangular-10": "cycles, 10",
        "one_cycle": "1cycle",
        "one_cycle-short": "1cycle, short",
    }
    drawn: list[Chart] = []
    for scaling, words in SCALINGS.items():
        runs = record.of(f"{scaling}/fixed")
        steps = [max(filter(None, run.outcome.curves["steps"])) for run in runs]
        epoch = round(max(steps) / runs[0].settings["epochs"]) if runs else 1
        curves = trainings_chart(
            record,
            f"accuracy_{scaling}",
            f"Held-out accuracy, {words}",
            {f"{scaling}/{cell}": name for cell, name in names.items()},
            curve="metric",
            value="held-out accuracy",
            steps_per_epoch=epoch,
            note=f"Means and seeds. {words.capitalize()}; batches of {BATCH}.",
            reference=names["fixed"],
        )
        drawn += [curves, range_test_chart(record, f"{scaling}/range test", scaling, words)]
    return tuple(drawn)


def tables(record: Reproduction) -> tuple[Table, ...]:
    """Accuracies beside the article's, and what the range tests said."""
    rows = tuple(
        (
            cell.label,
            _ARTICLE.get(cell.name, MISSING),
            say.measured(record, cell.name, "metric", share=True),
            str(cell.settings["epochs"]),
            say.top_rates(record, cell.name),
        )
        for cell in cells(record.size)
        if "policy" in cell.settings and record.of(cell.name)
    )
    legend = (
        f"Held-out accuracy at the end, {say.over_seeds(record, 'min-max/fixed')}. Triangular 2: "
        "half a cycle is 2 epochs; the article's 65.0 % is for half a cycle of 2 to 10. Top rate: "
        "the highest of the schedule, over the seeds."
    )
    heads = ("policy", "article", "here", "epochs", "top rate")
    return (Table("Article and here", heads, rows, legend),)


def lessons(record: Reproduction) -> tuple[str, ...]:
    """The scaling against the schedule; what cycles gain; how short a run may be."""
    return say.sentences(
        _on_scaling(record),
        *(_on_cycles(record, scaling) for scaling in SCALINGS),
        *(_on_length(record, scaling) for scaling in SCALINGS),
    )


def _on_scaling(record: Reproduction) -> str:
    first, second = (record.mean(f"{scaling}/fixed", "metric") for scaling in SCALINGS)
    cycled = say.difference(record, "min-max/triangular-2", "min-max/fixed", "metric")
    if first is None or second is None or cycled is None:
        return ""
    nearer = "first" if abs(first - _ARTICLE_FIXED) < abs(second - _ARTICLE_FIXED) else "second"
    return (
        f"Scaling first. At the fixed rate of {FIXED_RATE} the accuracy is {say.share(first)} with "
        f"columns scaled to 0..1 by their extremes and {say.share(second)} with standardised ones: "
        f"{say.points(second - first, signed=True)}, where cycles on the first give "
        f"{say.points(cycled, signed=True)}. The {nearer} is nearer to the article's "
        f"{say.share(_ARTICLE_FIXED)}."
    )


def _on_cycles(record: Reproduction, scaling: str) -> str:
    cycles, one_cycle = (
        say.compared(record, f"{scaling}/{cell}", f"{scaling}/fixed", "metric")
        for cell in ("triangular-2", "one_cycle")
    )
    tops = record.values(f"{scaling}/range test", "max_lr")
    tip = f" The range test's max_lr is {say.rates(tops)}, not {FIXED_RATE}." if tops else ""
    return (
        f"With {SCALINGS[scaling]}, set against the fixed rate: cycles {cycles} and 1cycle "
        f"{one_cycle}.{tip}"
    )


def _on_length(record: Reproduction, scaling: str) -> str:
    short, fixed = f"{scaling}/one_cycle-short", f"{scaling}/fixed"
    reached, rival = (record.mean(cell, "metric") for cell in (short, fixed))
    if reached is None or rival is None:
        return ""
    epochs = [record.of(cell)[0].settings["epochs"] for cell in (short, fixed)]
    return (
        f"With {SCALINGS[scaling]}, 1cycle over {epochs[0]} epochs reaches {say.share(reached)}, "
        f"the fixed rate over {epochs[1]} epochs {say.share(rival)}: "
        f"{say.compared(record, short, fixed, 'metric')}."
    )


EXPERIMENT = Experiment(
    name="cardio",
    title="Cyclical rates on a medical table",
    source="Fabiana Clemente, Improve Your ML Models Training, Towards AI 2020",
    article="""
        A dense network of three layers on 70,000 medical examinations, 80 % of them for
        training, in batches of 350, with SGD at Keras's default rate 0.01 for 50 epochs:
        64.1 % accuracy in training and 64.7 % held out, after about 150 seconds.

        With TensorFlow Addons' cyclical rate, half a cycle 2 to 10 epochs long: 64.3 % and
        65.0 %, in less than 50 seconds. At 3 seconds an epoch that is about 16 epochs.
    """,
    differences="""
        The widths of the layers, the bounds of the cycles and the scaling are not given
        there. Here the layers have 64, 32 and 1 outputs, the bounds are those of our range
        test, and both usual scalings are run.

        The article counts 200 steps in an epoch from all 70,000 rows; trained on are
        56,000, which is 160 steps. Here an epoch is 160.

        Cycles are stopped at the end of a whole one.
    """,
    backend="jax",
    seeds=3,
    minutes=3,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
