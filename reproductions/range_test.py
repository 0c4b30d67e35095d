"""The range test of the slides and of the forum: accuracy over the rate, and too few samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cyclerate.compare._wording import MISSING, Numbers, rate
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Constant, OneCycle
from reproductions import saying
from reproductions._charts import Chart, Line
from reproductions._experiment import Experiment
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions._tables import Table, measured
from reproductions._training import NO_RATE, NetworkTrainer, Plan, line, train
from reproductions.datasets import cifar10
from reproductions.finding import (
    find_rate,
    found_rates,
    outcome_of,
    range_test_cell,
    range_test_chart,
)
from reproductions.networks import ImageTask, conv_network, image_task, quick_images

BATCH = 32
FILTERS, DENSE = (16, 32), 64
FIXED_RATE = 0.01
_EPOCHS = 3
_SIZES: dict[str, int | None] = {"50": 50, "500": 500, "all": None}
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
    found = [Cell("forum/50", "the forum's, 50 samples", {**common, **_FORUM, "samples": "50"})]
    for name in ("50", "all") if size.quick else _SIZES:
        here = {**common, "samples": name}
        for spacing in ("exponential",) if size.quick else _SWEEPS:
            sweep = {"spacing": spacing, "metric": "accuracy", "method": "range"}
            settings = {**here, "sweep": {**_SWEEPS[spacing], **sweep}}
            found.append(Cell(f"{spacing}/{name}", f"{spacing}, {name}", settings, most_seeds=2))
        test = range_test_cell(f"range test/{name}", f"range test, {name}", epochs, here)
        trained = {**common, "epochs": epochs, "rates": test.settings}
        found += [test, Cell(f"one_cycle/{name}", f"1cycle, rate of {name}", trained, 2)]
    fixed = {**common, "epochs": epochs, "lr": FIXED_RATE}
    return (*found, Cell("fixed", f"fixed {FIXED_RATE}", fixed, 2))


@dataclass
class RangeTestStage:
    """The images, and parts of them."""

    task: ImageTask

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the images."""
        return self.task.notes

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Sweeps over the samples of the cell, or trains on all of them."""
        kind, _, name = cell.name.partition("/")
        if kind in _SWEEPS:
            result = self._trainer(name).range_test(seed, repeats=1, **cell.settings["sweep"])
            return sweep_outcome(result)
        if kind == "forum":
            return sweep_outcome(self._forum(cell, seed))
        epochs = cell.settings["epochs"]
        if kind == "range test":
            return find_rate(self._trainer(name, epochs), seed)
        trainer = self._trainer("all", epochs)
        if kind == "fixed":
            return train(trainer, Constant(FIXED_RATE), seed)
        rates = found_rates(done, f"range test/{name}", seed)
        if rates is None:
            return NO_RATE
        return train(trainer, OneCycle(rates.max_lr, trainer.budget.total_steps), seed)

    def _forum(self, cell: Cell, seed: int) -> RangeTestResult:
        steps = cell.settings["epochs"] * -(-50 // BATCH)
        low, high = cell.settings["base_lr"], cell.settings["max_lr"]
        reached = low + (high - low) * (steps - 1) / cell.settings["step_size"]
        return self._trainer("50").range_test(
            seed,
            method="range",
            metric="accuracy",
            spacing="linear",
            start_lr=low,
            end_lr=reached,
            steps=steps,
            repeats=1,
        )

    def _trainer(self, samples: str, epochs: int = 1) -> NetworkTrainer:
        """A trainer on the first samples only (they were drawn at random), as long as on all."""
        split, rows = self.task.split, _SIZES[samples]
        epoch = len(split.x_train) // BATCH
        return NetworkTrainer(
            split=replace(split, x_train=split.x_train[:rows], y_train=split.y_train[:rows]),
            objective=self.task.objective,
            budget=Plan(epoch, epoch * epochs),
            batch_size=BATCH,
            metrics=("accuracy",),
            build=conv_network(self.task, FILTERS, DENSE),
        )


def sweep_outcome(result: RangeTestResult) -> Outcome:
    """A sweep of the accuracy: its best, how ragged it is, and how far it went."""
    outcome = outcome_of(result)
    smoothed = result.smoothed[np.isfinite(result.smoothed)]
    ragged = result.losses - result.smoothed
    more: dict[str, float | None] = {
        "best": float(smoothed.max()) if smoothed.size else None,
        "first": float(smoothed[0]) if smoothed.size else None,
        "ragged": float(np.nanstd(ragged)) if np.isfinite(ragged).any() else None,
        "last_lr": float(result.lrs[-1]),
    }
    return replace(outcome, values={**outcome.values, **more})


def open_stage(size: Size) -> RangeTestStage:
    """Loads CIFAR-10, or small digits for a quick run."""
    return RangeTestStage(quick_images() if size.quick else image_task(cifar10()))


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Accuracy over the rate for each number of samples and spacing; our test; the trainings."""
    drawn = [_accuracies(record, f"{s}/{name}") for s in _SWEEPS for name in _SIZES]
    tests = [
        range_test_chart(record, f"range test/{name}", name.replace(" ", "_"), _samples(name))
        for name in _SIZES
    ]
    return (*drawn, *tests, _trainings(record))


