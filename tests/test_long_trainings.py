"""What grows with the steps of a training is small, and a billion planned steps cost nothing."""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from cyclerate.cycles._ends import CycleEnds, EpochsThatEndCycles
from cyclerate.finder import Probe, Race, RangeTest, RangeTestSettings, Sweep
from cyclerate.finder._prior import prior_lr
from cyclerate.finder._warmup import FindingCycle

BYTES_A_NUMBER = 12
"""Eight, and what an array reserves to grow into; a list of floats takes 32."""
DUST = 32
"""Bytes a step that a framework leaves in a process: caches, and Python's own."""
BILLION = 10**9
x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")


class Enough(Exception):
    """Ends a training that would take years."""


def bytes_a_step(grow: Callable[[], object], steps: int) -> float:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [grow()]  # alive while it is measured
        held = tracemalloc.get_traced_memory()[0] - before
        kept.clear()
        return held / steps
    finally:
        tracemalloc.stop()


class Meter:
    """Called at each step: notes what Python holds at two of them for calls of ours.

    Caches that a framework fills by itself, in Python too, are of another size in each process.
    """

    OURS = tracemalloc.Filter(True, str(Path(cr.__file__).parent / "*"), all_frames=True)

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.seen, self.held = first, last, 0, [0, 0]

    def __call__(self) -> None:
        self.seen += 1
        if self.seen in (self.first, self.last):
            gc.collect()
            ours = tracemalloc.take_snapshot().filter_traces([self.OURS]).traces
            self.held[self.seen == self.last] = sum(trace.size for trace in ours)
        if self.seen == self.last:
            raise Enough

    @contextmanager
    def measuring(self) -> Generator[None]:
        tracemalloc.start(4)  # frames: of a framework's call, those above it are ours
        try:
            with pytest.raises(Enough):
                yield
        finally:
            tracemalloc.stop()

    @property
    def bytes_a_step(self) -> float:
        return (self.held[1] - self.held[0]) / (self.last - self.first)


def told(run: Race | RangeTest) -> Race | RangeTest:
    """Tells losses that fall."""
    while not run.done:
        run.tell(1.0 - 1e-6 * run.index)
    return run


@pytest.mark.parametrize(
    ("make", "numbers"),
    [(lambda: RangeTest(Sweep(steps=5000)), 3), (lambda: Race(np.full(5000, 0.1)), 2)],
    ids=["sweep", "race"],
)
def test_a_run_holds_a_rate_and_what_it_was_told(make: Callable[[], Any], numbers: int):
    assert bytes_a_step(lambda: told(make()), 5000) < numbers * BYTES_A_NUMBER


def test_cycles_that_were_followed_are_their_last_steps():
    ends = CycleEnds(cr.Triangular(0.1, 1.0, step_size=1), BILLION)
    assert bytes_a_step(lambda: ends.cycle_at(60_000), 30_000) < BYTES_A_NUMBER + 90  # the block


def test_a_fit_of_pytorch_records_two_numbers_a_step():
    torch = pytest.importorskip("torch")
    import cyclerate.torch as ct

    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Meter(257, 257 + 1024)  # losses wait on their device for 256 steps

    def loss_fn(output: Any, target: Any) -> Any:
        meter()
        return torch.nn.functional.mse_loss(output, target)

    data = torch.from_numpy(x), torch.from_numpy(x[:, :1])
    with meter.measuring():
        ct.fit_one_cycle(
            model, optimizer, loss_fn, data, total_steps=BILLION, max_lr=1e-3, batch_size=8
        )
    assert meter.bytes_a_step < 2 * BYTES_A_NUMBER + DUST


def test_a_training_of_optax_records_two_numbers_a_step():
    optax = pytest.importorskip("optax")
    import cyclerate.optax as co

    def loss_fn(params: Any, batch: Any) -> Any:
        return ((params - batch) ** 2).mean()

    training = co.CycleTraining(loss_fn, x[0], optax.sgd, BILLION, max_lr=1e-3)
    meter = Meter(300, 1300)
    with meter.measuring():
        while True:
            training.step(x)
            meter()
    assert meter.bytes_a_step < 2 * BYTES_A_NUMBER + DUST
    assert {name: len(values) for name, values in training.history.items()} == {
        "loss": 1300,
        "learning_rate": 1300,
    }


