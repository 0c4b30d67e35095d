"""The paper that introduced cyclical rates: CIFAR-10, fewer steps for the same accuracy."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._wording import MISSING, rate, whole
from cyclerate.schedules import (
    Constant,
    Exponential,
    ExpRange,
    Linear,
    OneCycle,
    Schedule,
    Sequence,
    Triangular,
    Triangular2,
    from_dict,
)
from reproductions import _phrases as say, _training as training, datasets
from reproductions._charts import Chart, Line, line, range_test_chart, rate_line, trainings_chart
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size

BATCH, QUICK_BATCH = 100, 20
BASE_LR, MAX_LR, DECAY_FROM = 0.001, 0.006, 0.007
STEP_SIZE, DECAY_STEPS, GAMMA = 2000, 4000, 0.99994
# Rates with the iterations at which they end, as the network's authors set them.
_FIXED = ((1e-3, 60_000), (1e-4, 65_000), (1e-5, 70_000))
# The paper's second table: base_lr, max_lr, step_size, end.
_STAGES = (
    (1e-3, 5e-3, 2000, 16_000),
    (1e-4, 5e-4, 1000, 22_000),
    (1e-5, 5e-5, 500, 25_000),
)
_QUICK_SCALE = 0.0008
_QUICK = ("fixed", "one_cycle", "warmup")
_SHORT_TEST = "range test, short"

# Name: label, iterations, the paper's accuracy in percent.
_POLICIES: dict[str, tuple[str, int, float | None]] = {
    "fixed": ("fixed", 70_000, 81.4),
    "triangular2-staged": ("triangular2", 25_000, 81.4),
    "triangular2": ("halved cycles", 25_000, None),
    "decay": ("decay", 25_000, 78.5),
    "exp": ("exp", 70_000, 79.1),
    "exp_range": ("exp_range", 42_000, 82.2),
    "exp_range-both": ("falling bounds", 42_000, 82.2),
    "one_cycle": ("1cycle", 25_000, None),
    "one_cycle-short": ("short 1cycle", 10_000, None),
    "warmup": ("warmup", 25_000, None),
    "warmup-short": ("short warmup", 10_000, None),
}
# Whose rate is found, by the range test or on the way up; of the latter there is no schedule.
_TESTED = {"one_cycle": "range test", "one_cycle-short": _SHORT_TEST}
_ON_THE_WAY = ("warmup", "warmup-short")


def cells(size: Size) -> tuple[Cell, ...]:
    """The range tests, the policies of the paper's first table, and ours in fewer iterations."""
    scale = _QUICK_SCALE if size.quick else size.scale
    batch = QUICK_BATCH if size.quick else BATCH
    common = {"batch_size": batch, "network": "Caffe cifar10_full"}
    labels = {"range test": "our range test", _SHORT_TEST: "our short range test"}
    tests: dict[str, Cell] = {}
    trained: list[Cell] = []
    for name, (label, steps, _) in _POLICIES.items():
        if size.quick and name not in _QUICK:
            continue
        settings = {**common, "steps": _scaled(steps, scale)}
        decided: dict[str, Any] = {"schedule": None, "rates": None}
        if name in _TESTED:
            test = training.range_test_cell(_TESTED[name], labels[_TESTED[name]], settings)
            tests[test.name], decided["rates"] = test, test.settings
        elif name in _ON_THE_WAY:
            decided["find"] = "warmup"
        else:
            decided["schedule"] = schedule(name, scale).to_dict()
        trained.append(Cell(name, label, {**settings, **decided}))
    return (*tests.values(), *trained)