def _samples(name: str) -> str:
    return "all samples" if name == "all" else f"{name} samples"


def _accuracies(record: Reproduction, cell: str) -> Chart:
    spacing, _, name = cell.partition("/")
    lines: list[Line] = []
    for run, result in zip(record.of(cell), record.results(cell), strict=True):
        lrs = result.lrs.tolist()
        raw = (lrs, result.losses.tolist())
        pale = (raw,) if run.seed == record.of(cell)[0].seed else ()
        lines.append(Line(f"seed {run.seed}", lrs, result.smoothed.tolist(), pale))
    best = record.mean(cell, "best")
    shown = "" if best is None else f" Its best, smoothed, is {saying.share(best)}."
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


def _trainings(record: Reproduction) -> Chart:
    lines = [line(record, f"one_cycle/{name}", f"rate of {name}", "metric") for name in _SIZES]
    lines.append(line(record, "fixed", f"fixed {FIXED_RATE}", "metric"))
    ends = "; ".join(f"{a.name} {saying.share(a.y[-1])}" for a in lines if a.y and a.y[-1])
    return Chart(
        name="trainings",
        title="Trained on all, by each rate",
        x_label="optimizer steps",
        y_label="held-out accuracy",
        lines=tuple(lines),
        caption=f"1cycle on all samples, with the max_lr found on a part of them. {ends}.",
        alt=f"Line chart of the held-out accuracy over the steps: {ends}.",
        percent=True,
        reference=f"fixed {FIXED_RATE}",
    )


def tables(record: Reproduction) -> tuple[Table, ...]:
    """What each number of samples shows, and what its rate is worth."""
    return tuple(table for table in (_sweep_table(record), _rate_table(record)) if table.rows)