@pytest.mark.keras_backend
def test_the_callbacks_of_keras_record_a_number_of_each_kind_a_step():
    keras = pytest.importorskip("keras")
    import cyclerate.keras as ck

    grow = ck.ExponentialLearningRate(factor=1.0)

    def take() -> None:
        for _ in range(3000):
            grow.take(0.5, {})

    assert bytes_a_step(take, 3000) < 2 * BYTES_A_NUMBER
    assert (len(grow.rates), grow.losses[-1]) == (3000, 0.5)
    clr = ck.CyclicLR()

    def be_told() -> None:
        for batch in range(3000):
            clr.on_train_batch_end(batch, {"loss": 0.5})

    assert bytes_a_step(be_told, 3000) < 3 * BYTES_A_NUMBER
    assert clr.history["iterations"][-1] == 3000

    meter = Meter(100, 500)

    class Metered(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            meter()

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    cycle = ck.SelfFindingCycle(BILLION, max_lr=1e-3)
    with meter.measuring():
        model.fit(
            x, x.sum(1), batch_size=8, epochs=BILLION, callbacks=[cycle, Metered()], verbose=0
        )
    assert len(cycle.history["loss"]) == 500
    assert meter.bytes_a_step < 2 * (BYTES_A_NUMBER + DUST)


SCHEDULES = [
    cr.Linear(0.1, 1.0, BILLION),
    cr.Exponential(0.1, 1.0, BILLION),
    cr.Cosine(1.0, 0.1, BILLION),
    cr.Polynomial(1.0, 0.1, BILLION, power=2.0),
    cr.Triangular(0.1, 1.0, BILLION // 2),
    cr.Triangular2(0.1, 1.0, 100),
    cr.ExpRange(0.1, 1.0, 100, gamma=0.9999),
    cr.Cyclic(0.1, 1.0, BILLION // 4, shape="cosine"),
    cr.OneCycle(1.0, BILLION),
    cr.WarmRestarts(1.0, 10, cycle_mult=1.01),
    cr.WarmRestarts(1.0, BILLION),
    cr.WarmupStableDecay(1.0, BILLION),
    cr.CosLog(1.0, BILLION, cycles=8),
    cr.Sequence(
        [cr.Linear(0.1, 1.0, BILLION // 2), cr.Cosine(1.0, 0.1, BILLION // 2)], [BILLION // 2]
    ),
]


@contextmanager
def costing_nothing(megabytes: float = 5.0, seconds: float = 2.0) -> Generator[None]:
    """A block of 65,536 steps is looked at at a time, in 3 MB."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 1e6 * megabytes
        assert time.process_time() - began < seconds
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_a_schedule_over_a_billion_steps_costs_nothing(schedule: cr.Schedule):
    with costing_nothing():
        assert math.isfinite(schedule(BILLION - 1))
        assert cr.from_dict(schedule.to_dict()) == schedule
        assert schedule.mirrored(0.8, 0.9)(BILLION - 1) <= 0.9
        CycleEnds(schedule, BILLION).cycle_at(5)
    rises = isinstance(schedule, (cr.Linear, cr.Exponential))
    with costing_nothing():
        assert rises or CycleEnds(schedule, BILLION).any_after(3)


def test_planning_a_billion_steps_costs_nothing():
    with costing_nothing():
        Probe(horizon_steps=BILLION)
        RangeTestSettings(horizon_steps=BILLION)
        cycle = FindingCycle(BILLION, prior_lr("sgd", batch_size=8, total_steps=BILLION))
        cycle.tell(1.0)
        assert len(str(cycle.state())) < 5000
        ends = EpochsThatEndCycles(cr.Triangular(0.1, 1.0, 8000), range(8000, BILLION, 8000))
        assert (11 in ends, 12 in ends) == (True, False)
        cr.fge_schedule(1.0, 0.1, BILLION)


@pytest.mark.parametrize("way", ["warmup", "probe", "sweep", "given", "cycles", "how_long"])
def test_a_recipe_of_pytorch_begins_a_billion_steps_at_once(way: str):
    torch = pytest.importorskip("torch")
    import cyclerate.torch as ct

    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    left = [12]

    def loss_fn(output: Any, target: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Enough
        return torch.nn.functional.mse_loss(output, target)

    data = torch.from_numpy(x), torch.from_numpy(x[:, :1])
    given = (model, optimizer, loss_fn, data)
    recipes: dict[str, Callable[[], object]] = {
        "given": lambda: ct.fit_one_cycle(
            *given, total_steps=BILLION, max_lr=0.1, guard=True, batch_size=8
        ),
        "cycles": lambda: ct.fit_cycles(
            *given,
            epochs=BILLION,
            max_lr=0.1,
            batch_size=8,
            patience_cycles=1,
            validation_data=data,
        ),
        "how_long": lambda: ct.how_long(*given, total_steps=BILLION, batch_size=8),
    }
    usual = lambda: ct.fit_one_cycle(*given, total_steps=BILLION, find=way, batch_size=8)  # noqa: E731
    with costing_nothing(), pytest.raises(Enough):
        recipes.get(way, usual)()


def test_what_follows_cycles_in_pytorch_costs_nothing():
    torch = pytest.importorskip("torch")
    import cyclerate.torch as ct

    model = torch.nn.Linear(3, 1)
    for schedule in (cr.OneCycle(1.0, BILLION), cr.Triangular(0.1, 1.0, 10)):
        with costing_nothing():
            ct.CycleEarlyStopping(model, schedule, BILLION).step(lambda: 1.0)
            ct.DivergenceGuard([model], schedule, BILLION).step(1.0)
            ct.WeightAveraging(model, schedule, BILLION).step()


@pytest.mark.keras_backend
def test_a_fit_of_keras_begins_a_billion_epochs_at_once():
    keras = pytest.importorskip("keras")
    import cyclerate.keras as ck

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise Enough

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.fit(x, x.sum(1), verbose=0)
    callbacks = [
        ck.ScheduleCallback(cr.Triangular(0.01, 0.1, 800)),
        ck.CycleEarlyStopping(monitor="loss"),
        ck.DivergenceGuard(),
        Stop(),
    ]
    with costing_nothing(), pytest.raises(Enough):
        model.fit(x, x.sum(1), batch_size=8, epochs=BILLION, callbacks=callbacks, verbose=0)
