"""Cycles under cross-validation: begun anew in every fold, or going on? One range test, or many?"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._cross_validation import CrossValidation, cross_validate
from cyclerate.compare._paired import Difference, difference
from cyclerate.compare._policies import Budget, Rates
from cyclerate.compare._wording import MISSING
from cyclerate.schedules import Schedule, Triangular, from_dict
from cyclerate.tables import Tabular, prepare
from reproductions import saying
from reproductions._charts import Chart, Line
from reproductions._experiment import Experiment
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions._tables import Table, measured
from reproductions.cardio import made_up_table
from reproductions.published import cardio

BATCH = 350
FOLDS = 5
HIDDEN = (64, 32)
_FULL = 10  # epochs of a fold
_CUT = 4  # epochs of half a cycle that does not divide them

_CELLS = {
    "fixed": ("fixed rate", "fixed", "fold", "run"),
    "whole": ("whole cycles, anew", "whole", "fold", "run"),
    "whole-tests": ("whole cycles, test per fold", "whole", "fold", "fold"),
    "cut": ("cut cycles, anew", "cut", "fold", "run"),
    "cut-on": ("cut cycles, going on", "cut", "continue", "run"),
    "one_cycle": ("1cycle, anew", "one_cycle", "fold", "run"),
    "one_cycle-on": ("1cycle, over all folds", "one_cycle", "continue", "run"),
    "one_cycle-tests": ("1cycle, test per fold", "one_cycle", "fold", "fold"),
}
_QUESTIONS = (
    ("whole", "fixed"),
    ("one_cycle", "fixed"),
    ("cut-on", "cut"),
    ("one_cycle-on", "one_cycle"),
    ("whole-tests", "whole"),
    ("one_cycle-tests", "one_cycle"),
)


def cells(size: Size) -> tuple[Cell, ...]:
    """The fixed rate; whole cycles, cycles cut by the end of a fold, and 1cycle."""
    epochs, folds = size.epochs(_FULL, quick=5), 2 if size.quick else FOLDS
    return tuple(
        Cell(
            name,
            label,
            {
                "policy": policy,
                "reset": reset,
                "range_test": range_test,
                "epochs": epochs,
                "half_cycle_epochs": _half_cycle(policy, epochs),
                "folds": folds,
                "batch_size": BATCH,
                "hidden": list(HIDDEN),
            },
        )
        for name, (label, policy, reset, range_test) in _CELLS.items()
        if range_test == "run" or not size.quick  # many range tests are not quick
    )


def _half_cycle(policy: str, epochs: int) -> float | None:
    if policy == "whole":
        return epochs / 10
    return _CUT * epochs / _FULL if policy == "cut" else None


@dataclass
class KFoldStage:
    """The whole table, and cross-validations of a network on it."""

    table: Tabular

    def __post_init__(self) -> None:
        self.x = np.concatenate([self.table.x_train, self.table.x_heldout])
        targets = np.concatenate([self.table.y_train, self.table.y_heldout])
        self.y: NDArray[Any] = targets.astype(np.float32)

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the table."""
        rows = f"{self.table.name}: {len(self.x):,} rows, {self.x.shape[1]} inputs."
        scaled = "Means and scales are those of four fifths of the rows, the same for all folds."
        return (rows, *self.table.notes, scaled)

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Cross-validates a policy with a seed."""
        settings = cell.settings
        found = cross_validate(
            make_model,
            self.x,
            self.y,
            folds=settings["folds"],
            policy=_policy(settings),
            reset=settings["reset"],
            range_test=settings["range_test"],
            epochs=settings["epochs"],
            batch_size=min(BATCH, len(self.x) // 20),
            seeds=[seed],
            verbose=0,
        )
        return outcome_of(found)


def make_model() -> Any:
    """A dense network with logits for an output, and plain SGD at Keras's own rate."""
    import keras

    layers = [keras.layers.Dense(width, activation="relu") for width in HIDDEN]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.SGD(),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
    )
    return model


def _policy(settings: dict[str, Any]) -> Any:
    half = settings["half_cycle_epochs"]
    if half is None:
        return settings["policy"]

    def cycles(rates: Rates, budget: Budget) -> Schedule:
        step_size = max(round(half * budget.steps_per_epoch), 1)
        return Triangular(rates.lowest, rates.highest, step_size)

    return cycles


