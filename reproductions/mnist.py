"""Cycles of several shapes on MNIST, with a small convolutional network and Adam."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._wording import MISSING, rate
from cyclerate.schedules import (
    Constant,
    Cyclic,
    ExpRange,
    OneCycle,
    Schedule,
    Triangular2,
    from_dict,
)
from reproductions import _phrases as say, _training as training, datasets
from reproductions._charts import Chart, later_part, range_test_chart, rate_line, trainings_chart
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size

BATCH = 50
BOUNDS = (1e-4, 1e-2)  # the article's
ADAM_RATE = 1e-3
_EPOCHS = 15
_HELDOUT_FRAC = 0.2
_SWEEP = {"method": "range", "start_lr": 1e-4, "end_lr": 1.0, "steps": 960}
# The article's half cycle is 4 epochs of all 60,000 images in a training on 48,000 of them: a third
# of it, which ends at the top. A quarter makes whole cycles.
_ENDS_HIGH, _WHOLE = 3, 4
_ARTICLE = {"bounds": "article", "shape": "triangle", "halves": _WHOLE}

# Name: on charts, in tables, what decides the schedule.
_POLICIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "fixed": ("fixed", f"fixed {ADAM_RATE:g}", {}),
    "article": (
        "article's",
        "triangular as in the article",
        {**_ARTICLE, "halves": _ENDS_HIGH},
    ),
    "linear": ("linear", "linear, whole cycles", _ARTICLE),
    "sinusoidal": ("sinusoidal", "sinusoidal, whole cycles", {**_ARTICLE, "shape": "cosine"}),
    "parabolic": ("parabolic", "parabolic, whole cycles", {**_ARTICLE, "shape": "welch"}),
    "triangular2": ("halved", "linear, halved (triangular2)", {**_ARTICLE, "decay": "cycle"}),
    "exp_range": ("shrinking", "linear, shrinking (exp_range)", {**_ARTICLE, "decay": "step"}),
    "read": ("read here", "linear, bounds read here", {**_ARTICLE, "bounds": "sweep"}),
    "one_cycle": ("1cycle", "1cycle, our rate", {"bounds": "range test"}),
}
_QUICK = ("fixed", "one_cycle")
_SHAPES = ("linear", "sinusoidal", "parabolic")
_DECAYS = ("triangular2", "exp_range")


def cells(size: Size) -> tuple[Cell, ...]:
    """Both range tests; the fixed rate; cycles: the article's, shapes, decays; 1cycle.

    Few of them in a quick run.
    """
    epochs = size.epochs(_EPOCHS, quick=2)
    common = {"batch_size": BATCH, "epochs": epochs, "heldout_frac": _HELDOUT_FRAC}
    tests = {
        "sweep": training.range_test_cell(
            "sweep", "range test as in the article", common, **_SWEEP
        ),
        "range test": training.range_test_cell("range test", "our range test", common),
    }
    if size.quick:
        del tests["sweep"]
    trained: list[Cell] = []
    for name, (_, label, more) in _POLICIES.items():
        if name in _QUICK or not size.quick:
            test = tests.get(more.get("bounds", ""))
            rests_on = None if test is None else test.settings
            trained.append(Cell(name, label, {**common, "policy": name, **more, "rates": rests_on}))
    return (*tests.values(), *trained)


def open_stage(size: Size) -> Stage:
    """Loads the training images, or small digits for a quick run."""
    name, split = load(size)

    @functools.cache
    def trainer(epochs: int) -> training.Trainer:
        return training.Trainer(
            split=split,
            build=network(split.x_train.shape[1:]),
            batch_size=BATCH,
            steps=len(split.x_train) // BATCH * epochs,
            optimizer="adam",
        )

    def run(cell: Cell, seed: int, results: Results) -> Outcome:
        return training.find_or_train(
            trainer(cell.settings["epochs"]), cell, seed, results, schedule
        )

    rows = [f"{len(x):,}" for x in (split.x_train, split.x_heldout)]
    note = (
        f"{name}: {rows[0]} images to train on, the {rows[1]} after them held out, as Keras splits "
        "them. Pixels are divided by 255 in the network."
    )
    return Stage((note,), run)


def load(size: Size) -> tuple[str, training.Split]:
    """The name of the images, and the images: the last fifth is held out; enlarged if small."""
    if size.quick:
        digits = training.quick_images().split
        x: NDArray[Any] = digits.x_train.repeat(2, axis=1).repeat(2, axis=2)
        y: NDArray[Any] = digits.y_train
        name = "small digits"
    else:
        images = datasets.mnist()
        x, y, name = images.x_train, images.y_train, images.name
    first = round(len(x) * (1 - _HELDOUT_FRAC))
    y = y.astype(np.int32)
    return name, training.Split(x[:first], y[:first], x[first:], y[first:])


def network(shape: tuple[int, ...]) -> Callable[[int], Any]:
    """Returns what builds the article's network for images of a shape, from a seed."""

    def build(seed: int) -> Any:
        import keras

        def kernel(number: int) -> Any:
            return keras.initializers.GlorotUniform(seed=1000 * seed + number)

        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input(shape),
                layers.Rescaling(1 / 255),
                layers.Conv2D(32, 3, activation="relu", kernel_initializer=kernel(0)),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 3, activation="relu", kernel_initializer=kernel(1)),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(256, activation="relu", kernel_initializer=kernel(2)),
                layers.Dense(128, activation="relu", kernel_initializer=kernel(3)),
                layers.Dense(training.CLASSES, kernel_initializer=kernel(4)),
            ]
        )

    return build


