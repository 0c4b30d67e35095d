"""Cyclical rates on the cardiovascular disease table, with a dense network and plain SGD."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._dense import DenseTrainer
from cyclerate.compare._objective import make_objective
from cyclerate.compare._trainer import Split
from cyclerate.compare._wording import MISSING
from cyclerate.schedules import Constant, OneCycle, Schedule, Triangular
from cyclerate.tables import Tabular, prepare
from reproductions import saying
from reproductions._charts import Chart
from reproductions._experiment import Experiment
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions._tables import Table, measured
from reproductions._training import NO_RATE, Plan, line, train
from reproductions.finding import find_rate, found_rates, range_test_cell, range_test_chart
from reproductions.published import cardio

if TYPE_CHECKING:
    import pandas as pd

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
    return tuple(cell for scaling in SCALINGS for cell in _cells_of(scaling, full, short))


def _cells_of(scaling: str, full: int, short: int) -> list[Cell]:
    common = {"scaling": scaling, "batch_size": BATCH, "hidden": list(HIDDEN)}
    test = range_test_cell(f"{scaling}/range test", f"range test, {scaling}", full, common)
    policies = [
        ("fixed", f"fixed {FIXED_RATE}", {"epochs": full}),
        ("triangular-2", "triangular 2", _cycles(full, 2)),
        ("triangular-10", "triangular 10", _cycles(full, 10)),
        ("one_cycle", "1cycle", {"epochs": full}),
        ("one_cycle-short", "1cycle, short", {"epochs": short}),
    ]
    return [
        test,
        *(
            Cell(
                f"{scaling}/{name}",
                f"{label}, {scaling}",
                {**common, "policy": name, **more, "rates": test.settings},
            )
            for name, label, more in policies
        ),
    ]


def _cycles(epochs: int, half: int) -> dict[str, Any]:
    """As many whole cycles as the epochs hold, at least one; the halves shortened if need be."""
    half = min(half, max(epochs // 2, 1))
    return {"epochs": max(epochs // (2 * half), 1) * 2 * half, "half_cycle_epochs": half}


@dataclass
class CardioStage:
    """The table, scaled in two ways."""

    table: Tabular
    _trainers: dict[str, DenseTrainer] = field(default_factory=dict, init=False, repr=False)

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the table."""
        rows = f"{self.table.name}: {self.table.rows:,} rows, {self.table.x_train.shape[1]} inputs."
        again = "Where scaled to 0..1: by the lowest and highest value of the training part."
        return (rows, *self.table.notes, again)

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Runs a range test, or trains with a policy."""
        trainer = self._trainer(cell)
        if "policy" not in cell.settings:
            return find_rate(trainer, seed)
        schedule = _schedule(cell, seed, done, trainer.budget.steps_per_epoch)
        return NO_RATE if schedule is None else train(trainer, schedule, seed)

    def _trainer(self, cell: Cell) -> DenseTrainer:
        if cell.name not in self._trainers:
            table, batch = self.table, min(BATCH, len(self.table.x_train) // 4)
            epoch = len(table.x_train) // batch
            self._trainers = {
                cell.name: DenseTrainer(
                    split=_split(table, cell.settings["scaling"]),
                    objective=make_objective(classes=2),
                    budget=Plan(epoch, epoch * cell.settings["epochs"]),
                    batch_size=batch,
                    hidden=HIDDEN,
                )
            }
        return self._trainers[cell.name]


def _schedule(cell: Cell, seed: int, done: Reproduction, epoch: int) -> Schedule | None:
    policy, steps = cell.settings["policy"], epoch * cell.settings["epochs"]
    if policy == "fixed":
        return Constant(FIXED_RATE)
    found = found_rates(done, f"{cell.settings['scaling']}/range test", seed)
    if found is None:
        return None
    if policy.startswith("one_cycle"):
        return OneCycle(found.max_lr, steps)
    return Triangular(found.base_lr, found.max_lr, epoch * cell.settings["half_cycle_epochs"])


def _split(table: Tabular, scaling: str) -> Split:
    x_train, x_heldout = table.x_train, table.x_heldout
    if scaling == "min-max":
        low, high = x_train.min(axis=0), x_train.max(axis=0)
        x_train, x_heldout = ((x - low) / (high - low) for x in (x_train, x_heldout))
    return Split(x_train, table.y_train, x_heldout, table.y_heldout)


def open_stage(size: Size) -> CardioStage:
    """Loads the table, or makes up a small one for a quick run."""
    name = "made-up table" if size.quick else "cardio_train.csv"
    frame = made_up_table() if size.quick else cardio()
    return CardioStage(prepare(frame, "cardio", name=name, drop=["id"]))


def made_up_table(rows: int = 2000) -> pd.DataFrame:
    """A small table that is like the real one where it matters: a signal, noise, outliers."""
    import pandas as pd

    rng = np.random.default_rng(0)
    age: NDArray[Any] = rng.normal(53, 7, rows).round(2)
    pressure: NDArray[Any] = rng.normal(127, 17, rows).round(1)
    ill = rng.random(rows) < 1 / (1 + np.exp(-(age - 53) / 7 - (pressure - 127) / 10))
    pressure[:5] = 16_000.0
    columns = {"id": range(rows), "age": age, "ap_hi": pressure, "cardio": ill.astype(int)}
    return pd.DataFrame(columns)


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Held-out accuracy over the epochs and the range test, for each scaling."""
    drawn: list[Chart] = []
    for scaling, words in SCALINGS.items():
        drawn.append(_curves(record, scaling, words))
        drawn.append(range_test_chart(record, f"{scaling}/range test", scaling, words))
    return tuple(drawn)


