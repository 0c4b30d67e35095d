"""The range test of the slides and of the forum: accuracy over the rate, and too few samples."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from cyclerate.compare._wording import MISSING, Numbers, rate
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Constant, OneCycle, Schedule
from reproductions import _phrases as say, _training as training, datasets
from reproductions._charts import Chart, Line, range_test_chart, trainings_chart
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size

BATCH = 32
FILTERS, DENSE = (16, 32), 64
FIXED_RATE = 0.01
_FIXED = f"fixed {FIXED_RATE}"
_EPOCHS = 3
_SIZES: dict[str, int | None] = {"50": 50, "500": 500, "all": None}
_SWEEP = {"metric": "accuracy", "method": "range", "repeats": 1}
_SWEEPS = {
    "exponential": {"start_lr": 1e-5, "end_lr": 1.0, "steps": 200},
    "linear": {"start_lr": 1e-3, "end_lr": 0.5, "steps": 200},
}
# The forum's: from 1e-5 to 1e-3 in 500 steps, but 5 epochs of 50 samples are 10 steps.
_FORUM = {"base_lr": 1e-5, "max_lr": 1e-3, "step_size": 500, "epochs": 5}


def cells(size: Size) -> tuple[Cell, ...]:
    """For 50 and 500 samples and all: sweeps of the accuracy, our test, a training by its rate."""
    epochs = size.epochs(_EPOCHS, quick=2)
    common = {"batch_size": BATCH, "filters": list(FILTERS), "dense": DENSE, "rows": "all"}
    forum = {**common, **_FORUM, "samples": "50", "sweep": _forums_sweep()}
    found = [Cell("forum/50", "the forum's, 50 samples", forum)]
    for name in ("50", "all") if size.quick else _SIZES:
        here = {**common, "samples": name}
        for spacing in ("exponential",) if size.quick else _SWEEPS:
            settings = {**here, "sweep": {**_SWEEP, **_SWEEPS[spacing], "spacing": spacing}}
            found.append(Cell(f"{spacing}/{name}", f"{spacing}, {name}", settings, most_seeds=2))
        test = training.range_test_cell(
            f"range test/{name}", f"range test, {name}", {**here, "epochs": epochs}
        )
        trained = {**common, "epochs": epochs, "rates": test.settings}
        found += [test, Cell(f"one_cycle/{name}", f"1cycle, rate of {name}", trained, 2)]
    fixed = {**common, "epochs": epochs, "lr": FIXED_RATE}
    return (*found, Cell("fixed", _FIXED, fixed, 2))


def _forums_sweep() -> dict[str, Any]:
    steps, low, high = int(_FORUM["epochs"]) * -(-50 // BATCH), _FORUM["base_lr"], _FORUM["max_lr"]
    reached = low + (high - low) * (steps - 1) / _FORUM["step_size"]
    return {**_SWEEP, "spacing": "linear", "start_lr": low, "end_lr": reached, "steps": steps}


def open_stage(size: Size) -> Stage:
    """Loads CIFAR-10, or small digits for a quick run."""
    task = training.quick_images() if size.quick else training.image_task(datasets.cifar10())

    @functools.cache
    def trainer(samples: str, epochs: int) -> training.Trainer:
        """Trains on the first samples only (they were drawn at random), as long as on all."""
        split, rows = task.split, _SIZES[samples]
        return training.Trainer(
            split=replace(split, x_train=split.x_train[:rows], y_train=split.y_train[:rows]),
            build=training.conv_network(task, FILTERS, DENSE),
            batch_size=BATCH,
            steps=len(split.x_train) // BATCH * epochs,
            metrics=("accuracy",),
        )

    def run(cell: Cell, seed: int, results: Results) -> Outcome:
        settings = cell.settings
        epochs = 1 if "sweep" in settings else settings["epochs"]
        here = trainer(settings.get("samples", "all"), epochs)
        if "sweep" in settings:
            return sweep_outcome(here.range_test(seed, **settings["sweep"]))
        return training.find_or_train(here, cell, seed, results, _schedule)

    return Stage(task.notes, run)


def _schedule(cell: Cell, seed: int, results: Results, steps: int) -> Schedule | None:
    kind, _, name = cell.name.partition("/")
    if kind == "fixed":
        return Constant(FIXED_RATE)
    rates = training.found_rates(results, f"range test/{name}", seed)
    return None if rates is None else OneCycle(rates[1], steps)


def sweep_outcome(result: RangeTestResult) -> Outcome:
    """A sweep of the accuracy: its best, how ragged it is, and how far it went."""
    smoothed = result.smoothed[np.isfinite(result.smoothed)]
    ragged = result.losses - result.smoothed
    return training.tested(
        result,
        best=float(smoothed.max()) if smoothed.size else None,
        first=float(smoothed[0]) if smoothed.size else None,
        ragged=float(np.nanstd(ragged)) if np.isfinite(ragged).any() else None,
        last_lr=float(result.lrs[-1]),
    )


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Accuracy over the rate for each number of samples and spacing; our test; the trainings."""
    trained = trainings_chart(
        record,
        "trainings",
        "Trained on all, by each rate",
        {**{f"one_cycle/{name}": f"rate of {name}" for name in _SIZES}, "fixed": _FIXED},
        curve="metric",
        value="held-out accuracy",
        note="1cycle on all samples, with the max_lr found on a part of them.",
        reference=_FIXED,
    )
    return (
        *(_accuracies(record, f"{spacing}/{name}") for spacing in _SWEEPS for name in _SIZES),
        *(range_test_chart(record, f"range test/{n}", n, _samples(n)) for n in _SIZES),
        trained,
    )