def schedule(cell: Cell, seed: int, results: Results, steps: int) -> Schedule | None:
    """The schedule of a cell for so many steps; None where it needs a rate that was not found."""
    settings = cell.settings
    if "bounds" not in settings:
        return Constant(ADAM_RATE)
    source = settings["bounds"]
    bounds = BOUNDS if source == "article" else training.found_rates(results, source, seed)
    if bounds is None:
        return None
    if "halves" not in settings:
        return OneCycle(bounds[1], steps)
    half = steps // settings["halves"]
    if settings.get("decay") == "cycle":
        return Triangular2(*bounds, half)
    if settings.get("decay") == "step":
        # As much in a cycle as the halving, a little at every step.
        return ExpRange(*bounds, half, gamma=0.5 ** (1 / (2 * half)))
    return Cyclic(*bounds, half, shape=settings["shape"])


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Held-out accuracy by bounds, by shape, by decay; the rates; both range tests."""
    return (
        _accuracies(record, "bounds", "bounds", "fixed", "article", "linear", "read", "one_cycle"),
        _accuracies(record, "shapes", "shapes of the cycle", "fixed", *_SHAPES),
        _accuracies(record, "decays", "decaying bounds", "linear", *_DECAYS),
        _rates(record),
        range_test_chart(record, "sweep", "sweep", "as in the article"),
        range_test_chart(record, "range test", "ours", "ours"),
    )


def _accuracies(record: Reproduction, name: str, words: str, *cells: str) -> Chart:
    return later_part(
        trainings_chart(
            record,
            f"accuracy_{name}",
            f"Accuracy, {words}",
            {cell: _POLICIES[cell][0] for cell in cells},
            curve="metric",
            value="held-out accuracy",
            steps_per_epoch=_steps_per_epoch(record),
            decimals=2,
            note="Means and seeds; the axis is fitted to the second half of the training.",
            reference=_POLICIES[cells[0]][0],
        )
    )


def _rates(record: Reproduction) -> Chart:
    unit = _steps_per_epoch(record)
    lines: list[Any] = []
    for cell in ("article", *_SHAPES, "triangular2"):
        steps = max((_steps(run.outcome) for run in record.of(cell)), default=1)
        lines.append(rate_line(record, cell, _POLICIES[cell][0], steps, unit))
    return Chart(
        name="rates",
        title="Learning rate",
        x_label="epochs",
        y_label="learning rate",
        lines=tuple(lines),
        caption=(
            "The article's cycle ends at the top; the others are whole cycles between the same "
            "bounds."
        ),
        alt="Line chart of the learning rates over the epochs: cycles of different shapes.",
    )


def _steps(outcome: Outcome) -> int:
    return max(
        (int(step) for step in outcome.curves.get("steps", ()) if step is not None), default=1
    )


def _steps_per_epoch(record: Reproduction) -> int:
    for run in record.runs:
        if run.outcome.curves:
            return round(_steps(run.outcome) / run.settings["epochs"])
    return 1


def tables(record: Reproduction) -> tuple[Table, ...]:
    """The bounds beside the article's; what every policy gives."""
    return _bounds_table(record), _policies_table(record)