def schedule(policy: str, scale: float) -> Schedule:
    """A policy of the paper, shorter or longer: the same rates after the same share of the steps.

    Args:
        policy: "fixed", "triangular2-staged", "triangular2", "decay", "exp", "exp_range" or
            "exp_range-both".
        scale: Factor on every number of steps; `gamma` is raised to its inverse.

    >>> schedule("fixed", 0.001)([0, 59, 60, 65, 69]).tolist()
    [0.001, 0.001, 0.0001, 1e-05, 1e-05]
    """
    gamma = GAMMA ** (1 / scale)
    if policy == "fixed":
        parts = tuple(Constant(value) for value, _ in _FIXED)
        return Sequence(parts, tuple(_scaled(end, scale) for _, end in _FIXED[:-1]))
    if policy == "triangular2-staged":
        stages = tuple(
            Triangular(low, high, _scaled(half, scale)) for low, high, half, _ in _STAGES
        )
        return Sequence(stages, tuple(_scaled(end, scale) for *_, end in _STAGES[:-1]))
    if policy == "triangular2":
        return Triangular2(BASE_LR, MAX_LR, _scaled(STEP_SIZE, scale))
    if policy == "decay":
        return Linear(DECAY_FROM, BASE_LR, _scaled(DECAY_STEPS, scale))
    if policy == "exp":
        steps = _scaled(_POLICIES["exp"][1], scale)
        return Exponential(MAX_LR, MAX_LR * gamma**steps, steps)
    half = _scaled(STEP_SIZE, scale)
    if policy == "exp_range":
        return ExpRange(BASE_LR, MAX_LR, half, gamma=gamma)
    corners = range(0, _scaled(_POLICIES["exp_range-both"][1], scale) + half, half)
    rates = [(BASE_LR, MAX_LR)[i % 2] * gamma**step for i, step in enumerate(corners)]
    lines = (Linear(a, b, half) for a, b in itertools.pairwise(rates))
    return Sequence(tuple(lines), tuple(corners[1:-1]))


def _scaled(steps: int, scale: float) -> int:
    return max(1, round(steps * scale))


def open_stage(size: Size) -> Stage:
    """Loads CIFAR-10, or small digits in grey for a quick run; the network holds their mean."""
    if size.quick:
        digits = training.quick_images().split
        colours = [x.repeat(3, axis=3) for x in (digits.x_train, digits.x_heldout)]
        split = training.Split(colours[0], digits.y_train, colours[1], digits.y_heldout)
        name, note, batch = "small digits", "", QUICK_BATCH
    else:
        images = datasets.cifar10()
        y = [y.astype(np.int32) for y in (images.y_train, images.y_test)]
        split = training.Split(images.x_train, y[0], images.x_test, y[1])
        name, note, batch = images.name, images.note, BATCH

    @functools.cache
    def trainer(steps: int) -> training.Trainer:
        return training.Trainer(
            split=split,
            build=network(split.x_train),
            batch_size=batch,
            steps=steps,
            optimizer="momentum",
        )

    def run(cell: Cell, seed: int, results: Results) -> Outcome:
        here = trainer(cell.settings["steps"])
        if cell.name in _ON_THE_WAY:
            return here.find_on_the_way(seed)
        return training.find_or_train(here, cell, seed, results, _schedule)

    said = (
        f"{name}: {len(split.x_train):,} training and {len(split.x_heldout):,} test images. The "
        "mean training image is subtracted; pixels stay between -255 and 255, as the paper's rates "
        "ask for."
    )
    return Stage((said, note) if note else (said,), run)


def _schedule(cell: Cell, seed: int, results: Results, steps: int) -> Schedule | None:
    if cell.settings["schedule"] is not None:
        return from_dict(cell.settings["schedule"])
    found = training.found_rates(results, _TESTED[cell.name], seed)
    return None if found is None else OneCycle(found[1], steps)


def network(x_train: NDArray[Any]) -> Callable[[int], Any]:
    """Returns what builds the network of Caffe's example for CIFAR-10 (full), from a seed."""
    mean = x_train.mean(axis=0, dtype=np.float64).astype(np.float32)

    def build(seed: int) -> Any:
        import keras

        layers = keras.layers

        def weights(number: int, deviation: float, penalty: float) -> dict[str, Any]:
            draw = keras.initializers.RandomNormal(0.0, deviation, seed=1000 * seed + number)
            # Caffe adds decay * weight to the gradient: half of it times the square to the loss.
            return {
                "kernel_initializer": draw,
                "kernel_regularizer": keras.regularizers.L2(penalty / 2),
            }

        def conv(number: int, filters: int, deviation: float) -> Any:
            return layers.Conv2D(filters, 5, padding="same", **weights(number, deviation, 0.004))

        centred = layers.Normalization((1, 2, 3), mean=mean, variance=np.ones_like(mean))
        return keras.Sequential(
            [
                keras.Input(x_train.shape[1:]),
                centred,
                conv(0, 32, 1e-4),
                layers.MaxPooling2D(3, 2, padding="same"),
                layers.ReLU(),
                layers.Lambda(_local_response),
                conv(1, 32, 0.01),
                layers.ReLU(),
                layers.AveragePooling2D(3, 2, padding="same"),
                layers.Lambda(_local_response),
                conv(2, 64, 0.01),
                layers.ReLU(),
                layers.AveragePooling2D(3, 2, padding="same"),
                layers.Flatten(),
                layers.Dense(training.CLASSES, **weights(3, 0.01, 1.0)),
            ]
        )

    return build