def _curves(record: Reproduction, scaling: str, words: str) -> Chart:
    names = {
        "fixed": f"SGD {FIXED_RATE}",
        "triangular-2": "cycles, 2",
        "triangular-10": "cycles, 10",
        "one_cycle": "1cycle",
        "one_cycle-short": "1cycle, short",
    }
    steps = _steps_per_epoch(record, scaling)
    lines = tuple(
        line(record, f"{scaling}/{cell}", name, "metric", steps) for cell, name in names.items()
    )
    shown = "; ".join(f"{a.name} ends at {a.y[-1]:.1%}" for a in lines if a.y and a.y[-1])
    return Chart(
        name=f"accuracy_{scaling}",
        title=f"Held-out accuracy, {words}",
        x_label="epochs",
        y_label="accuracy",
        lines=lines,
        caption=f"Means and seeds. {words.capitalize()}; batches of {BATCH}.",
        alt=f"Line chart of the held-out accuracy over the epochs: {shown}.",
        percent=True,
        reference=names["fixed"],
    )


def _steps_per_epoch(record: Reproduction, scaling: str) -> int:
    """From the longest run of the fixed rate: its steps over its epochs."""
    runs = record.of(f"{scaling}/fixed")
    steps = [max(filter(None, run.outcome.curves["steps"])) for run in runs]
    return round(max(steps) / runs[0].settings["epochs"]) if runs else 1


def tables(record: Reproduction) -> tuple[Table, ...]:
    """Accuracies beside the article's, and what the range tests said."""
    wanted = [cell for cell in cells(record.size) if "policy" in cell.settings]
    rows = tuple(_row(record, cell) for cell in wanted if record.of(cell.name))
    legend = (
        f"Held-out accuracy at the end, {_seeds(record)}. Triangular 2: half a cycle is 2 epochs; "
        "the article's 65.0 % is for half a cycle of 2 to 10. Top rate: the highest of the "
        "schedule, over the seeds."
    )
    heads = ("policy", "article", "here", "epochs", "top rate")
    return (Table("Article and here", heads, rows, legend),)


def _row(record: Reproduction, cell: Cell) -> tuple[str, ...]:
    runs = record.of(cell.name)
    tops = [_top(run.outcome.schedule) for run in runs]
    return (
        cell.label,
        _ARTICLE.get(cell.name, MISSING),
        measured(record, cell.name, "metric", share=True),
        str(cell.settings["epochs"]),
        saying.rates(tops),
    )


def _top(schedule: dict[str, Any] | None) -> float | None:
    if schedule is None:
        return None
    return schedule["value"] if schedule["type"] == "Constant" else schedule["max_lr"]


