"""Snapshot ensembles, FGE and averaged weights against single models, on the same budget."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cyclerate._errors import count
from cyclerate.compare._networks import OPTIMIZERS
from cyclerate.compare._wording import MISSING
from cyclerate.cycles._rules import fge_schedule
from cyclerate.schedules import Constant, Cosine, OneCycle, Schedule, Sequence, WarmRestarts
from reproductions import _phrases as say, _training as training, datasets
from reproductions._charts import (
    Chart,
    Line,
    later_part,
    range_test_chart,
    trainings_chart,
    whole_mean,
)
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._record import Cell, Outcome, Reproduction, Size

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
    tests: dict[str, Cell] = {}
    for policy, words in _TESTS.items():
        if policy == _QUICK_TEST or not size.quick:
            name, more = f"range test {policy}", _QUICK_SEARCH if size.quick else {}
            label = f"range test for {words}"
            tests[policy] = training.range_test_cell(name, label, common, policy=policy, **more)
    more_settings = {
        "fixed": {"ema": EMA_MOMENTUM},
        "restarts": {"cycles": CYCLES},
        "fge": {"members": FGE_MEMBERS, "top": _FGE_TOP, "low": _FGE_LOW},
    }
    trained: list[Cell] = []
    for name, (_, label, _) in _POLICIES.items():
        if name in _QUICK or not size.quick:
            rate = tests[_tested(name, size)].settings
            trained.append(
                Cell(name, label, {**common, **more_settings.get(name, {}), "rate": rate})
            )
    return (*tests.values(), *trained)


def _tested(name: str, size: Size) -> str:
    """The policy whose range test gives the rate of a training."""
    return _QUICK_TEST if size.quick else _POLICIES[name][2]


def open_stage(size: Size) -> Stage:
    """Loads the images."""
    task = training.quick_images() if size.quick else training.image_task(datasets.fashion_mnist())

    def run(cell: Cell, seed: int, results: Results) -> Outcome:
        epochs, batch = cell.settings["epochs"], cell.settings["batch_size"]
        steps = -(-len(task.split.x_train) // batch) * epochs
        if "range_test" in cell.settings:
            trainer = training.Trainer(
                split=task.split,
                build=training.conv_network(task, FILTERS, DENSE, batch_norm=True),
                batch_size=batch,
                steps=steps,
                optimizer=_OPTIMIZER,
            )
            return training.tested(trainer.range_test(seed, **cell.settings["range_test"]))
        found = training.found_rates(results, f"range test {_tested(cell.name, size)}", seed)
        if found is None:
            return training.NO_RATE
        schedule = schedule_of(cell.name, found[1], steps)
        return _Training(task, cell.name, schedule, seed, epochs, batch).outcome()

    return Stage(task.notes, run)


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

    task: training.ImageTask
    policy: str
    schedule: Schedule
    seed: int
    epochs: int
    batch_size: int

    def outcome(self) -> Outcome:
        """Trains; the values are accuracies and losses on the test images."""
        import cyclerate.keras as ck

        model, images = self._compiled(), self.task.split.x_train
        if self.policy not in _ENSEMBLES:
            outcome = self._fit(model, [])
            if self.policy != "fixed":
                return outcome
            # Keras has left the averaged weights in the model.
            ck.update_batch_norm(model, images, batch_size=_ALL_AT_ONCE)
            return replace(outcome, values=outcome.values | self._scores("ema", model))
        with tempfile.TemporaryDirectory(prefix="cyclerate-") as folder:
            mean = ck.WeightAveraging(
                self.schedule, batch_norm_data=images, batch_size=_ALL_AT_ONCE, assign=False
            )
            outcome = self._fit(model, [ck.SnapshotEnsemble(folder, self.schedule), mean])
            ensemble = ck.SnapshotEnsemble.load(folder, outputs="logits")
            each = ensemble.predictions(self.task.split.x_heldout, batch_size=_ALL_AT_ONCE)
            members = self._members([prediction for _, prediction in each])
        mean.assign_to(model)
        values = outcome.values | members.values | self._scores("swa", model)
        return replace(outcome, values=values, curves=outcome.curves | members.curves)

    def _compiled(self) -> Any:
        import keras

        from cyclerate.keras import as_schedule

        keras.utils.set_random_seed(self.seed)
        model = training.conv_network(self.task, FILTERS, DENSE, batch_norm=True)(self.seed)
        kind, settings = OPTIMIZERS[_OPTIMIZER]
        if self.policy == "fixed":
            settings = {**settings, "use_ema": True, "ema_momentum": EMA_MOMENTUM}
        optimizer = getattr(keras.optimizers, kind)(as_schedule(self.schedule), **settings)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
        return model

    def _fit(self, model: Any, callbacks: list[Any]) -> Outcome:
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
        ends = {name: curve[-1] for name, curve in curves.items()}
        curves["steps"] = tuple(range(1, self.epochs + 1))
        return Outcome(ends, curves, schedule=self.schedule.to_dict(), seconds=seconds)

    def _scores(self, name: str, model: Any) -> dict[str, float | None]:
        logits = model.predict(self.task.split.x_heldout, batch_size=_ALL_AT_ONCE, verbose=0)
        return self._judged(name, logits)

    def _judged(self, name: str, logits: Any) -> dict[str, float | None]:
        objective, y = training.OF_IMAGES, self.task.split.y_heldout
        loss = objective.loss(np.asarray(logits), y)
        return {name: objective.score(logits, y), f"{name} loss": loss}

    def _members(self, probabilities: list[Any]) -> Outcome:
        """Each member alone, and the latest ones together: 1, 2, up to all."""

        def judged(name: str, probability: Any) -> dict[str, float | None]:
            # The logarithm of a probability is a logit.
            return self._judged(name, np.log(np.clip(probability, 1e-12, 1.0)))

        alone = [judged("member", one)["member"] for one in reversed(probabilities)]
        together: list[float | None] = []
        values: dict[str, float | None] = {}
        for number in range(1, len(probabilities) + 1):
            latest = judged("ensemble", np.mean(probabilities[-number:], axis=0))
            together.append(latest["ensemble"])
            values |= latest
            if number == min(_LAST, len(probabilities)):
                values |= {f"last {key}": score for key, score in latest.items()}
        values["best member"] = max(score for score in alone if score is not None)
        values["last member"] = alone[0]
        numbers = tuple(map(float, range(1, len(alone) + 1)))
        curves = {"members": numbers, "alone": tuple(alone), "together": tuple(together)}
        return Outcome(values, curves)


def charts(record: Reproduction) -> tuple[Chart, ...]:
    """The trainings; members alone and together; the range test of the cycles."""
    trained = trainings_chart(
        record,
        "training",
        "Test accuracy of the model in training",
        {name: short for name, (short, _, _) in _POLICIES.items()},
        curve="metric",
        value="test accuracy",
        x_label="epochs",
        reference="fixed",
    )
    return (
        later_part(trained, after=0.25),
        _members_chart(record),
        range_test_chart(record, "range test triangular", "cycles", "for cycles"),
    )


def _members_chart(record: Reproduction) -> Chart:
    lines = tuple(
        _over_members(record, name, f"{_POLICIES[name][0]} {word}", curve)
        for name in _ENSEMBLES
        for curve, word in (("together", "all"), ("alone", "one"))
    )
    ends = "; ".join(
        f"{_POLICIES[name][0]} {say.measured(record, name, 'ensemble', share=True)}"
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
        return Line(name)
    columns = zip(*(curves[curve] for curves in runs), strict=True)
    return Line(name, runs[0]["members"], [whole_mean(column) for column in columns])


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
_LOSSES = {"metric": "loss", "best member": "", "last member": ""}

_Value = tuple[str, str]
_PAIRS: tuple[tuple[str, _Value, _Value], ...] = (
    ("snapshots and their best member", ("restarts", "ensemble"), ("restarts", "best member")),
    ("FGE and its best member", ("fge", "ensemble"), ("fge", "best member")),
    ("snapshots and 1cycle", ("restarts", "ensemble"), ("one_cycle", "metric")),
    ("FGE and 1cycle", ("fge", "ensemble"), ("one_cycle", "metric")),
    ("snapshots and the fixed rate", ("restarts", "ensemble"), ("fixed", "metric")),
    ("SWA of restarts and the last member", ("restarts", "swa"), ("restarts", "last member")),
    ("SWA of FGE and the last member", ("fge", "swa"), ("fge", "last member")),
    ("EMA and the last weights", ("fixed", "ema"), ("fixed", "metric")),
)
_IN_A_SENTENCE = {
    ("restarts", "ensemble"): "The snapshots of the warm restarts together",
    ("restarts", "best member"): "their best member",
    ("restarts", "last member"): "the last member",
    ("restarts", "swa"): "The averaged weights (SWA) of the restarts",
    ("fge", "ensemble"): "The members of FGE together",
    ("fge", "best member"): "their best member",
    ("fge", "last member"): "the last member",
    ("fge", "swa"): "The averaged weights (SWA) of FGE",
    ("one_cycle", "metric"): "1cycle on the same budget",
    ("fixed", "metric"): "the last weights of the fixed rate",
    ("fixed", "ema"): "The exponentially averaged weights (EMA) of the fixed rate",
}


def tables(record: Reproduction) -> tuple[Table, ...]:
    """Every model that a budget gives; and the differences that matter, seed by seed."""
    return _main_table(record), _paired_table(record)


def _main_table(record: Reproduction) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, cell, value, told in _ROWS:
        if record.of(cell):
            loss = _LOSSES.get(value, f"{value} loss")
            tops = record.values(f"range test {_tested(cell, record.size)}", "max_lr")
            accuracy = say.measured(record, cell, value, share=True)
            losses = say.measured(record, cell, loss, decimals=3) if loss else MISSING
            rows.append((label, told, say.rates(tops), accuracy, losses))
    legend = (
        f"Accuracy and cross-entropy on the test images, {say.over_seeds(record, 'restarts')}; "
        "every group of rows is one training, all of the same length. The best member is chosen on "
        "the test images, which flatters it."
    )
    heads = ("model", "articles", "top rate", "accuracy", "loss")
    return Table("Articles and here", heads, tuple(rows), legend)


def _paired_table(record: Reproduction) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, one, other in _PAIRS:
        gains = _gains(record, one, other)
        if gains:
            mean, low, high = (
                say.points(gain, 2, signed=True)
                for gain in (statistics.fmean(gains), min(gains), max(gains))
            )
            above = sum(gain > 0 for gain in gains)
            rows.append((label, mean, f"{low} to {high}", f"{above} of {len(gains)}"))
    heads = ("the first against the second", "mean", "over the seeds", "above")
    legend = "Differences of the test accuracy between two models of the same seed."
    return Table("Seed by seed", heads, tuple(rows), legend)


def _gains(record: Reproduction, one: _Value, other: _Value) -> list[float]:
    """By how much the first is above the second with each seed that has both."""
    first, second = (
        {run.seed: run.outcome.values.get(name) for run in record.of(cell)}
        for cell, name in (one, other)
    )
    pairs = [(value, second.get(seed)) for seed, value in first.items()]
    return [a - b for a, b in pairs if a is not None and b is not None]


def lessons(record: Reproduction) -> tuple[str, ...]:
    """Ensembles against their best member and against 1cycle; averages; the single models."""
    verdicts = (
        _verdict(_IN_A_SENTENCE[one], _IN_A_SENTENCE[other], _gains(record, one, other))
        for _, one, other in _PAIRS
    )
    singles = [
        f"{label} {say.measured(record, name, 'metric', share=True)}"
        for name, (_, label, _) in _POLICIES.items()
        if name not in _ENSEMBLES and record.of(name)
    ]
    alone = f"Single models at the end of the budget: {', '.join(singles)}." if singles else ""
    return say.sentences(*verdicts, alone)


def _verdict(subject: str, than: str, gains: list[float]) -> str:
    if not gains:
        return ""
    above, mean = sum(gain > 0 for gain in gains), statistics.fmean(gains)
    numbers = (
        f"on average {say.points(mean, 2, signed=True)}, above in {above} of "
        f"{count(len(gains), 'seed')}"
    )
    if len(gains) == 1:
        return f"{subject}, beside {than}: {numbers}. One seed decides nothing."
    if above == len(gains):
        return f"{subject} beat {than} with every seed: {numbers}."
    how = "every" if above else "any"
    return f"{subject} do not beat {than} with {how} seed: {numbers}."


EXPERIMENT = Experiment(
    name="snapshot",
    title="Snapshot ensembles, FGE and averaged weights",
    source=(
        "Gao Huang et al., Snapshot Ensembles, 2017, and the thread on cyclical rates in the forum "
        "of fast.ai; Timur Garipov et al., 2018 (FGE); Pavel Izmailov et al., 2018 (SWA)"
    ),
    article="""
        The rate falls along a cosine to zero and starts again at the top, several times in the
        budget of one training. The model is saved at each low point; the mean of the saved models'
        probabilities is the answer. It is better than the one model of an ordinary schedule, at no
        further cost of training.

        In the forum: save the weights where the rate is low and use them together, for a percent or
        two more; a high rate may carry the model to another minimum in between.

        FGE starts from a trained model and takes members in short cycles of a few epochs at lower
        rates. SWA averages the weights of such points instead of their predictions: one model, near
        the ensemble.
    """,
    differences=f"""
        The articles train deep networks on CIFAR for hundreds of epochs. Here: Fashion-MNIST, two
        convolutions of 16 and 32 filters and a dense layer of 64 with batch normalisation, SGD with
        momentum 0.9, batches of {BATCH}, {_EPOCHS} epochs for every policy.

        Warm restarts: {CYCLES} cycles. FGE: 13 epochs along a cosine down to a fifth of the highest
        rate, then {FGE_MEMBERS} members in cycles of 2 epochs between that and a hundredth of it.

        Every rate is found by our range test, for its kind of policy and this length; those of the
        articles are for their networks. EMA: of the training at a fixed rate, by Keras, momentum
        {EMA_MOMENTUM}.

        Beyond the articles: 1cycle with the same budget.
    """,
    backend="tensorflow",
    seeds=3,
    minutes=60,
    cells=cells,
    open=open_stage,
    charts=charts,
    tables=tables,
    lessons=lessons,
)