def _samples(name: str) -> str:
    return "all samples" if name == "all" else f"{name} samples"


def _accuracies(record: Reproduction, cell: str) -> Chart:
    spacing, _, name = cell.partition("/")
    lines: list[Line] = []
    for run in record.of(cell):
        lrs, smoothed = run.result.lrs.tolist(), run.result.smoothed.tolist()
        pale = () if lines else ((lrs, run.result.losses.tolist()),)
        lines.append(Line(f"seed {run.seed}", lrs, smoothed, pale))
    best = record.mean(cell, "best")
    shown = "" if best is None else f" Its best, smoothed, is {say.share(best)}."
    return Chart(
        name=f"accuracy_{spacing}_{name}",
        title=f"{_samples(name).capitalize()}, {spacing} rates",
        x_label="learning rate",
        y_label="accuracy of each mini-batch",
        lines=tuple(lines),
        caption=f"Strong smoothed, pale each mini-batch of the first seed.{shown}",
        alt=f"Line chart of the accuracy over {spacing}ly rising rates, {_samples(name)}.{shown}",
        log_x=spacing == "exponential",
        percent=True,
        y_limits=(-0.02, 1.02),
    )


def tables(record: Reproduction) -> tuple[Table, ...]:
    """What each number of samples shows, and what its rate is worth."""
    return _sweep_table(record), _rate_table(record)


def _sweep_table(record: Reproduction) -> Table:
    told = {
        "forum/50": "inconclusive",
        "exponential/50": "too few",
        "exponential/500": "no change",
        "exponential/all": "smooth",
    }
    labels = {cell.name: cell.label for cell in cells(record.size)}
    wanted = ["forum/50", *(f"{spacing}/{name}" for spacing in _SWEEPS for name in _SIZES)]
    rows = tuple(
        (
            labels[cell],
            told.get(cell, MISSING),
            say.measured(record, cell, "best", share=True),
            say.measured(record, cell, "ragged", share=True),
            say.rates(record.values(cell, "last_lr")),
            _max_lrs(record, cell),
        )
        for cell in wanted
        if record.of(cell)
    )
    legend = (
        "The article's column is what forum and slides say of such plots. Best: of the smoothed "
        "accuracy of the mini-batches. Ragged: standard deviation of the mini-batches around it."
    )
    heads = ("sweep, samples", "article", "best", "ragged", "last rate", "max_lr read")
    return Table("Accuracy against the rate", heads, rows, legend)


def _max_lrs(record: Reproduction, cell: str) -> str:
    return say.rates([run.outcome.values["max_lr"] for run in record.of(cell)])


def _rate_table(record: Reproduction) -> Table:
    found = {
        f"one_cycle/{name}": (
            f"found on {_samples(name)}",
            _max_lrs(record, f"range test/{name}"),
            Numbers(0).text(record.mean(f"range test/{name}", "steps")),
        )
        for name in _SIZES
    }
    found["fixed"] = (_FIXED, rate(FIXED_RATE), "0")
    rows = tuple(
        (
            *row,
            say.measured(record, cell, "metric", share=True),
            say.measured(record, cell, "loss"),
        )
        for cell, row in found.items()
        if record.of(cell)
    )
    legend = "Trained on all samples, 1cycle but for the last line; held-out values at the end."
    heads = ("rate", "max_lr", "steps to find", "accuracy", "loss")
    return Table("What the rates are worth", heads, rows, legend)


