"""Cycles of several shapes on MNIST, with a small convolutional network and Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._objective import make_objective
from cyclerate.compare._trainer import Split
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
from reproductions import saying
from reproductions._charts import Chart, Line
from reproductions._experiment import Experiment
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions._tables import Table, measured
from reproductions._training import NO_RATE, NetworkTrainer, Plan, line, train
from reproductions.datasets import mnist
from reproductions.finding import (
    Found,
    find_rate,
    found_rates,
    range_test_cell,
    range_test_chart,
)
from reproductions.networks import CLASSES, quick_images

BATCH = 50
ARTICLE = Found(base_lr=1e-4, max_lr=1e-2)
ADAM_RATE = 1e-3
_EPOCHS = 15
_HELDOUT_FRAC = 0.2
_SWEEP = {"method": "range", "start_lr": 1e-4, "end_lr": 1.0, "steps": 960}
# The article's half cycle is 4 epochs of all 60,000 images in a training on 48,000 of them: a third
# of it, which ends at the top. A quarter makes whole cycles.
_ENDS_HIGH, _WHOLE = 3, 4

# Name: on charts, in tables, what decides the schedule.
_POLICIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "fixed": ("fixed", f"fixed {ADAM_RATE:g}", {}),
    "article": (
        "article's",
        "triangular as in the article",
        {"bounds": "article", "shape": "triangle", "halves": _ENDS_HIGH},
    ),
    "linear": (
        "linear",
        "linear, whole cycles",
        {"bounds": "article", "shape": "triangle", "halves": _WHOLE},
    ),
    "sinusoidal": (
        "sinusoidal",
        "sinusoidal, whole cycles",
        {"bounds": "article", "shape": "cosine", "halves": _WHOLE},
    ),
    "parabolic": (
        "parabolic",
        "parabolic, whole cycles",
        {"bounds": "article", "shape": "welch", "halves": _WHOLE},
    ),
    "triangular2": (
        "halved",
        "linear, halved (triangular2)",
        {"bounds": "article", "decay": "cycle", "halves": _WHOLE},
    ),
    "exp_range": (
        "shrinking",
        "linear, shrinking (exp_range)",
        {"bounds": "article", "decay": "step", "halves": _WHOLE},
    ),
    "read": (
        "read here",
        "linear, bounds read here",
        {"bounds": "sweep", "shape": "triangle", "halves": _WHOLE},
    ),
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
    sweep = Cell("sweep", "range test as in the article", {**common, "sweep": _SWEEP})
    test = range_test_cell("range test", "our range test", epochs, common)
    bounds = {"sweep": sweep.settings, "range test": test.settings}
    trained = [
        Cell(
            name,
            label,
            {**common, "policy": name, **more, "rates": bounds.get(more.get("bounds", ""))},
        )
        for name, (_, label, more) in _POLICIES.items()
        if name in _QUICK or not size.quick
    ]
    return (test, *trained) if size.quick else (sweep, test, *trained)


@dataclass
class MnistStage:
    """The images, the last of them held out."""

    name: str
    split: Split
    _trainers: dict[int, NetworkTrainer] = field(default_factory=dict, init=False, repr=False)

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the images."""
        rows = [f"{len(x):,}" for x in (self.split.x_train, self.split.x_heldout)]
        said = f"{self.name}: {rows[0]} images to train on, the {rows[1]} after them held out"
        return (f"{said}, as Keras splits them. Pixels are divided by 255 in the network.",)

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Sweeps, finds, or trains."""
        trainer = self._trainer(cell.settings["epochs"])
        if "sweep" in cell.settings:
            return find_rate(trainer, seed, **cell.settings["sweep"])
        if "range_test" in cell.settings:
            return find_rate(trainer, seed)
        chosen = schedule(cell, seed, done, trainer.budget.total_steps)
        return NO_RATE if chosen is None else train(trainer, chosen, seed)

    def _trainer(self, epochs: int) -> NetworkTrainer:
        if epochs not in self._trainers:
            epoch = len(self.split.x_train) // BATCH
            self._trainers[epochs] = NetworkTrainer(
                split=self.split,
                objective=make_objective(classes=CLASSES),
                budget=Plan(epoch, epoch * epochs),
                batch_size=BATCH,
                optimizer="adam",
                build=network(self.split.x_train.shape[1:]),
            )
        return self._trainers[epochs]


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
                layers.Dense(CLASSES, kernel_initializer=kernel(4)),
            ]
        )

    return build


def schedule(cell: Cell, seed: int, done: Reproduction, steps: int) -> Schedule | None:
    """The schedule of a cell for so many steps; None where it needs a rate that was not found."""
    settings = cell.settings
    if "bounds" not in settings:
        return Constant(ADAM_RATE)
    source = settings["bounds"]
    bounds = ARTICLE if source == "article" else found_rates(done, source, seed)
    if bounds is None:
        return None
    if "halves" not in settings:
        return OneCycle(bounds.max_lr, steps)
    low, high, half = bounds.base_lr, bounds.max_lr, steps // settings["halves"]
    if settings.get("decay") == "cycle":
        return Triangular2(low, high, half)
    if settings.get("decay") == "step":
        # As much in a cycle as the halving, a little at every step.
        return ExpRange(low, high, half, gamma=0.5 ** (1 / (2 * half)))
    return Cyclic(low, high, half, shape=settings["shape"])


def open_stage(size: Size) -> MnistStage:
    """Loads the training images, or small digits, enlarged, for a quick run."""
    if size.quick:
        digits = quick_images().split
        x: NDArray[Any] = digits.x_train.repeat(2, axis=1).repeat(2, axis=2)
        y: NDArray[Any] = digits.y_train
        name = "small digits"
    else:
        images = mnist()
        x, y, name = images.x_train, images.y_train, images.name
    first = round(len(x) * (1 - _HELDOUT_FRAC))
    y = y.astype(np.int32)
    return MnistStage(name, Split(x[:first], y[:first], x[first:], y[first:]))


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Held-out accuracy by bounds, by shape, by decay; the rates; both range tests."""
    return (
        _curves(record, "bounds", ("fixed", "article", "linear", "read", "one_cycle"), "bounds"),
        _curves(record, "shapes", ("fixed", *_SHAPES), "shapes of the cycle"),
        _curves(record, "decays", ("linear", *_DECAYS), "decaying bounds"),
        _rates(record),
        range_test_chart(record, "sweep", "sweep", "as in the article"),
        range_test_chart(record, "range test", "ours", "ours"),
    )


