"""Snapshot ensembles, FGE and averaged weights against single models, on the same budget."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclerate.compare._optimizers import OPTIMIZERS
from cyclerate.compare._wording import MISSING
from cyclerate.cycles._rules import fge_schedule
from cyclerate.schedules import Constant, Cosine, OneCycle, Schedule, Sequence, WarmRestarts
from reproductions import saying
from reproductions._charts import Chart, Line
from reproductions._experiment import Experiment
from reproductions._record import Cell, Curve, Outcome, Reproduction, Size
from reproductions._tables import Table, measured
from reproductions._training import NO_RATE, NetworkTrainer, Plan, line
from reproductions.datasets import fashion_mnist
from reproductions.finding import find_rate, found_rates, range_test_cell, range_test_chart
from reproductions.networks import ImageTask, conv_network, image_task, quick_images

BATCH, FILTERS, DENSE = 128, (16, 32), 64
CYCLES = 5
FGE_MEMBERS = 4
EMA_MOMENTUM = 0.999
_EPOCHS = 20
_LAST = 3
# Of the highest rate of the training before: where the short cycles of FGE begin, and end.
_FGE_TOP, _FGE_LOW = 0.2, 0.002
_OPTIMIZER = "momentum"
_ALL_AT_ONCE = 1000
_TESTS = {"one_cycle": "1cycle", "triangular": "cycles", "constant": "a fixed rate"}

# Name: on charts, in tables, and the policy that its rate is found for.
_POLICIES = {
    "fixed": ("fixed", "fixed rate", "constant"),
    "one_cycle": ("1cycle", "1cycle", "one_cycle"),
    "restarts": ("restarts", "warm restarts", "triangular"),
    "fge": ("FGE", "FGE", "triangular"),
}
_ENSEMBLES = ("restarts", "fge")
# A quick run has one range test for all, a short one, and whole batches only.
_QUICK, _QUICK_TEST, _QUICK_BATCH = ("one_cycle", "restarts"), "triangular", 100
_QUICK_SEARCH = {"steps": 30, "max_steps": 60}


def cells(size: Size) -> tuple[Cell, ...]:
    """A range test for each kind of policy, and a training by each policy; few in a quick run."""
    common = {
        "batch_size": _QUICK_BATCH if size.quick else BATCH,
        "epochs": size.epochs(_EPOCHS, quick=CYCLES),
        "filters": FILTERS,
        "dense": DENSE,
        "batch_norm": True,
        "optimizer": _OPTIMIZER,
    }
    tests = {
        policy: range_test_cell(
            f"range test {policy}",
            f"range test for {words}",
            None,
            common,
            policy=policy,
            **(_QUICK_SEARCH if size.quick else {}),
        )
        for policy, words in _TESTS.items()
        if policy == _QUICK_TEST or not size.quick
    }
    more = {
        "fixed": {"ema": EMA_MOMENTUM},
        "restarts": {"cycles": CYCLES},
        "fge": {"members": FGE_MEMBERS, "top": _FGE_TOP, "low": _FGE_LOW},
    }
    trained = [
        Cell(
            name,
            label,
            {**common, **more.get(name, {}), "rate": tests[_tested(name, size)].settings},
        )
        for name, (_, label, _) in _POLICIES.items()
        if name in _QUICK or not size.quick
    ]
    return (*tests.values(), *trained)


def _tested(name: str, size: Size) -> str:
    """The policy whose range test gives the rate of a training."""
    return _QUICK_TEST if size.quick else _POLICIES[name][2]


@dataclass
class SnapshotStage:
    """The images."""

    task: ImageTask
    size: Size

    @property
    def data(self) -> tuple[str, ...]:
        """What was decided about the images."""
        return self.task.notes

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Finds, or trains."""
        epochs, batch = cell.settings["epochs"], cell.settings["batch_size"]
        per_epoch = -(-len(self.task.split.x_train) // batch)
        if "range_test" in cell.settings:
            trainer = NetworkTrainer(
                split=self.task.split,
                objective=self.task.objective,
                build=conv_network(self.task, FILTERS, DENSE, batch_norm=True),
                batch_size=batch,
                budget=Plan(per_epoch, per_epoch * epochs),
                optimizer=_OPTIMIZER,
            )
            return find_rate(trainer, seed, **cell.settings["range_test"])
        found = found_rates(done, f"range test {_tested(cell.name, self.size)}", seed)
        if found is None:
            return NO_RATE
        schedule = schedule_of(cell.name, found.max_lr, per_epoch * epochs)
        return _Training(self.task, cell.name, schedule, seed, epochs, batch).outcome()


def schedule_of(policy: str, max_lr: float, steps: int) -> Schedule:
    """The rate of a policy over the whole budget."""
    if policy == "fixed":
        return Constant(max_lr)
    if policy == "one_cycle":
        return OneCycle(max_lr, steps)
    if policy == "restarts":
        return WarmRestarts(max_lr, max(steps // CYCLES, 1))
    # A cycle of a tenth of the budget: its low points are in the middle, the last at the end.
    half = max(steps // 20, 1)
    before = steps - (2 * FGE_MEMBERS - 1) * half
    top = _FGE_TOP * max_lr
    short = fge_schedule(top, _FGE_LOW * max_lr, 2 * half)
    return Sequence((Cosine(max_lr, top, before), short), (before,))


@dataclass
class _Training:
    """One training, and all models that it gives."""

    task: ImageTask
    policy: str
    schedule: Schedule
    seed: int
    epochs: int
    batch_size: int

    def outcome(self) -> Outcome:
        """Trains; the values are accuracies and losses on the test images."""
        import cyclerate.keras as ck

        model = self._compiled()
        if self.policy not in _ENSEMBLES:
            values, curves, seconds = self._fit(model, [])
            if self.policy == "fixed":  # Keras has left the averaged weights in the model
                ck.update_batch_norm(model, self.task.split.x_train, batch_size=_ALL_AT_ONCE)
                values |= self._scores("ema", self._predicted(model))
            return Outcome(values, curves, schedule=self.schedule.to_dict(), seconds=seconds)
        with tempfile.TemporaryDirectory(prefix="cyclerate-") as folder:
            mean = ck.WeightAveraging(
                self.schedule,
                batch_norm_data=self.task.split.x_train,
                batch_size=_ALL_AT_ONCE,
                assign=False,
            )
            saving = ck.SnapshotEnsemble(folder, self.schedule)
            values, curves, seconds = self._fit(model, [saving, mean])
            ensemble = ck.SnapshotEnsemble.load(folder, outputs="logits")
            each = ensemble.predictions(self.task.split.x_heldout, batch_size=_ALL_AT_ONCE)
            probabilities = [prediction for _, prediction in each]
        members = self._members(probabilities)
        mean.assign_to(model)
        values |= members.values | self._scores("swa", self._predicted(model))
        return Outcome(values, curves | members.curves, None, self.schedule.to_dict(), seconds)

    def _compiled(self) -> Any:
        import keras

        from cyclerate.keras import as_schedule

        keras.utils.set_random_seed(self.seed)
        model = conv_network(self.task, FILTERS, DENSE, batch_norm=True)(self.seed)
        kind, settings = OPTIMIZERS[_OPTIMIZER]
        if self.policy == "fixed":
            settings = {**settings, "use_ema": True, "ema_momentum": EMA_MOMENTUM}
        optimizer = getattr(keras.optimizers, kind)(as_schedule(self.schedule), **settings)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
        return model

    def _fit(
        self, model: Any, callbacks: list[Any]
    ) -> tuple[dict[str, float | None], dict[str, Curve], float]:
        split = self.task.split
        began = time.perf_counter()
        history = model.fit(
            split.x_train,
            split.y_train,
            batch_size=self.batch_size,
            epochs=self.epochs,
            validation_data=(split.x_heldout, split.y_heldout),
            validation_batch_size=_ALL_AT_ONCE,
            callbacks=callbacks,
            verbose=0,
        ).history
        seconds = time.perf_counter() - began
        named = {"metric": "val_accuracy", "loss": "val_loss", "train_loss": "loss"}
        curves = {name: tuple(history[key]) for name, key in named.items()}
        epochs = tuple(range(1, self.epochs + 1))
        return {name: c[-1] for name, c in curves.items()}, {"steps": epochs, **curves}, seconds

    def _predicted(self, model: Any) -> Any:
        images = self.task.split.x_heldout
        return model.predict(images, batch_size=_ALL_AT_ONCE, verbose=0)

    def _scores(self, name: str, logits: Any) -> dict[str, float | None]:
        objective, y = self.task.objective, self.task.split.y_heldout
        loss = objective.loss(np.asarray(logits), y)
        return {name: objective.score(logits, y), f"{name} loss": loss}

    def _members(self, probabilities: list[Any]) -> Outcome:
        """Each member alone, and the latest ones together: 1, 2, up to all."""
        # The logarithm of a probability is a logit.
        logs = [np.log(np.clip(p, 1e-12, 1.0)) for p in probabilities]
        alone = [self._scores("member", one)["member"] for one in reversed(logs)]
        together: list[float | None] = []
        values: dict[str, float | None] = {}
        for number in range(1, len(probabilities) + 1):
            mean = np.mean(probabilities[-number:], axis=0)
            scores = self._scores("ensemble", np.log(np.clip(mean, 1e-12, 1.0)))
            together.append(scores["ensemble"])
            values |= scores
            if number == min(_LAST, len(probabilities)):
                values |= {f"last {key}": score for key, score in scores.items()}
        known = [score for score in alone if score is not None]
        values |= {"best member": max(known), "last member": alone[0]}
        numbers = tuple(map(float, range(1, len(alone) + 1)))
        curves = {"members": numbers, "alone": tuple(alone), "together": tuple(together)}
        return Outcome(values, curves)


def open_stage(size: Size) -> SnapshotStage:
    """Loads the images."""
    task = quick_images() if size.quick else image_task(fashion_mnist())
    return SnapshotStage(task, size)


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """The trainings; members alone and together; the range test of the cycles."""
    tested = range_test_chart(record, "range test triangular", "cycles", "for cycles")
    return (_training_chart(record), _members_chart(record), tested)


def _training_chart(record: Reproduction) -> Chart:
    lines = tuple(line(record, name, short, "metric") for name, (short, _, _) in _POLICIES.items())
    ends = "; ".join(
        f"{short} {measured(record, name, 'metric', share=True)}"
        for name, (short, _, _) in _POLICIES.items()
        if record.of(name)
    )
    return Chart(
        name="training",
        title="Test accuracy of the model in training",
        x_label="epochs",
        y_label="test accuracy",
        lines=lines,
        caption=f"Means and seeds. At the end: {ends}.",
        alt=f"Line chart of the test accuracy over the epochs. At the end: {ends}.",
        y_limits=_upper_part(lines),
        percent=True,
        reference="fixed",
    )


def _members_chart(record: Reproduction) -> Chart:
    lines = tuple(
        _over_members(record, name, f"{_POLICIES[name][0]} {word}", curve)
        for name in _ENSEMBLES
        for curve, word in (("together", "all"), ("alone", "one"))
    )
    ends = "; ".join(
        f"{_POLICIES[name][0]} {measured(record, name, 'ensemble', share=True)}"
        for name in _ENSEMBLES
        if record.of(name)
    )
    return Chart(
        name="members",
        title="Members alone and together",
        x_label="members, the latest first",
        y_label="test accuracy",
        lines=lines,
        caption=(
            "Means over the seeds: the mean of the latest members (all), and the last of these "
            f"alone (one). All members together: {ends}."
        ),
        alt=f"Line chart of the accuracy by the number of members. All together: {ends}.",
        percent=True,
    )


def _over_members(record: Reproduction, cell: str, name: str, curve: str) -> Line:
    runs = [run.outcome.curves for run in record.of(cell) if curve in run.outcome.curves]
    if not runs:
        return Line(name, (), ())
    columns = zip(*(curves[curve] for curves in runs), strict=True)
    mean = [None if None in column else statistics.fmean(column) for column in columns]  # type: ignore[arg-type]
    return Line(name, runs[0]["members"], mean)


def _upper_part(lines: tuple[Line, ...]) -> tuple[float, float] | None:
    """From where the trainings stood after their first quarter, on up."""
    values = [y for one in lines for y in one.y[len(one.y) // 4 :] if y is not None]
    if not values:
        return None
    gap = 0.1 * (max(values) - min(values)) or 0.01
    return min(values) - gap, max(values) + gap


# The row's name, the cell, the value, and what is said about it elsewhere.
_ROWS = (
    ("fixed rate, last weights", "fixed", "metric", MISSING),
    ("fixed rate, EMA", "fixed", "ema", MISSING),
    ("1cycle", "one_cycle", "metric", MISSING),
    ("warm restarts, last member", "restarts", "last member", "near a single model"),
    ("warm restarts, best member", "restarts", "best member", MISSING),
    ("warm restarts, last 3 together", "restarts", "last ensemble", MISSING),
    ("warm restarts, all together", "restarts", "ensemble", "+1 to 2 points"),
    ("warm restarts, averaged (SWA)", "restarts", "swa", MISSING),
    ("FGE, last member", "fge", "last member", MISSING),
    ("FGE, best member", "fge", "best member", MISSING),
    ("FGE, all together", "fge", "ensemble", "above snapshots"),
    ("FGE, averaged (SWA)", "fge", "swa", "near the ensemble"),
)


def tables(record: Reproduction) -> tuple[Table, ...]:
    """Every model that a budget gives; and the differences that matter, seed by seed."""
    return (_main_table(record), _paired_table(record))


def _main_table(record: Reproduction) -> Table:
    rows = tuple(
        (
            label,
            said,
            saying.rates(record.values(f"range test {_tested(cell, record.size)}", "max_lr")),
            measured(record, cell, value, share=True),
            measured(record, cell, loss, decimals=3) if (loss := _loss_of(value)) else MISSING,
        )
        for label, cell, value, said in _ROWS
        if record.of(cell)
    )
    seeds = len(record.of("restarts"))
    legend = (
        "Accuracy and cross-entropy on the test images, mean ± standard deviation over "
        f"{seeds} seed{'' if seeds == 1 else 's'}; every group of rows is one training, all of the "
        "same length. The best member is chosen on the test images, which flatters it."
    )
    return Table(
        "Articles and here", ("model", "articles", "top rate", "accuracy", "loss"), rows, legend
    )


def _loss_of(value: str) -> str:
    return {"metric": "loss", "best member": "", "last member": ""}.get(value, f"{value} loss")


# What is compared with what.
_PAIRS = (
    ("snapshots and their best member", ("restarts", "ensemble"), ("restarts", "best member")),
    ("FGE and its best member", ("fge", "ensemble"), ("fge", "best member")),
    ("snapshots and 1cycle", ("restarts", "ensemble"), ("one_cycle", "metric")),
    ("FGE and 1cycle", ("fge", "ensemble"), ("one_cycle", "metric")),
    ("snapshots and the fixed rate", ("restarts", "ensemble"), ("fixed", "metric")),
    ("SWA of restarts and the last member", ("restarts", "swa"), ("restarts", "last member")),
    ("SWA of FGE and the last member", ("fge", "swa"), ("fge", "last member")),
    ("EMA and the last weights", ("fixed", "ema"), ("fixed", "metric")),
)
_Value = tuple[str, str]


def _paired_table(record: Reproduction) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, one, other in _PAIRS:
        gains = list(_gains(record, one, other).values())
        if gains:
            above = f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
            spread = (
                f"{saying.signed_points(min(gains), 2)} to {saying.signed_points(max(gains), 2)}"
            )
            mean = saying.signed_points(statistics.fmean(gains), 2)
            rows.append((label, mean, spread, above))
    heads = ("the first against the second", "mean", "over the seeds", "above")
    legend = "Differences of the test accuracy between two models of the same seed."
    return Table("Seed by seed", heads, tuple(rows), legend)


def _gains(record: Reproduction, one: _Value, other: _Value) -> Mapping[int, float]:
    """By how much the first is above the second, by seed."""
    values = [
        {run.seed: run.outcome.values.get(name) for run in record.of(cell)}
        for cell, name in (one, other)
    ]
    found: dict[int, float] = {}
    for seed, first in values[0].items():
        second = values[1].get(seed)
        if first is not None and second is not None:
            found[seed] = first - second
    return found


def lessons(record: Reproduction) -> tuple[str, ...]:
    """Ensembles against their best member and against 1cycle; averages; the single models."""
    return tuple(
        filter(
            None,
            (
                _verdict(record, "The snapshots of the warm restarts together", *_PAIRS[0][1:]),
                _verdict(record, "The members of FGE together", *_PAIRS[1][1:]),
                _verdict(record, "The snapshots together", *_PAIRS[2][1:]),
                _verdict(record, "The members of FGE together", *_PAIRS[3][1:]),
                _verdict(record, "The averaged weights (SWA) of the restarts", *_PAIRS[5][1:]),
                _verdict(record, "The averaged weights (SWA) of FGE", *_PAIRS[6][1:]),
                _verdict(record, "The weights averaged exponentially (EMA)", *_PAIRS[7][1:]),
                _singles(record),
            ),
        )
    )


_THAN = {
    "best member": "their best member",
    "last member": "the last member",
    "metric": "the last weights of the same training",
}


def _verdict(record: Reproduction, subject: str, one: _Value, other: _Value) -> str:
    gains = list(_gains(record, one, other).values())
    if not gains:
        return ""
    than = (
        _THAN[other[1]] if one[0] == other[0] else f"{_POLICIES[other[0]][1]}, of the same budget"
    )
    above, mean = sum(gain > 0 for gain in gains), statistics.fmean(gains)
    numbers = (
        f"on average {saying.signed_points(mean, 2)}, above in {above} of {len(gains)} "
        f"seed{'' if len(gains) == 1 else 's'}"
    )
    if len(gains) == 1:
        return f"{subject}, beside {than}: {numbers}. One seed decides nothing."
    if above == len(gains):
        return f"{subject} beat {than} with every seed: {numbers}."
    if not above:
        return f"{subject} do not beat {than} with any seed: {numbers}."
    return f"{subject} do not beat {than} with every seed: {numbers}."


def _singles(record: Reproduction) -> str:
    parts = [
        f"{label} {measured(record, name, 'metric', share=True)}"
        for name, (_, label, _) in _POLICIES.items()
        if name not in _ENSEMBLES and record.of(name)
    ]
    return f"Single models at the end of the budget: {', '.join(parts)}." if parts else ""


EXPERIMENT = Experiment(
    name="snapshot",
    title="Snapshot ensembles, FGE and averaged weights",
    source=(
        "Gao Huang et al., Snapshot Ensembles, 2017, and the thread on cyclical rates in the forum "
        "of fast.ai; Timur Garipov et al., 2018 (FGE); Pavel Izmailov et al., 2018 (SWA)"
    ),
    article=(
        (
            "The rate falls along a cosine to zero and starts again at the top, several times in "
            "the budget of one training. The model is saved at each low point; the mean of the "
            "saved models' probabilities is the answer. It is better than the one model of an "
            "ordinary schedule, at no further cost of training."
        ),
        (
            "In the forum: save the weights where the rate is low and use them together, for a "
            "percent or two more; a high rate may carry the model to another minimum in between."
        ),
        (
            "FGE starts from a trained model and takes members in short cycles of a few epochs at "
            "lower rates. SWA averages the weights of such points instead of their predictions: "
            "one model, near the ensemble."
        ),
    ),
    differences=(
        (
            "The articles train deep networks on CIFAR for hundreds of epochs. Here: "
            "Fashion-MNIST, two convolutions of 16 and 32 filters and a dense layer of 64 with "
            f"batch normalisation, SGD with momentum 0.9, batches of {BATCH}, {_EPOCHS} epochs for "
            "every policy."
        ),
        (
            f"Warm restarts: {CYCLES} cycles. FGE: 13 epochs along a cosine down to a fifth of the "
            f"highest rate, then {FGE_MEMBERS} members in cycles of 2 epochs between that and a "
            "hundredth of it."
        ),
        (
            "Every rate is found by our range test, for its kind of policy and this length; those "
            "of the articles are for their networks. EMA: of the training at a fixed rate, by "
            f"Keras, momentum {EMA_MOMENTUM}."
        ),
        "Beyond the articles: 1cycle with the same budget.",
    ),
    backend="tensorflow",
    seeds=3,
    minutes=60,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
