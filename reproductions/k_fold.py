"""Cycles under cross-validation: restarted in every fold, or continued? One range test, or many?"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._comparison import Difference, difference
from cyclerate.compare._cross_validation import CrossValidation, cross_validate
from cyclerate.compare._policies import Budget, Rates
from cyclerate.compare._wording import MISSING
from cyclerate.schedules import Schedule, Triangular, from_dict
from cyclerate.tables import prepare
from reproductions import _phrases as say, datasets
from reproductions._charts import Chart, Line
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions.cardio import made_up_table

BATCH = 350
FOLDS = 5
HIDDEN = (64, 32)
_FULL = 10  # epochs of a fold
_CUT = 4  # epochs of half a cycle that does not divide them

# Name: label, policy, what the schedule does at the end of a fold, what a range test is for.
_CELLS = {
    "fixed": ("fixed rate", "fixed", "fold", "run"),
    "whole": ("whole cycles, restarted", "whole", "fold", "run"),
    "whole-tests": ("whole cycles, test per fold", "whole", "fold", "fold"),
    "cut": ("cut cycles, restarted", "cut", "fold", "run"),
    "cut-on": ("cut cycles, continued", "cut", "continue", "run"),
    "one_cycle": ("1cycle, restarted", "one_cycle", "fold", "run"),
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
    epochs = size.epochs(_FULL, quick=5)
    halves = {"whole": epochs / 10, "cut": _CUT * epochs / _FULL}
    common = {
        "epochs": epochs,
        "folds": 2 if size.quick else FOLDS,
        "batch_size": BATCH,
        "hidden": list(HIDDEN),
    }
    return tuple(
        Cell(
            name,
            label,
            {
                "policy": policy,
                "reset": reset,
                "range_test": range_test,
                "half_cycle_epochs": halves.get(policy),
                **common,
            },
        )
        for name, (label, policy, reset, range_test) in _CELLS.items()
        if range_test == "run" or not size.quick  # many range tests are not quick
    )


def open_stage(size: Size) -> Stage:
    """Loads the table, or makes up a small one for a quick run: all its rows are in the folds."""
    name = "made-up table" if size.quick else "cardio_train.csv"
    frame = made_up_table(700) if size.quick else datasets.cardio()
    table = prepare(frame, "cardio", name=name, drop=["id"])
    x = np.concatenate([table.x_train, table.x_heldout])
    y: NDArray[Any] = np.concatenate([table.y_train, table.y_heldout]).astype(np.float32)

    def run(cell: Cell, seed: int, _results: Results) -> Outcome:
        settings = cell.settings
        found = cross_validate(
            make_model,
            x,
            y,
            folds=settings["folds"],
            policy=_policy(settings),
            reset=settings["reset"],
            range_test=settings["range_test"],
            epochs=settings["epochs"],
            batch_size=min(BATCH, len(x) // 20),
            seeds=[seed],
            verbose=0,
        )
        return outcome_of(found)

    rows = f"{name}: {len(x):,} rows, {x.shape[1]} inputs."
    scaled = "Means and scales are those of four fifths of the rows, the same for all folds."
    return Stage((rows, *table.notes, scaled), run)


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
    tests = [test for _, test in sorted(found.range_tests.items())]
    return Outcome(
        values={
            "metric": statistics.fmean(metric),
            "loss": statistics.fmean(scores["loss"]),
            "steps": float(found.cells[0].steps[-1]),
            "range_test_steps": float(sum(test.steps for test in tests)),
        },
        curves={
            "metric": tuple(metric),
            "loss": tuple(scores["loss"]),
            "first_step": tuple(map(float, found.first_steps)),
            "max_lr": tuple(test.max_lr for test in tests),
        },
        schedule=found.schedules[0].to_dict(),
        seconds=sum(cell.seconds for cell in found.cells),
    )


def compared(record: Reproduction, one: str, other: str, value: str = "metric") -> Difference:
    """A cell less another, pair by pair: the same seed and the same fold."""
    first, second = (
        {
            (run.seed, fold): score
            for run in record.of(cell)
            for fold, score in enumerate(run.outcome.curves[value])
        }
        for cell in (one, other)
    )
    pairs = [(a, second.get(place)) for place, a in first.items()]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return difference(_CELLS[one][0], _CELLS[other][0], "accuracy", known)


def tables(record: Reproduction) -> tuple[Table, ...]:
    """The scores of each cell, and the differences that answer the questions."""
    rows = tuple(_row(record, cell) for cell in cells(record.size) if record.of(cell.name))
    legend = (
        "Held-out accuracy and loss at the end of a fold: the mean of all folds, ± its standard "
        "deviation over the seeds. Sd over folds: that of all runs. Steps of tests: what "
        "the range tests of one cross-validation cost."
    )
    answers = tuple(_answer(record, *pair) for pair in _QUESTIONS if all(map(record.of, pair)))
    legend_of_pairs = (
        "Accuracy, in points, of pairs of the same seed and fold; a 95 % bootstrap interval of the "
        "mean. Folds share training rows, so that pairs are not independent: the true intervals "
        "are wider."
    )
    heads = ("policy", "accuracy", "sd over folds", "loss", "highest rate", "steps of tests")
    heads_of_pairs = ("first less second", "difference", "95 % interval", "pairs", "verdict")
    return (
        Table("Policies", heads, rows, legend),
        Table("Pair by pair", heads_of_pairs, answers, legend_of_pairs),
    )


def _row(record: Reproduction, cell: Cell) -> tuple[str, ...]:
    runs = record.of(cell.name)
    every = [v for run in runs for v in run.outcome.curves["metric"] if v is not None]
    # The highest rate of the fixed one is the rate itself: it has no range test.
    tops = [rate for run in runs for rate in run.outcome.curves["max_lr"] or [run.outcome.top_rate]]
    tests = record.mean(cell.name, "range_test_steps")
    return (
        cell.label,
        say.measured(record, cell.name, "metric", share=True, decimals=2),
        say.points(statistics.stdev(every), 2) if len(every) > 1 else MISSING,
        say.measured(record, cell.name, "loss", decimals=4),
        say.rates(tops),
        f"{tests:,.0f}" if tests else MISSING,
    )


def _answer(record: Reproduction, one: str, other: str) -> tuple[str, ...]:
    found = compared(record, one, other)
    mean = MISSING if found.mean is None else f"{100 * found.mean:+.2f}"
    pairs = str(len(found.pairs))
    names = f"{_CELLS[one][0]} - {_CELLS[other][0]}"
    return (names, mean, _interval(found) or MISSING, pairs, found.verdict)


def _interval(found: Difference) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """The accuracy of every fold, and the rates over the folds, restarted and continued."""
    return (
        _by_fold(record, "cut", "cut cycles"),
        _by_fold(record, "one_cycle", "1cycle"),
        Chart(
            name="rates",
            title="The rate over all folds, first seed",
            x_label="step, all folds one after another",
            y_label="learning rate",
            lines=(
                _rate_line(record, "cut", "cut"),
                _rate_line(record, "cut-on", "cut, continued"),
                _rate_line(record, "one_cycle-on", "1cycle on"),
            ),
            caption="Folds are equally long, and follow one another.",
            alt="Line chart of the learning rate over the steps of all folds.",
            reference="cut",
        ),
    )


def _by_fold(record: Reproduction, cell: str, words: str) -> Chart:
    lines = (_fold_line(record, cell, "restarted"), _fold_line(record, f"{cell}-on", "continued"))
    least = "; ".join(f"{a.name} {say.share(min(filter(None, a.y)), 2)}" for a in lines if a.y)
    return Chart(
        name=f"accuracy_{cell}",
        title=f"Accuracy of each fold, {words}",
        x_label="fold",
        y_label="held-out accuracy",
        lines=lines,
        caption="Means and seeds. Folds differ in their rows, too: look at the gap of the lines.",
        alt=f"Line chart of the held-out accuracy over the folds. The lowest: {least}.",
        percent=True,
        reference="restarted",
    )


def _fold_line(record: Reproduction, cell: str, label: str) -> Line:
    series = [run.outcome.curves["metric"] for run in record.of(cell)]
    if not series:
        return Line(label)
    folds = [fold + 1.0 for fold in range(len(series[0]))]
    mean = [_mean_of_fold(record, cell, fold) for fold in range(len(folds))]
    return Line(label, folds, mean, tuple((folds, one) for one in series if len(series) > 1))


def _mean_of_fold(record: Reproduction, cell: str, fold: int) -> float | None:
    values = [run.outcome.curves["metric"][fold] for run in record.of(cell)]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _rate_line(record: Reproduction, cell: str, label: str) -> Line:
    runs = record.of(cell)
    if not runs:
        return Line(label)
    schedule, steps, firsts = _folds(runs[0].outcome)
    within = np.unique(np.linspace(0, steps - 1, 60).astype(np.int64)).tolist()
    x = [fold * steps + step for fold in range(len(firsts)) for step in within]
    return Line(label, x, [float(schedule(first + step)) for first in firsts for step in within])


def _folds(outcome: Outcome) -> tuple[Schedule, int, list[int]]:
    """The schedule, the steps of a fold, and the step of the schedule at which each begins."""
    firsts = [int(first or 0) for first in outcome.curves["first_step"]]
    return from_dict(outcome.schedule or {}), int(outcome.values["steps"] or 0), firsts


def lessons(record: Reproduction) -> tuple[str, ...]:
    """What cycles gain under cross-validation, whether to restart them, and how often to test."""
    return say.sentences(
        _on_policies(record), _on_cut(record), _on_one_cycle(record), _on_tests(record)
    )


def _on_policies(record: Reproduction) -> str:
    means = [record.mean(name, "metric") for name in ("fixed", "whole", "one_cycle")]
    fixed, whole, one_cycle = (None if mean is None else say.share(mean, 2) for mean in means)
    if None in (fixed, whole, one_cycle):
        return ""
    return (
        f"The fixed rate gives {fixed}, whole cycles {whole} "
        f"({_phrase(compared(record, 'whole', 'fixed'))}), 1cycle {one_cycle} "
        f"({_phrase(compared(record, 'one_cycle', 'fixed'))}). Whole cycles are the same whether "
        "they are restarted or continued: each fold begins where a cycle does."
    )


def _on_cut(record: Reproduction) -> str:
    found = compared(record, "cut-on", "cut")
    if found.mean is None:
        return ""
    outcome = record.of("cut-on")[0].outcome
    schedule, steps, firsts = _folds(outcome)
    low, high = ((outcome.schedule or {})[name] for name in ("base_lr", "max_lr"))
    gaps = {
        fold: on - restarted
        for fold in range(len(firsts))
        if (on := _mean_of_fold(record, "cut-on", fold)) is not None
        and (restarted := _mean_of_fold(record, "cut", fold)) is not None
    }
    worst = min(gaps, key=lambda fold: gaps[fold])
    first_end, worst_end = (
        say.share((schedule(firsts[fold] + steps - 1) - low) / (high - low), 0)
        for fold in (0, worst)
    )
    return (
        "Where the end of a fold cuts a cycle, a schedule that is continued gives each fold "
        f"another part of it. Continued, less restarted: {_phrase(found)}. The fold that loses "
        f"most is number {worst + 1}, by {say.points(gaps[worst], 2, signed=True)}: it ends where "
        f"the rate is at {worst_end} of the way from base_lr to max_lr; restarted, every fold ends "
        f"at {first_end}."
    )


def _on_one_cycle(record: Reproduction) -> str:
    found = compared(record, "one_cycle-on", "one_cycle")
    if found.mean is None:
        return ""
    return (
        "A 1cycle that is continued is one cycle over all folds, while the weights are new in "
        f"each: {_phrase(found)} against a 1cycle of each fold's own."
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
        f"rates for 1cycle are {say.rates(rates)}, and finding them takes {cost:,.0f} steps "
        "instead of those of one test."
    )


def _phrase(found: Difference) -> str:
    if found.mean is None:
        return found.verdict
    interval = _interval(found)
    within = f", interval {interval}" if interval else ""
    return f"{say.points(found.mean, 2, signed=True)}{within}: {found.verdict}"


EXPERIMENT = Experiment(
    name="k-fold",
    title="Cyclical rates under cross-validation",
    source="A question in the thread Cyclical Learning Rate for Keras, fast.ai forum 2017",
    article="""
        Below the announcement of a Keras callback for cyclical rates, a reader asks how to train on
        k folds with it: should the cycle restart in each fold, or go on where it was, and is
        there a better way to use cycles with folds?

        The one answer: the folds should not differ so much that they need rates of their own.
        Nobody gives a number.
    """,
    differences="""
        The forum's data are not known. Here it is the cardiovascular table, a dense network with
        64, 32 and 1 outputs, plain SGD, batches of 350, 10 epochs in each of 5 folds. Weights and
        optimizer are new in every fold; only the schedule may go on.

        Whole cycles: half a cycle is 1 epoch, so that folds begin and end with a cycle. Cut cycles:
        half a cycle is 4 epochs, so that a fold that goes on begins at another phase.

        All rows are in the folds; the part held out in preparing the table only decides whose means
        and scales are used.

        One range test per run: on the training rows of the first fold, some of which the other
        folds hold out. One per fold: on that fold's training rows alone.
    """,
    backend="jax",
    seeds=3,
    minutes=12,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