def _rates(record: Reproduction) -> Chart:
    names = ("article", *_SHAPES, "triangular2")
    return Chart(
        name="rates",
        title="Learning rate",
        x_label="epochs",
        y_label="learning rate",
        lines=tuple(_rate_line(record, name) for name in names),
        caption=(
            "The article's cycle ends at the top; the others are whole cycles between the same "
            "bounds."
        ),
        alt="Line chart of the learning rates over the epochs: cycles of different shapes.",
    )


def _rate_line(record: Reproduction, cell: str) -> Line:
    for run in record.of(cell):
        if run.outcome.schedule is not None:
            steps = np.linspace(0, _last_step(run.outcome), 301).round().astype(int)
            x = steps / _steps_per_epoch(record)
            y = np.asarray(from_dict(run.outcome.schedule)(steps))
            return Line(_POLICIES[cell][0], x.tolist(), y.tolist())
    return Line(_POLICIES[cell][0], (), ())


def _curves(record: Reproduction, name: str, names: Sequence[str], words: str) -> Chart:
    steps = _steps_per_epoch(record)
    lines = tuple(line(record, cell, _POLICIES[cell][0], "metric", steps) for cell in names)
    shown = "; ".join(f"{a.name} ends at {a.y[-1]:.2%}" for a in lines if a.y and a.y[-1])
    return Chart(
        name=f"accuracy_{name}",
        title=f"Accuracy, {words}",
        x_label="epochs",
        y_label="accuracy",
        lines=lines,
        caption="Means and seeds; the axis is fitted to the second half of the training.",
        alt=f"Line chart of the held-out accuracy over the epochs: {shown}.",
        percent=True,
        reference=_POLICIES[names[0]][0],
        y_limits=_later_part(lines),
    )