def lessons(record: Reproduction) -> tuple[str, ...]:
    """How far the forum's sweep went; what 50 samples show; what their rate is worth."""
    return say.sentences(
        _on_range(record),
        _on_few(record),
        _on_end(record),
        _on_worth(record, "50"),
        _on_worth(record, "500"),
    )


def _on_range(record: Reproduction) -> str:
    last = record.mean("forum/50", "last_lr")
    if last is None:
        return ""
    part = (last - _FORUM["base_lr"]) / (_FORUM["max_lr"] - _FORUM["base_lr"])
    steps = record.mean("forum/50", "steps") or 0.0
    return (
        f"Let the sweep be over before the data are: half a cycle of {_FORUM['step_size']} steps, "
        f"of which {steps:.0f} are taken, covers {say.share(part)} of the range, up to "
        f"{rate(last)}. Count a sweep in steps, not in epochs."
    )


def _on_few(record: Reproduction) -> str:
    few, full, few_ragged, ragged = (
        record.mean(f"exponential/{name}", value)
        for value in ("best", "ragged")
        for name in ("50", "all")
    )
    if few is None or full is None or few_ragged is None or ragged is None:
        return ""
    memorised = " Most of that rise is memorising these samples." if few > 2 * full else ""
    return (
        f"On 50 samples, seen again and again, the accuracy of the mini-batches goes up to "
        f"{say.share(few)}, on all to {say.share(full)}.{memorised} The mini-batches scatter by "
        f"{say.points(few_ragged)} there and by {say.points(ragged)} on all."
    )


def _on_end(record: Reproduction) -> str:
    """Whether the plot of few samples shows where training on all breaks down."""
    ends: list[float] = []
    for name in ("50", "all"):
        curves = [run.result.smoothed for run in record.of(f"linear/{name}")]
        last = [float(curve[-1]) for curve in curves if np.isfinite(curve[-1])]
        if not last:
            return ""
        ends.append(sum(last) / len(last))
    hidden = " So the plot of 50 does not show which rates are too high for all."
    return (
        f"At the highest rate of the linear sweep, {rate(_SWEEPS['linear']['end_lr'])}, the "
        f"smoothed accuracy is {say.share(ends[0])} on 50 samples and {say.share(ends[1])} on all."
        f"{hidden if ends[0] > 2 * ends[1] else ''}"
    )


def _on_worth(record: Reproduction, name: str) -> str:
    here, full = f"one_cycle/{name}", "one_cycle/all"
    top, top_of_all = (
        say.middle(record.values(f"range test/{n}", "max_lr")) for n in (name, "all")
    )
    if top is None or top_of_all is None or record.mean(here, "metric") is None:
        return ""
    return (
        f"The rate found on {name} samples is {rate(top)} in the middle of the seeds, on all "
        f"{rate(top_of_all)}. Trained with it, the held-out accuracy set against the rate of all: "
        f"{say.compared(record, here, full, 'metric')}."
    )


EXPERIMENT = Experiment(
    name="range-test",
    title="Accuracy against the learning rate, on 50 samples and on all",
    source=(
        "Sayak Paul, Introduction to Cyclical Learning Rates (slides, DataCamp 2018); "
        "fast.ai forum, Cyclical Learning Rate for Keras (2017)"
    ),
    article="""
        The slides, after Smith: train some epochs while the rate rises linearly, draw the accuracy
        over the rate, and note where it begins to rise and where it slows, gets ragged or falls:
        the bounds of the cycle.

        The forum: with 50 samples, 5 epochs, and a cycle from 1e-5 to 1e-3 with half a cycle of 500
        steps, the plot was inconclusive; 500 samples did not change it. Others answer that 50
        samples are too few, that the accuracy of single mini-batches is hard to read and wants
        smoothing, and that some see smooth curves without a ragged part.
    """,
    differences="""
        The forum's data and network are not known. Here it is CIFAR-10 (the data of Smith's
        figure), a small convolutional network, SGD, batches of 32, so that it takes minutes without
        a GPU.

        Sweeps of 200 steps, exponential from 1e-5 to 1 and linear from 0.001 to 0.5, on 50, 500 and
        all samples. Fewer samples are seen again when they run out.

        Beyond the article: the rate that each number of samples gives is put to the test.
    """,
    backend="tensorflow",
    seeds=3,
    minutes=20,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