def _local_response(x: Any) -> Any:
    """Divides by (1 + 5e-5 * the mean square of 3x3 neighbours in the channel) ** 0.75."""
    from keras import ops

    size = 1.0 + 5e-5 * ops.average_pool(x * x, 3, strides=1, padding="same")
    root = ops.sqrt(size)
    return x / (root * ops.sqrt(root))


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """Accuracy over the iterations, of each kind of policy; the rates; our range test."""
    few = ("fixed", "triangular2-staged", *_TESTED, *_ON_THE_WAY)
    cycles = ("fixed", "triangular2-staged", "triangular2", "exp_range", "exp_range-both")
    lines = [_rates(record, cell, label) for cell, (label, _, _) in _POLICIES.items()]
    return (
        _accuracies(record, "short", "in fewer iterations", *few),
        _accuracies(record, "cycles", "cycles", *cycles),
        _accuracies(record, "falling", "rates that only fall", "fixed", "decay", "exp"),
        Chart(
            name="rates",
            title="Learning rate",
            x_label="iterations",
            y_label="learning rate",
            lines=tuple(lines),
            caption="Every policy over its own length.",
            alt="Line chart of the learning rate of every policy over the iterations.",
            log_y=True,
            y_limits=(1e-5, 0.03),
            reference=_POLICIES["fixed"][0],
        ),
        range_test_chart(record, "range test", "ours", "ours"),
    )


def _rates(record: Reproduction, cell: str, label: str) -> Line:
    if cell in _ON_THE_WAY:  # as it went: it has no schedule
        return line(record, cell, label, "learning_rate")
    steps = max((run.settings["steps"] for run in record.of(cell)), default=1)
    return rate_line(record, cell, label, steps)


def _accuracies(record: Reproduction, name: str, words: str, *cells: str) -> Chart:
    return trainings_chart(
        record,
        f"accuracy_{name}",
        f"Test accuracy, {words}",
        {cell: _POLICIES[cell][0] for cell in cells},
        curve="metric",
        value="test accuracy",
        x_label="iterations",
        reference=_POLICIES["fixed"][0],
    )


def tables(record: Reproduction) -> tuple[Table, ...]:
    """The paper's first table for CIFAR-10, the same policies here, and ours."""
    rows = tuple(_row(record, cell) for cell in _POLICIES if record.of(cell))
    run = next((cell for cell in _POLICIES if record.of(cell)), "fixed")
    legend = (
        f"Test accuracy at the end, {say.over_seeds(record, run)}. Less fixed: in points, less "
        "that of the fixed rate, in the paper and here. triangular2 as the paper ran it, in three "
        "stages; halved cycles: by its formula. fixed: cut to a tenth twice, near its end. Our "
        f"rates: {_found_rates(record)}."
    )
    heads = ("policy", "iterations there", "article", "less fixed", "iterations here", "here")
    return (Table("Article and here", (*heads, "less fixed", "loss"), rows, legend),)


def _row(record: Reproduction, cell: str) -> tuple[str, ...]:
    label, steps, accuracy = _POLICIES[cell]
    fixed = _POLICIES["fixed"][2]
    gaps = [
        None if accuracy is None or fixed is None else (accuracy - fixed) / 100,
        say.difference(record, cell, "fixed", "metric"),
    ]
    there, here = (MISSING if g is None or cell == "fixed" else f"{100 * g:+.1f}" for g in gaps)
    return (
        label,
        MISSING if accuracy is None else whole(steps),
        MISSING if accuracy is None else f"{accuracy} %",
        there,
        whole(record.of(cell)[0].settings["steps"]),
        say.measured(record, cell, "metric", share=True),
        here,
        say.measured(record, cell, "loss"),
    )


def _found_rates(record: Reproduction) -> str:
    """The top rates that were found, and what finding them took beside the training."""
    parts = [
        f"{_POLICIES[cell][0]} {say.rates([r.outcome.values['max_lr'] for r in record.of(test)])}, "
        f"by a range test of {whole(round(record.mean(test, 'steps') or 0))} more iterations"
        for cell, test in _TESTED.items()
        if record.of(cell) and record.of(test)
    ]
    parts += [
        f"{_POLICIES[cell][0]} {say.rates(record.values(cell, 'max_lr'))}, on its way up"
        for cell in _ON_THE_WAY
        if record.of(cell)
    ]
    return "; ".join(parts) or "not yet found"