def _seeds(record: Reproduction) -> str:
    number = len(record.of("min-max/fixed"))
    return f"mean ± standard deviation over {number} seeds" if number > 1 else "one seed"


def lessons(record: Reproduction) -> tuple[str, ...]:
    """The scaling against the schedule; what cycles gain; how short a run may be."""
    said = (_on_scaling(record), *(_on_cycles(record, scaling) for scaling in SCALINGS))
    return tuple(filter(None, (*said, *(_on_length(record, scaling) for scaling in SCALINGS))))


def _on_scaling(record: Reproduction) -> str:
    fixed = [record.mean(f"{scaling}/fixed", "metric") for scaling in ("min-max", "standard")]
    cycled = saying.difference(record, "min-max/triangular-2", "min-max/fixed", "metric")
    if fixed[0] is None or fixed[1] is None or cycled is None:
        return ""
    gain = fixed[1] - fixed[0]
    distances = [abs(accuracy - _ARTICLE_FIXED) for accuracy in fixed if accuracy is not None]
    nearer = "first" if distances[0] < distances[1] else "second"
    return (
        f"Scaling first. At the fixed rate of {FIXED_RATE} the accuracy is "
        f"{saying.share(fixed[0])} with columns scaled to 0..1 by their extremes and "
        f"{saying.share(fixed[1])} with standardised ones: {saying.signed_points(gain)}, where "
        f"cycles on the first give {saying.signed_points(cycled)}. The {nearer} is nearer to the "
        f"article's {saying.share(_ARTICLE_FIXED)}."
    )


def _on_cycles(record: Reproduction, scaling: str) -> str:
    fixed, names = f"{scaling}/fixed", {"triangular-2": "cycles", "one_cycle": "1cycle"}
    parts = [
        f"{name} {saying.compared(record, f'{scaling}/{cell}', fixed, 'metric')}"
        for cell, name in names.items()
    ]
    tops = record.values(f"{scaling}/range test", "max_lr")
    tip = f" The range test's max_lr is {saying.rates(tops)}, not {FIXED_RATE}." if tops else ""
    words = SCALINGS[scaling]
    return f"With {words}, set against the fixed rate: {' and '.join(parts)}.{tip}"


def _on_length(record: Reproduction, scaling: str) -> str:
    short, fixed = f"{scaling}/one_cycle-short", f"{scaling}/fixed"
    means = [record.mean(cell, "metric") for cell in (short, fixed)]
    if means[0] is None or means[1] is None:
        return ""
    epochs = [record.of(cell)[0].settings["epochs"] for cell in (short, fixed)]
    return (
        f"With {SCALINGS[scaling]}, 1cycle over {epochs[0]} epochs reaches "
        f"{saying.share(means[0])}, the fixed rate over {epochs[1]} epochs "
        f"{saying.share(means[1])}: {saying.compared(record, short, fixed, 'metric')}."
    )


EXPERIMENT = Experiment(
    name="cardio",
    title="Cyclical rates on a medical table",
    source="Fabiana Clemente, Improve Your ML Models Training, Towards AI 2020",
    article=(
        (
            "A dense network of three layers on 70,000 medical examinations, 80 % of them for "
            "training, in batches of 350, with SGD at Keras's default rate 0.01 for 50 epochs: "
            "64.1 % accuracy in training and 64.7 % held out, after about 150 seconds."
        ),
        (
            "With TensorFlow Addons' cyclical rate, half a cycle 2 to 10 epochs long: 64.3 % and "
            "65.0 %, in less than 50 seconds. At 3 seconds an epoch that is about 16 epochs."
        ),
    ),
    differences=(
        (
            "The widths of the layers, the bounds of the cycles and the scaling are not given "
            "there. Here the layers have 64, 32 and 1 outputs, the bounds are those of our range "
            "test, and both usual scalings are run."
        ),
        (
            "The article counts 200 steps in an epoch from all 70,000 rows; trained on are 56,000, "
            "which is 160 steps. Here an epoch is 160."
        ),
        "Cycles are stopped at the end of a whole one.",
    ),
    backend="jax",
    seeds=3,
    minutes=3,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