def outcome_of(found: CrossValidation) -> Outcome:
    """A cross-validation as the outcome of a run: values of all folds, and curves over them."""
    scores = {name: values[0].tolist() for name, values in found.scores.items()}
    metric = scores[found.metric or "loss"]
    tests = {fold: test for (_, fold), test in sorted(found.range_tests.items())}
    return Outcome(
        values={
            "metric": statistics.fmean(metric),
            "loss": statistics.fmean(scores["loss"]),
            "steps": float(found.cells[0].steps[-1]),
            "range_test_steps": float(sum(test.steps for test in tests.values())),
        },
        curves={
            "metric": tuple(metric),
            "loss": tuple(scores["loss"]),
            "first_step": tuple(map(float, found.first_steps)),
            "max_lr": tuple(test.max_lr for test in tests.values()),
        },
        schedule=found.schedules[0].to_dict(),
        seconds=sum(cell.seconds for cell in found.cells),
    )


def open_stage(size: Size) -> KFoldStage:
    """Loads the table, or makes up a small one for a quick run."""
    name = "made-up table" if size.quick else "cardio_train.csv"
    frame = made_up_table(700) if size.quick else cardio()
    return KFoldStage(prepare(frame, "cardio", name=name, drop=["id"]))


def compared(record: Reproduction, one: str, other: str, value: str = "metric") -> Difference:
    """A cell less another, pair by pair: the same seed and the same fold."""
    ends = [
        {
            (run.seed, i): v
            for run in record.of(cell)
            for i, v in enumerate(run.outcome.curves[value])
        }
        for cell in (one, other)
    ]
    pairs = [(a, b) for place, a in ends[0].items() if (b := ends[1].get(place)) is not None]
    known = [(a, b) for a, b in pairs if a is not None]
    return difference(_CELLS[one][0], _CELLS[other][0], "accuracy", known)


def tables(record: Reproduction) -> tuple[Table, ...]:
    """The scores of each cell, and the differences that answer the questions."""
    wanted = [cell for cell in cells(record.size) if record.of(cell.name)]
    heads = ("policy", "accuracy", "sd over folds", "loss", "highest rate", "steps of tests")
    rows = tuple(_row(record, cell) for cell in wanted)
    legend = (
        "Held-out accuracy and loss at the end of a fold: the mean of all folds, ± its standard "
        "deviation over the seeds. Sd over folds: that of all runs. Steps of tests: what "
        "the range tests of one cross-validation cost."
    )
    questions = tuple(_answer(record, *pair) for pair in _QUESTIONS if all(map(record.of, pair)))
    said = (
        "Accuracy, in points, of pairs of the same seed and fold; a 95 % bootstrap interval of the "
        "mean. Folds share training rows, so that pairs are not independent: the true intervals "
        "are wider."
    )
    heads_of_pairs = ("first less second", "difference", "95 % interval", "pairs", "verdict")
    return (
        Table("Policies", heads, rows, legend),
        Table("Pair by pair", heads_of_pairs, questions, said),
    )


def _row(record: Reproduction, cell: Cell) -> tuple[str, ...]:
    runs = record.of(cell.name)
    every = [v for run in runs for v in run.outcome.curves["metric"] if v is not None]
    tests = record.mean(cell.name, "range_test_steps")
    return (
        cell.label,
        measured(record, cell.name, "metric", share=True, decimals=2),
        saying.points(statistics.stdev(every), 2) if len(every) > 1 else MISSING,
        measured(record, cell.name, "loss", decimals=4),
        saying.rates([rate for run in runs for rate in _rates(run.outcome)]),
        f"{tests:,.0f}" if tests else MISSING,
    )


def _rates(outcome: Outcome) -> list[float | None]:
    schedule = outcome.schedule or {}
    return list(outcome.curves["max_lr"]) or [schedule.get("value")]