def lessons(record: Reproduction) -> tuple[str, ...]:
    """What kind of figures these are; fewer steps; ours; rates; how soon; falling; the order."""
    return say.sentences(
        _on_kind(record),
        _on_cycles(record),
        *(_on_ours(record, rival) for rival in ("fixed", "triangular2-staged")),
        _on_found(record),
        _on_speed(record),
        _on_falling(record),
        _on_order(record),
    )


def _on_kind(record: Reproduction) -> str:
    if record.size.quick or (record.size.scale == 1.0 and len(record.data) < 2):
        return ""
    scale = record.size.scale
    parts = [
        f"every training, step size and decay is {scale:g} times the paper's" * (scale != 1.0),
        "the images are a copy as JPEG" * (len(record.data) > 1),
    ]
    said = f"These are not the paper's figures: {' and '.join(filter(None, parts))}."
    for cell, name in (("fixed", "the fixed rate"), ("triangular2-staged", "the paper's cycles")):
        here, there = record.mean(cell, "metric"), _POLICIES[cell][2]
        if here is not None and there is not None:
            gap = round(100 * here - there, 1) + 0.0  # no minus before a zero
            said += (
                f" All that differs comes to {gap:+.1f} points for {name} ({there} % there, "
                f"{say.share(here)} here)."
            )
            break
    return f"{said} Compare the policies with each other."


def _on_cycles(record: Reproduction) -> str:
    here, fixed = (record.mean(name, "metric") for name in ("triangular2-staged", "fixed"))
    if here is None or fixed is None:
        return ""
    steps, all_steps = (_steps(record, name) for name in ("triangular2-staged", "fixed"))
    before = _fixed_after(record, steps)
    early = "" if before is None else f" (before its cuts, after {steps:,}: {before})"
    return (
        f"The paper's cycles (triangular2): {say.share(here)} after {whole(steps)} iterations; the "
        f"fixed rate with its two cuts: {say.share(fixed)} after {whole(all_steps)}{early}. Set "
        f"against it: {say.compared(record, 'triangular2-staged', 'fixed', 'metric')}."
    )


def _steps(record: Reproduction, cell: str) -> int:
    return record.of(cell)[0].settings["steps"]


def _on_ours(record: Reproduction, rival: str) -> str:
    """Each of our cycles beside the fixed rate, or beside the paper's cycles."""
    end = record.mean(rival, "metric")
    cells = [name for name in (*_TESTED, *_ON_THE_WAY) if record.mean(name, "metric") is not None]
    if end is None or not cells:
        return ""
    parts = [
        f"{_POLICIES[cell][0]} {say.measured(record, cell, 'metric', share=True)} after "
        f"{whole(_steps(record, cell))}, {say.compared(record, cell, rival, 'metric')}"
        for cell in cells
    ]
    name = "the fixed rate" if rival == "fixed" else "the paper's cycles"
    return (
        f"Ours, set against {name} ({say.share(end)} after {whole(_steps(record, rival))} "
        f"iterations): {'; '.join(parts)}."
    )


def _on_found(record: Reproduction) -> str:
    """How high the ways up put the rate beside the range tests, and how often it was lowered."""
    parts: list[str] = []
    for cell, test in zip(_ON_THE_WAY, _TESTED.values(), strict=True):
        top, usual = (say.middle(record.values(name, "max_lr")) for name in (cell, test))
        if top is None or usual is None:
            continue
        times = sum(record.values(cell, "repairs"))
        parts.append(
            f"{_POLICIES[cell][0]} {rate(top)}, {top / usual:.1f} times what the range test says "
            f"(explosions that lowered it to a third: {times:g})"
        )
    return f"Rates found on the way up: {'; '.join(parts)}." if parts else ""


def _on_speed(record: Reproduction) -> str:
    """When each was first where the fixed rate ends."""
    end = record.mean("fixed", "metric")
    if end is None:
        return ""
    told = [(cell, _reached(record, cell, end)) for cell in _POLICIES if record.of(cell)]
    met = [f"{_POLICIES[cell][0]} after {whole(step)}" for cell, step in told if step is not None]
    never = [_POLICIES[cell][0] for cell, step in told if step is None]
    parts = [", ".join(met), f"never {', '.join(never)}" if never else ""]
    return (
        f"The fixed rate ends at {say.share(end)}. So high, for the first time, is: "
        f"{'; '.join(filter(None, parts))} (iterations; a training whose rate has not fallen yet "
        "is not done)."
    )