def _sweep_table(record: Reproduction) -> Table:
    said = {
        "forum/50": "inconclusive",
        "exponential/50": "too few",
        "exponential/500": "no change",
        "exponential/all": "smooth",
    }
    wanted = ["forum/50", *(f"{spacing}/{name}" for spacing in _SWEEPS for name in _SIZES)]
    labels = {cell.name: cell.label for cell in cells(record.size)}
    rows = tuple(
        (
            labels[cell],
            said.get(cell, MISSING),
            measured(record, cell, "best", share=True),
            measured(record, cell, "ragged", share=True),
            saying.rates(record.values(cell, "last_lr")),
            saying.rates([run.outcome.values["max_lr"] for run in record.of(cell)]),
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


def _rate_table(record: Reproduction) -> Table:
    rows = [
        (
            f"found on {_samples(name)}",
            saying.rates([run.outcome.values["max_lr"] for run in record.of(f"range test/{name}")]),
            Numbers(0).text(record.mean(f"range test/{name}", "steps")),
            measured(record, f"one_cycle/{name}", "metric", share=True),
            measured(record, f"one_cycle/{name}", "loss"),
        )
        for name in _SIZES
        if record.of(f"one_cycle/{name}")
    ]
    if record.of("fixed"):
        accuracy = measured(record, "fixed", "metric", share=True)
        fixed = (f"fixed {FIXED_RATE}", rate(FIXED_RATE), "0", accuracy)
        rows.append((*fixed, measured(record, "fixed", "loss")))
    legend = "Trained on all samples, 1cycle but for the last line; held-out values at the end."
    heads = ("rate", "max_lr", "steps to find", "accuracy", "loss")
    return Table("What the rates are worth", heads, tuple(rows), legend)


def lessons(record: Reproduction) -> tuple[str, ...]:
    """How far the forum's sweep went; what 50 samples show; what their rate is worth."""
    said = (_on_range(record), _on_few(record), _on_end(record))
    return tuple(filter(None, (*said, _on_worth(record, "50"), _on_worth(record, "500"))))


def _on_range(record: Reproduction) -> str:
    last = record.mean("forum/50", "last_lr")
    if last is None:
        return ""
    share = (last - _FORUM["base_lr"]) / (_FORUM["max_lr"] - _FORUM["base_lr"])
    steps = record.mean("forum/50", "steps") or 0.0
    return (
        f"Let the sweep be over before the data are: half a cycle of {_FORUM['step_size']} steps, "
        f"but {steps:.0f} steps made, covers {100 * share:.1f} % of the range, up to {rate(last)}. "
        "Count a sweep in steps, not in epochs."
    )


def _on_few(record: Reproduction) -> str:
    few, full = (record.mean(f"exponential/{name}", "best") for name in ("50", "all"))
    ragged = [record.mean(f"exponential/{name}", "ragged") for name in ("50", "all")]
    if few is None or full is None or ragged[0] is None or ragged[1] is None:
        return ""
    learnt = " Most of that rise is these samples learnt by heart." if few > 2 * full else ""
    return (
        f"On 50 samples, seen again and again, the accuracy of the mini-batches goes up to "
        f"{saying.share(few)}, on all to {saying.share(full)}.{learnt} The mini-batches scatter by "
        f"{saying.points(ragged[0])} there and by {saying.points(ragged[1])} on all."
    )


def _on_end(record: Reproduction) -> str:
    """Whether the plot of few samples shows where training on all breaks down."""
    ends: list[float] = []
    for name in ("50", "all"):
        smoothed = [result.smoothed for result in record.results(f"linear/{name}")]
        last = [float(curve[-1]) for curve in smoothed if np.isfinite(curve[-1])]
        if not last:
            return ""
        ends.append(sum(last) / len(last))
    top = rate(_SWEEPS["linear"]["end_lr"])
    hidden = " So the plot of 50 does not show which rates are too high for all."
    return (
        f"At the highest rate of the linear sweep, {top}, the smoothed accuracy is "
        f"{saying.share(ends[0])} on 50 samples and {saying.share(ends[1])} on all."
        f"{hidden if ends[0] > 2 * ends[1] else ''}"
    )


def _on_worth(record: Reproduction, name: str) -> str:
    here, full = f"one_cycle/{name}", "one_cycle/all"
    tops = [saying.middle(record.values(f"range test/{n}", "max_lr")) for n in (name, "all")]
    if tops[0] is None or tops[1] is None or record.mean(here, "metric") is None:
        return ""
    return (
        f"The rate found on {name} samples is {rate(tops[0])} in the middle of the seeds, on all "
        f"{rate(tops[1])}. Trained with it, the held-out accuracy set against the rate of all: "
        f"{saying.compared(record, here, full, 'metric')}."
    )


EXPERIMENT = Experiment(
    name="range-test",
    title="Accuracy against the learning rate, on 50 samples and on all",
    source=(
        "Sayak Paul, Introduction to Cyclical Learning Rates (slides, DataCamp 2018); "
        "fast.ai forum, Cyclical Learning Rate for Keras (2017)"
    ),
    article=(
        (
            "The slides, after Smith: train some epochs while the rate rises linearly, draw the "
            "accuracy over the rate, and note where it begins to rise and where it slows, gets "
            "ragged or falls: the bounds of the cycle."
        ),
        (
            "The forum: with 50 samples, 5 epochs, and a cycle from 1e-5 to 1e-3 with half a "
            "cycle of 500 steps, the plot was inconclusive; 500 samples did not change it. Others "
            "answer that 50 samples are too few, that the accuracy of single mini-batches is hard "
            "to read and wants smoothing, and that some see smooth curves without a ragged part."
        ),
    ),
    differences=(
        (
            "The forum's data and network are not known. Here it is CIFAR-10 (the data of Smith's "
            "figure), a small convolutional network, SGD, batches of 32, so that it takes minutes "
            "without a GPU."
        ),
        (
            "Sweeps of 200 steps, exponential from 1e-5 to 1 and linear from 0.001 to 0.5, on 50, "
            "500 and all samples. Fewer samples are seen again when they run out."
        ),
        "Beyond the article: the rate that each number of samples gives is put to the test.",
    ),
    backend="tensorflow",
    seeds=3,
    minutes=20,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