def _bounds_table(record: Reproduction) -> Table:
    names = {"sweep": "such a sweep, our reading", "range test": "our range test"}
    rows = [("read by eye", *map(rate, BOUNDS), MISSING, MISSING)]
    for cell, label in names.items():
        values = [run.outcome.values for run in record.of(cell)]
        if values:
            found = (say.rates([one[name] for one in values]) for name in ("base_lr", "max_lr"))
            rows.append((label, MISSING, MISSING, *found))
    heads = ("bounds", "article, lower", "article, upper", "here, lower", "here, upper")
    return Table("Bounds: article and here", heads, tuple(rows), "Learning rates, over the seeds.")


def _policies_table(record: Reproduction) -> Table:
    # A hundredth of a percent is one of 12,000 images; a quick run has few.
    decimals = 1 if record.size.quick else 2
    rows: list[tuple[str, ...]] = []
    for cell, (_, label, _) in _POLICIES.items():
        if record.of(cell):
            end = _rate_at_end(record, cell)
            rows.append(
                (
                    label,
                    "equivalent" if cell in _SHAPES else MISSING,
                    say.measured(record, cell, "metric", share=True, decimals=decimals),
                    say.measured(record, cell, "loss", decimals=4),
                    say.top_rates(record, cell),
                    MISSING if end is None else rate(end),
                )
            )
    legend = (
        f"Held-out accuracy and loss at the end, {say.over_seeds(record, 'fixed')}. The article "
        "runs its own policy and gives no accuracy; of the shapes it says that they are "
        "equivalent. Last rate: where the training ends, in the first seed."
    )
    heads = ("policy", "article", "here", "loss", "top rate", "last rate")
    return Table("Article and here", heads, tuple(rows), legend)


def _rate_at_end(record: Reproduction, cell: str) -> float | None:
    outcome = record.of(cell)[0].outcome
    if outcome.schedule is None:
        return None
    return float(from_dict(outcome.schedule)(_steps(outcome) - 1))


def lessons(record: Reproduction) -> tuple[str, ...]:
    """Bounds; where the training stops; shapes; decay; cycles and 1cycle against a fixed rate."""
    return say.sentences(
        _on_bounds(record),
        _on_the_end(record),
        _on_shapes(record),
        _on_decay(record),
        _on_fixed(record),
    )


def _on_bounds(record: Reproduction) -> str:
    sweep, test = (record.values(cell, "max_lr") for cell in ("sweep", "range test"))
    if not record.of("sweep") or not record.of("range test"):
        return ""
    words = "Linear cycles between the bounds read here, set against those between the article's"
    return (
        f"The article reads {rate(BOUNDS[0])} to {rate(BOUNDS[1])} off its plot by eye. The upper "
        f"bound by our reading of such a sweep: {say.rates(sweep)}; by our range test for 1cycle: "
        f"{say.rates(test)}.{_beside(record, 'read', 'linear', words)}"
    )


def _beside(record: Reproduction, cell: str, other: str, words: str) -> str:
    """A sentence on two cells, or nothing where one of them has no result."""
    if say.difference(record, cell, other, "metric") is None:
        return ""
    return f" {words}: {say.compared(record, cell, other, 'metric', decimals=2)}."