def _answer(record: Reproduction, one: str, other: str) -> tuple[str, ...]:
    found = compared(record, one, other)
    names = f"{_CELLS[one][0]} - {_CELLS[other][0]}"
    if found.mean is None:
        return (names, MISSING, MISSING, "0", found.verdict)
    interval = MISSING
    if found.low is not None and found.high is not None:
        interval = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
    return (names, f"{100 * found.mean:+.2f}", interval, str(len(found.pairs)), found.verdict)


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """The accuracy of every fold, and the rates over the folds, anew and going on."""
    return (
        _by_fold(record, "cut", ("cut", "cut-on"), "cut cycles"),
        _by_fold(record, "one_cycle", ("one_cycle", "one_cycle-on"), "1cycle"),
        _rate_chart(record),
    )


def _by_fold(record: Reproduction, name: str, pair: tuple[str, str], words: str) -> Chart:
    lines = tuple(
        _fold_line(record, cell, label)
        for cell, label in zip(pair, ("anew", "going on"), strict=True)
    )
    shown = "; ".join(
        f"{one.name} {min(filter(None, one.y)):.2%} at least" for one in lines if one.y
    )
    return Chart(
        name=f"accuracy_{name}",
        title=f"Accuracy of each fold, {words}",
        x_label="fold",
        y_label="held-out accuracy",
        lines=lines,
        caption="Means and seeds. Folds differ in their rows, too: look at the gap of the lines.",
        alt=f"Line chart of the held-out accuracy over the folds: {shown}.",
        percent=True,
        reference="anew",
    )


def _fold_line(record: Reproduction, cell: str, label: str) -> Line:
    series = [list(run.outcome.curves["metric"]) for run in record.of(cell)]
    if not series:
        return Line(label, (), ())
    folds = [i + 1.0 for i in range(len(series[0]))]
    known = [[v for v in values if v is not None] for values in zip(*series, strict=True)]
    mean = [statistics.fmean(values) if values else None for values in known]
    return Line(label, folds, mean, tuple((folds, one) for one in series if len(series) > 1))


def _rate_chart(record: Reproduction) -> Chart:
    lines = (
        _rate_line(record, "cut", "cut, anew"),
        _rate_line(record, "cut-on", "cut, going on"),
        _rate_line(record, "one_cycle-on", "1cycle on"),
    )
    return Chart(
        name="rates",
        title="The rate over all folds, first seed",
        x_label="step, all folds one after another",
        y_label="learning rate",
        lines=lines,
        caption="Folds are equally long, and follow one another.",
        alt="Line chart of the learning rate over the steps of all folds.",
        reference="cut, anew",
    )


def _rate_line(record: Reproduction, cell: str, label: str) -> Line:
    runs = record.of(cell)
    if not runs:
        return Line(label, (), ())
    outcome = runs[0].outcome
    schedule = from_dict(outcome.schedule or {})
    steps = int(outcome.values["steps"] or 0)
    firsts = [int(first or 0) for first in outcome.curves["first_step"]]
    within = np.unique(np.linspace(0, steps - 1, 60).astype(np.int64))
    x = [i * steps + step for i in range(len(firsts)) for step in within.tolist()]
    y = [float(schedule(first + step)) for first in firsts for step in within.tolist()]
    return Line(label, x, y)


def lessons(record: Reproduction) -> tuple[str, ...]:
    """What cycles gain under cross-validation, whether to begin anew, and how often to test."""
    said = (_on_policies(record), _on_cut(record), _on_one_cycle(record), _on_tests(record))
    return tuple(filter(None, said))


def _on_policies(record: Reproduction) -> str:
    means = {name: record.mean(name, "metric") for name in ("fixed", "whole", "one_cycle")}
    if any(mean is None for mean in means.values()):
        return ""
    shares = {name: saying.share(mean or 0.0, 2) for name, mean in means.items()}
    gains = [_phrase(compared(record, name, "fixed")) for name in ("whole", "one_cycle")]
    return (
        f"The fixed rate gives {shares['fixed']}, whole cycles {shares['whole']} ({gains[0]}), "
        f"1cycle {shares['one_cycle']} ({gains[1]}). Whole cycles are the same whether they begin "
        "anew or go on: each fold begins where a cycle does."
    )