def _reached(record: Reproduction, cell: str, goal: float) -> int | None:
    """The iteration after which the accuracy was first so high, a mean of seeds; None if never."""
    found: list[float] = []
    for run in record.of(cell):
        curves = run.outcome.curves
        points = zip(curves.get("steps", ()), curves.get("metric", ()), strict=True)
        steps = [step for step, y in points if step is not None and y is not None and y >= goal]
        if not steps:
            return None
        found.append(steps[0])
    return round(sum(found) / len(found))


def _fixed_after(record: Reproduction, steps: int) -> str | None:
    """The accuracy of the fixed rate when it was last measured until then; a mean of seeds."""
    found: list[float] = []
    for run in record.of("fixed"):
        curves = run.outcome.curves
        points = zip(curves["steps"], curves["metric"], strict=True)
        until = [y for step, y in points if step is not None and y is not None and step <= steps]
        if not until:
            return None
        found.append(until[-1])
    return say.share(sum(found) / len(found))


def _on_falling(record: Reproduction) -> str:
    pairs = (("triangular2-staged", "decay"), ("exp_range", "exp"), ("exp_range-both", "exp"))
    parts = [
        f"{_POLICIES[cycled][0]} set against {_POLICIES[fallen][0]}: "
        f"{say.compared(record, cycled, fallen, 'metric')}, in the paper "
        f"{(_POLICIES[cycled][2] or 0.0) - (_POLICIES[fallen][2] or 0.0):+.1f} points"
        for cycled, fallen in pairs
        if None not in (record.mean(cycled, "metric"), record.mean(fallen, "metric"))
    ]
    if not parts:
        return ""
    return f"Cycles against rates that only fall: {'; '.join(parts)}."


def _on_order(record: Reproduction) -> str:
    published = {cell: found for cell, (*_, found) in _POLICIES.items() if found is not None}
    here = {cell: record.mean(cell, "metric") for cell in published}
    known = {cell: mean for cell, mean in here.items() if mean is not None}
    if len(known) < 2:
        return ""
    there = {cell: published[cell] for cell in known}
    of_all = "From" if len(known) == len(published) else "Of those that were run, from"
    return (
        f"{of_all} the best to the worst, in the paper: {_ordered(there)}. Here: {_ordered(known)}."
    )


def _ordered(accuracies: dict[str, float]) -> str:
    """The policies from the best to the worst; equal ones are said to be."""
    levels = sorted(set(accuracies.values()), reverse=True)
    same = ([_POLICIES[cell][0] for cell, a in accuracies.items() if a == here] for here in levels)
    return ", ".join(" = ".join(labels) for labels in same)


EXPERIMENT = Experiment(
    name="smith2017",
    title="The paper on cyclical rates: CIFAR-10 in fewer iterations",
    source="Leslie N. Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017",
    article="""
        Caffe's small network for CIFAR-10, batches of 100, SGD with momentum 0.9. At a fixed rate,
        81.4 % after 70,000 iterations; with cycles (triangular2), 81.4 % after 25,000.

        A rate that only falls does worse: 78.5 % when it falls from the top bound in 25,000
        iterations, 79.1 % when it falls exponentially in 70,000. Cycles whose bounds fall
        exponentially (exp_range) reach 82.2 % after 42,000.
    """,
    differences="""
        The fixed rate is Caffe's: 0.001, a tenth of it after 60,000 iterations and a hundredth
        after 65,000. The cycles in stages are those of the paper's second table; triangular2 by its
        formula is run beside them.

        decay falls from 0.007 to 0.001 in 4,000 iterations. Where exp begins is taken to be the top
        bound 0.006. exp_range keeps its lower bound and lets the height shrink, as all
        implementations do; in the paper's words each bound falls: that is run beside it, with
        straight lines between the bounds (falling bounds).

        Biases are trained at the rate of the weights (Caffe: twice that) and without decay. The
        penalty on the weights is part of the training loss, not of the test loss.

        With --scale every length and step size is multiplied, and gamma is raised to the inverse,
        so that the rates are the same after the same share of the training. The network then sees
        fewer images: accuracies are lower than the paper's. A seed of the whole takes about eight
        hours on one core.

        Beyond the paper: 1cycle with the rate of our range test, and the cycle that finds its own
        top (find="warmup") in exactly these iterations, finding included; both also in 10,000. The
        latter moves the momentum between 0.85 and 0.95 and clips gradients, as it does by default.
        That a loss which stays high has exploded is a rule that it took from here: without it,
        warmup ended at 69.2 % in 25,000 iterations.
    """,
    backend="tensorflow",
    seeds=1,
    minutes=480,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