def _on_the_end(record: Reproduction) -> str:
    if say.difference(record, "linear", "article", "metric") is None:
        return ""
    high, low = (_rate_at_end(record, cell) for cell in ("article", "linear"))
    if high is None or low is None:
        return ""
    return (
        "Let a training stop at the bottom of a cycle. The article's half cycle is 4 epochs of all "
        "60,000 images, but it trains on 48,000: three half cycles fit, and it ends at "
        f"{rate(high)}. Whole cycles of nearly the same length end at {rate(low)}; set "
        f"against it: {say.compared(record, 'linear', 'article', 'metric', decimals=2)}."
    )


def _on_shapes(record: Reproduction) -> str:
    means = {_POLICIES[cell][0]: record.mean(cell, "metric") for cell in _SHAPES}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) < len(_SHAPES):
        return ""
    verdict = "within the spread of the seeds"
    if len(record.of("linear")) < 2:
        verdict = "with one seed, which cannot tell them apart"
    elif any(say.order(record, cell, "linear", "metric") for cell in _SHAPES):
        verdict = "clearly, with these seeds"
    gap = say.points(max(known.values()) - min(known.values()), 2)
    each = ", ".join(f"{name} {say.share(mean, 2)}" for name, mean in known.items())
    return f"The shapes differ by {gap} of accuracy at most, {verdict}: {each}."


def _on_decay(record: Reproduction) -> str:
    parts = [
        f"{_POLICIES[cell][0]} {say.compared(record, cell, 'linear', 'metric', decimals=2)}"
        for cell in _DECAYS
        if say.difference(record, cell, "linear", "metric") is not None
    ]
    if not parts:
        return ""
    return f"Decaying bounds, set against linear cycles that stay: {' and '.join(parts)}."


def _on_fixed(record: Reproduction) -> str:
    mean = record.mean("fixed", "metric")
    if mean is None:
        return ""
    orders = {
        cell: say.order(record, cell, "fixed", "metric") for cell in _POLICIES if cell != "fixed"
    }
    lists: list[str] = []
    for words, verdict in (("Clearly above it", 1), ("Clearly below it", -1)):
        chosen = [_POLICIES[cell][1] for cell, found in orders.items() if found == verdict]
        if chosen:
            lists.append(f"{words}: {'; '.join(chosen)}")
    none = "No policy differs from it clearly"
    if len(record.of("fixed")) < 2:
        none = "With one seed no difference to it is clear"
    words = "1cycle with the rate of our range test, set against it"
    return (
        f"Adam at its default of {ADAM_RATE:g} gives {say.share(mean, 2)}. "
        f"{'. '.join(lists) or none}.{_beside(record, 'one_cycle', 'fixed', words)}"
    )


EXPERIMENT = Experiment(
    name="mnist",
    title="Cycles of three shapes, and decaying ones, on MNIST",
    source=(
        "MachineCurve, Training your Neural Network with Cyclical Learning Rates (Feb 2020); "
        "shapes after Smith 2017"
    ),
    article="""
        Two convolutions with 32 and 64 filters, each with max pooling, dense layers of 256
        and 128, softmax; Adam, batches of 50, a fifth held out, 15 epochs. A range test
        over 10 epochs, from 1e-4 to 1: the loss falls from the start, so the lower bound is
        1e-4; it is flat near 1e-2, and unstable above it: the upper bound.

        Triangular cycles between these bounds, half a cycle 4 epochs of all 60,000 images.
        No accuracy is given. Linear, sinusoidal and parabolic cycles are said to give
        equivalent results; decaying bounds are described, not run.
    """,
    differences="""
        The range test like the article's takes one epoch here, not ten, and is read by our
        rule. 1cycle gets its rate from our own range test.

        Beside the article's cycle, which ends at its top rate, whole cycles: half a cycle
        is a quarter of the training. The shrinking one loses half of its height in a cycle,
        as the halved one, step by step.

        The network gives logits where the article's gives probabilities; the loss is the
        same.

        A seed takes about 40 minutes on one core; --scale 0.2 makes 3 epochs of the 15, with
        cycles a fifth as long.
    """,
    backend="tensorflow",
    seeds=3,
    minutes=120,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