def _later_part(lines: Sequence[Line]) -> tuple[float, float] | None:
    """From the lowest accuracy of the second half to the highest, and a little more."""
    later = [y for a in lines for y in a.y[len(a.y) // 2 :] if y is not None]
    if not later:
        return None
    low, high = min(later), max(later)
    margin = 0.1 * (high - low) or 0.01
    return low - margin, high + margin


def _last_step(outcome: Outcome) -> int:
    return max(int(step) for step in outcome.curves["steps"] if step is not None) - 1


def _steps_per_epoch(record: Reproduction) -> int:
    runs = [run for run in record.runs if run.outcome.curves]
    if not runs:
        return 1
    return round((_last_step(runs[0].outcome) + 1) / runs[0].settings["epochs"])


def tables(record: Reproduction) -> tuple[Table, ...]:
    """The bounds beside the article's; what every policy gives."""
    return _bounds_table(record), _policies_table(record)


def _bounds_table(record: Reproduction) -> Table:
    names = {"sweep": "such a sweep, our reading", "range test": "our range test"}
    rows = [("read by eye", rate(ARTICLE.base_lr), rate(ARTICLE.max_lr), MISSING, MISSING)]
    for cell, label in names.items():
        values = [run.outcome.values for run in record.of(cell)]
        if values:
            low, high = (
                saying.rates([one[name] for one in values]) for name in ("base_lr", "max_lr")
            )
            rows.append((label, MISSING, MISSING, low, high))
    heads = ("bounds", "article, lower", "article, upper", "here, lower", "here, upper")
    return Table("Bounds: article and here", heads, tuple(rows), "Learning rates, over the seeds.")


def _policies_table(record: Reproduction) -> Table:
    rows = tuple(_row(record, cell) for cell in _POLICIES if record.of(cell))
    seeds = len(record.of("fixed"))
    number = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    legend = (
        f"Held-out accuracy and loss at the end, {number}. The article runs its own policy and "
        "gives no accuracy; of the shapes it says that they are equivalent. Last rate: where the "
        "training ends, in the first seed."
    )
    heads = ("policy", "article", "here", "loss", "top rate", "last rate")
    return Table("Article and here", heads, rows, legend)


def _row(record: Reproduction, cell: str) -> tuple[str, ...]:
    runs = record.of(cell)
    ends = [_rate_at_end(run.outcome) for run in runs]
    return (
        _POLICIES[cell][1],
        "equivalent" if cell in _SHAPES else MISSING,
        measured(record, cell, "metric", share=True, decimals=_decimals(record)),
        measured(record, cell, "loss", decimals=4),
        saying.rates([_top(run.outcome.schedule) for run in runs]),
        MISSING if ends[0] is None else rate(ends[0]),
    )


def _decimals(record: Reproduction) -> int:
    """A hundredth of a percent is one of 12,000 images; a quick run has few."""
    return 1 if record.size.quick else 2


def _top(used: dict[str, Any] | None) -> float | None:
    return None if used is None else used.get("max_lr", used.get("value"))


def _rate_at_end(outcome: Outcome) -> float | None:
    if outcome.schedule is None:
        return None
    return float(from_dict(outcome.schedule)(_last_step(outcome)))


def lessons(record: Reproduction) -> tuple[str, ...]:
    """Bounds; where the training stops; shapes; decay; cycles and 1cycle against a fixed rate."""
    said = (
        _on_bounds(record),
        _on_the_end(record),
        _on_shapes(record),
        _on_decay(record),
        _on_fixed(record),
    )
    return tuple(filter(None, said))


def _on_bounds(record: Reproduction) -> str:
    tops = {cell: record.values(cell, "max_lr") for cell in ("sweep", "range test")}
    if not record.of("sweep") or not record.of("range test"):
        return ""
    return (
        f"The article reads {rate(ARTICLE.base_lr)} to {rate(ARTICLE.max_lr)} off its plot by eye. "
        f"The upper bound by our reading of such a sweep: {saying.rates(tops['sweep'])}; by our "
        f"range test for 1cycle: {saying.rates(tops['range test'])}."
        + _beside(
            record,
            "read",
            "linear",
            "Linear cycles between the bounds read here, set against those between the article's",
        )
    )


def _beside(record: Reproduction, cell: str, other: str, words: str) -> str:
    """A sentence on two cells, or nothing where one of them has no result."""
    if saying.difference(record, cell, other, "metric") is None:
        return ""
    return f" {words}: {saying.compared(record, cell, other, 'metric', decimals=2)}."


def _on_the_end(record: Reproduction) -> str:
    if record.mean("article", "metric") is None or record.mean("linear", "metric") is None:
        return ""
    ends = [_rate_at_end(record.of(cell)[0].outcome) for cell in ("article", "linear")]
    if ends[0] is None or ends[1] is None:
        return ""
    gain = saying.compared(record, "linear", "article", "metric", decimals=2)
    return (
        "Let a training stop at the bottom of a cycle. The article's half cycle is 4 epochs of all "
        "60,000 images, but it trains on 48,000: three half cycles fit, and it ends at "
        f"{rate(ends[0])}. Whole cycles of nearly the same length end at {rate(ends[1])}; set "
        f"against it: {gain}."
    )


def _on_shapes(record: Reproduction) -> str:
    means = {_POLICIES[cell][0]: record.mean(cell, "metric") for cell in _SHAPES}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) < len(_SHAPES):
        return ""
    spread = max(known.values()) - min(known.values())
    orders = [saying.order(record, cell, "linear", "metric") for cell in _SHAPES]
    one = len(record.of("linear")) < 2
    verdict = (
        "with one seed, which cannot tell them apart"
        if one
        else "clearly, with these seeds"
        if any(orders)
        else "within the spread of the seeds"
    )
    return (
        f"The shapes differ by {saying.points(spread, 2)} of accuracy at most, {verdict}: "
        f"{', '.join(f'{name} {saying.share(mean, 2)}' for name, mean in known.items())}."
    )


def _on_decay(record: Reproduction) -> str:
    parts = [
        f"{_POLICIES[cell][0]} {saying.compared(record, cell, 'linear', 'metric', decimals=2)}"
        for cell in _DECAYS
        if record.mean(cell, "metric") is not None
    ]
    if not parts or record.mean("linear", "metric") is None:
        return ""
    return f"Decaying bounds, set against linear cycles that stay: {' and '.join(parts)}."


def _on_fixed(record: Reproduction) -> str:
    if record.mean("fixed", "metric") is None:
        return ""
    cells = ("article", *_SHAPES, *_DECAYS, "read", "one_cycle")
    above = [cell for cell in cells if saying.order(record, cell, "fixed", "metric") == 1]
    below = [cell for cell in cells if saying.order(record, cell, "fixed", "metric") == -1]
    lists = [
        f"{words}: {'; '.join(_POLICIES[cell][1] for cell in chosen)}"
        for words, chosen in (("Clearly above it", above), ("Clearly below it", below))
        if chosen
    ]
    none = "No policy differs from it clearly"
    if len(record.of("fixed")) < 2:
        none = "With one seed no difference to it is clear"
    return (
        f"Adam at its default of {ADAM_RATE:g} gives "
        f"{saying.share(record.mean('fixed', 'metric') or 0.0, 2)}. {'. '.join(lists) or none}."
        + _beside(
            record,
            "one_cycle",
            "fixed",
            "1cycle with the rate of our range test, set against it",
        )
    )


EXPERIMENT = Experiment(
    name="mnist",
    title="Cycles of three shapes, and decaying ones, on MNIST",
    source=(
        "MachineCurve, Training your Neural Network with Cyclical Learning Rates (Feb 2020); "
        "shapes after Smith 2017"
    ),
    article=(
        (
            "Two convolutions with 32 and 64 filters, each with max pooling, dense layers of 256 "
            "and 128, softmax; Adam, batches of 50, a fifth held out, 15 epochs. A range test over "
            "10 epochs, from 1e-4 to 1: the loss falls from the start, so the lower bound is "
            "1e-4; it is flat near 1e-2, and unstable above it: the upper bound."
        ),
        (
            "Triangular cycles between these bounds, half a cycle 4 epochs of all 60,000 images. "
            "No accuracy is given. Linear, sinusoidal and parabolic cycles are said to give "
            "equivalent results; decaying bounds are described, not run."
        ),
    ),
    differences=(
        (
            "The range test like the article's takes one epoch here, not ten, and is read by our "
            "rule. 1cycle gets its rate from our own range test."
        ),
        (
            "Beside the article's cycle, which ends at its top rate, whole cycles: half a cycle is "
            "a quarter of the training. The shrinking one loses half of its height in a cycle, as "
            "the halved one, step by step."
        ),
        "The network gives logits where the article's gives probabilities; the loss is the same.",
        (
            "A seed takes about 35 minutes on one core, so the default is one. --scale 0.2 makes 3 "
            "epochs of the 15, with cycles a fifth as long."
        ),
    ),
    backend="tensorflow",
    seeds=1,
    minutes=35,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
