"""What do schedules and the range test cost in Keras?

Three tables for the backend that is set: training a tiny network with a scheduled rate against a
constant one, a sweep of 100 steps against 100 steps of training, and `fit_one_cycle(find="warmup")`
against one with the rate given, both compiled in every run. Ratios, in one run.

    KERAS_BACKEND=jax python benchmarks/overhead_keras.py [--rounds 15] [--steps 2000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

import cyclerate as cr
import cyclerate.keras as ck

if __package__:
    from benchmarks._timing import CLOCKS, Ratio, compare, versions
else:  # run as a script
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks._timing import CLOCKS, Ratio, compare, versions

BACKEND_PACKAGE = {"jax": "jax", "tensorflow": "tensorflow_cpu", "torch": "torch"}


class AssigningCallback(keras.callbacks.Callback):
    """The usual way: the rate is assigned before each batch."""

    def __init__(self, schedule: cr.Schedule) -> None:
        super().__init__()
        self.schedule, self.step = schedule, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self.schedule(self.step)
        self.step += 1


def mlp(width: int, layers: int, rate: Any) -> keras.Model:
    hidden = [keras.layers.Dense(width, activation="relu") for _ in range(layers)]
    model = keras.Sequential([keras.Input((width,)), *hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    return model


def data(samples: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, width)).astype("float32")
    return x, x[:, :1].copy()


def tiny_runs(steps: int) -> dict[str, Callable[[], object]]:
    x, y = data(16 * steps, 8)
    policy = cr.OneCycle(max_lr=0.01, total_steps=10 * steps)
    momentum = policy.mirrored(0.85, 0.95)
    cycles = {
        "constant": (0.01, []),
        "constant, again": (0.01, []),
        "as_schedule": (ck.as_schedule(policy), []),
        "ScheduleCallback(lr)": (0.01, [ck.ScheduleCallback(policy)]),
        "ScheduleCallback(lr, momentum)": (0.01, [ck.ScheduleCallback(policy, momentum)]),
        "assigned by a callback": (0.01, [AssigningCallback(policy)]),
    }

    def run(rate: Any, callbacks: list[Any]) -> Callable[[], object]:
        model = mlp(8, 2, rate)
        return lambda: model.fit(x, y, batch_size=16, callbacks=callbacks, verbose=0)

    return {name: run(*cycle) for name, cycle in cycles.items()}


def range_test_runs(steps: int, width: int) -> dict[str, Callable[[], object]]:
    batch = 256
    x, y = data(batch * steps, width)

    def fresh() -> keras.Model:
        return mlp(width, 3, 1e-3)

    def fit(model: keras.Model) -> object:
        return model.fit(x, y, batch_size=batch, verbose=0)

    def test(model: keras.Model) -> object:
        options = {"method": "range", "steps": steps, "end_lr": 1e-4, "stop_early": False}
        return ck.range_test(model, x, y, batch_size=batch, **options)

    trained = fresh()
    fit(trained)
    return {
        "fit, compiled before": lambda: fit(trained),
        "range_test, compiled before": lambda: test(trained),
        "fit, new model": lambda: fit(fresh()),
        "range_test, new model": lambda: test(fresh()),
    }


def fit_runs(steps: int, width: int) -> dict[str, Callable[[], object]]:
    """A cycle at a given rate, and one that finds its own top; both compile."""
    batch = 256
    x, y = data(batch * steps // 4, width)

    def fit(**how: Any) -> Callable[[], object]:
        return lambda: ck.fit_one_cycle(
            mlp(width, 3, 1e-3), x, y, total_steps=steps, batch_size=batch, verbose=0, **how
        )

    given = fit(max_lr=1e-3)
    runs = {"max_lr given": given, "max_lr given, again": given}
    return runs | {'find="warmup"': fit(find="warmup")}


def show(title: str, steps: int, ratios: Mapping[str, Ratio]) -> None:
    print(f"\n{title}\n{'':32}  ratio   middle half       ms per step")
    for name, ratio in ratios.items():
        print(f"{name:32} {ratio}   {1000 * ratio.seconds / steps:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often everything is run")
    parser.add_argument("--steps", type=int, default=2000, help="steps per run, tiny network")
    parser.add_argument("--test-steps", type=int, default=100, help="steps of the range test")
    parser.add_argument("--width", type=int, default=768, help="of the network that it tests")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    clock = CLOCKS[arguments.clock]
    backend = keras.backend.backend()
    print(f"{backend}: {versions('keras', BACKEND_PACKAGE[backend], 'numpy')}")

    steps = arguments.steps
    ratios = compare("constant", tiny_runs(steps), arguments.rounds, clock=clock)
    show(f"A tiny network, {steps} steps, against a constant rate", steps, ratios)

    steps = arguments.test_steps
    runs = range_test_runs(steps, arguments.width)
    for kind in ("compiled before", "new model"):
        pair = {name: run for name, run in runs.items() if name.endswith(kind)}
        ratios = compare(f"fit, {kind}", pair, arguments.rounds, clock=clock)
        show(f"A range test of {steps} steps, against as many of fit, {kind}", steps, ratios)

    steps = 4 * steps
    runs = fit_runs(steps, arguments.width)
    ratios = compare("max_lr given", runs, arguments.rounds, clock=clock)
    show(f"fit_one_cycle of {steps} steps", steps, ratios)


if __name__ == "__main__":
    main()