def _on_cut(record: Reproduction) -> str:
    found = compared(record, "cut-on", "cut")
    if found.mean is None:
        return ""
    phases = _phases(record)
    worst = min(range(len(phases)), key=lambda fold: _gap(record, fold))
    return (
        "Where the end of a fold cuts a cycle, going on gives each fold another part of it. Going "
        f"on, less beginning anew: {_phrase(found)}. The fold that loses most is number "
        f"{worst + 1}, by {saying.signed_points(_gap(record, worst), 2)}: it ends where the rate "
        f"is at {saying.share(phases[worst], 0)} of the way from base_lr to max_lr; begun anew, "
        f"every fold ends at {saying.share(phases[0], 0)}."
    )


def _on_one_cycle(record: Reproduction) -> str:
    found = compared(record, "one_cycle-on", "one_cycle")
    if found.mean is None:
        return ""
    return (
        "A 1cycle that goes on is one cycle over all folds, while the weights begin anew in each: "
        f"{_phrase(found)} against a 1cycle of each fold's own."
    )


def _on_tests(record: Reproduction) -> str:
    parts: list[str] = []
    for name, words in (("whole", "whole cycles"), ("one_cycle", "1cycle")):
        found = compared(record, f"{name}-tests", name)
        if found.mean is not None:
            parts.append(f"{words} {_phrase(found)}")
    rates = [v for run in record.of("one_cycle-tests") for v in run.outcome.curves["max_lr"]]
    cost = record.mean("one_cycle-tests", "range_test_steps")
    if not parts or cost is None:
        return ""
    return (
        f"A range test in every fold, against one for the run: {'; '.join(parts)}. The folds' own "
        f"rates for 1cycle are {saying.rates(rates)}, and finding them takes {cost:,.0f} steps "
        "instead of those of one test."
    )


def _phrase(found: Difference) -> str:
    if found.mean is None:
        return found.verdict
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f", interval {100 * found.low:+.2f} to {100 * found.high:+.2f}"
    return f"{saying.signed_points(found.mean, 2)}{interval}: {found.verdict}"


def _mean_of_fold(record: Reproduction, cell: str, fold: int) -> float | None:
    values = [run.outcome.curves["metric"][fold] for run in record.of(cell)]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _gap(record: Reproduction, fold: int) -> float:
    on, anew = (_mean_of_fold(record, cell, fold) for cell in ("cut-on", "cut"))
    return 0.0 if on is None or anew is None else on - anew


def _phases(record: Reproduction) -> list[float]:
    """How high the rate stands at the end of each fold that goes on: 0 is base_lr, 1 max_lr."""
    outcome = record.of("cut-on")[0].outcome
    schedule = outcome.schedule or {}
    low, high, half = schedule["base_lr"], schedule["max_lr"], schedule["step_size"]
    steps = int(outcome.values["steps"] or 0)
    line = Triangular(low, high, half)
    ends = [int(first or 0) + steps - 1 for first in outcome.curves["first_step"]]
    return [(line(end) - low) / (high - low) for end in ends]


EXPERIMENT = Experiment(
    name="k-fold",
    title="Cyclical rates under cross-validation",
    source="A question in the thread Cyclical Learning Rate for Keras, fast.ai forum 2017",
    article=(
        (
            "Below the announcement of a Keras callback for cyclical rates, a reader asks how to "
            "train on k folds with it: should the cycle begin anew in each fold, or go on where it "
            "was, and is there a better way to use cycles with folds?"
        ),
        (
            "The one answer: the folds should not differ so much that they need rates of their "
            "own. Nobody gives a number."
        ),
    ),
    differences=(
        (
            "The forum's data are not known. Here it is the cardiovascular table, a dense network "
            "with 64, 32 and 1 outputs, plain SGD, batches of 350, 10 epochs in each of 5 folds. "
            "Weights and optimizer are new in every fold; only the schedule may go on."
        ),
        (
            "Whole cycles: half a cycle is 1 epoch, so that folds begin and end with a cycle. Cut "
            "cycles: half a cycle is 4 epochs, so that a fold that goes on begins at another phase."
        ),
        (
            "All rows are in the folds; the part held out in preparing the table only decides "
            "whose means and scales are used."
        ),
        (
            "One range test per run: on the training rows of the first fold, some of which the "
            "other folds hold out. One per fold: on that fold's training rows alone."
        ),
    ),
    backend="jax",
    seeds=3,
    minutes=12,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
