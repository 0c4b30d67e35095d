"""The Keras adapter, on the backend that is set."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate.keras._internals import global_seed_generator
from cyclerate.keras._state import seed_all_randomness, variables_of
from tests.adapters.driver import Trained
from tests.keras.quick import free_graphs
from tests.keras.toys import Weights, fit_steps, mean_of_output, one_weight, value


class KerasDriver:
    """Drives `ScheduleCallback` and `range_test`."""

    def __init__(self) -> None:
        self._trainees: dict[str, KerasToy] = {}

    def train(self, schedule: cr.Schedule, steps: int) -> Trained:
        model, cycle = self._model(), ck.ScheduleCallback(schedule)
        applied = self._moves(model, steps, cycle)
        return Trained(cycle.history["learning_rate"], applied)

    def train_in_two_parts(
        self, schedule: cr.Schedule, steps: int, first: int, folder: Path
    ) -> Trained:
        begun, resumed = (
            ck.ScheduleCallback(schedule),
            ck.ScheduleCallback(schedule, start_step=first),
        )
        model = self._model()
        applied = self._moves(model, first, begun)
        model.save_weights(folder / "half.weights.h5")
        again = self._model()
        again.optimizer.build(again.trainable_variables)
        again.load_weights(folder / "half.weights.h5")
        applied += self._moves(again, steps - first, resumed)
        name = "learning_rate"
        return Trained(begun.history[name] + resumed.history[name], applied)

    def toy(self, data: str = "plain") -> KerasToy:
        if data not in self._trainees:
            self._trainees[data] = KerasToy(data)
        toy = self._trainees[data]
        toy.begin_again()
        return toy

    @staticmethod
    def _model() -> Any:
        free_graphs()
        return one_weight(keras.optimizers.SGD(0.5), mean_of_output)

    @staticmethod
    def _moves(model: Any, steps: int, callback: Any) -> list[float]:
        before, weights = float(value(model.trainable_variables[0])[0, 0]), Weights()
        fit_steps(model, steps, callback, weights)
        return (-np.diff([before, *weights.seen])).tolist()


class KerasToy:
    """Dense layers, batch normalisation and dropout, trained for an epoch with momentum.

    Compiling takes longer than training it: one is made, and begins again for each test.
    """

    parameters = 113

    def __init__(self, data: str) -> None:
        seed_all_randomness(7)
        layers = keras.layers
        self.model = keras.Sequential(
            [
                keras.Input((3,)),
                layers.Dense(16, activation="tanh"),
                layers.BatchNormalization(),
                layers.Dropout(0.25),
                layers.Dense(1),
            ]
        )
        self.model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", metrics=["mae"])
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(8 if data == "tiny" else 120, 3)).astype("float32")
        self.y = self.x[:, :1] * 2
        self.model.fit(self.x, self.y, batch_size=8, verbose=0)
        self.tested_y = self.y.copy()
        if data == "nan":
            self.tested_y[::2] = np.nan
        self._start = [(variable, value(variable)) for variable in variables_of(self.model)]

    def begin_again(self) -> None:
        """Gives it the weights, all other state and the random numbers of its start."""
        for variable, start in self._start:
            variable.assign(start)
        seed_all_randomness(7)

    def range_test(self, **options: Any) -> cr.RangeTestResult:
        return ck.range_test(self.model, self.x, self.tested_y, batch_size=8, **options)

    def recommend(self, **options: Any) -> cr.Recommendation:
        return ck.recommend(self.model, self.x, self.tested_y, batch_size=8, **options)

    def state(self) -> Mapping[str, Any]:
        model, seeds = self.model, global_seed_generator()
        state = {f"{i} {v.path}": value(v).tobytes() for i, v in enumerate(variables_of(model))}
        state |= {
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False)["state"]["key"].tobytes(),  # noqa: NPY002
            "numpy position": np.random.get_state(legacy=False)["state"]["pos"],  # noqa: NPY002
            "keras": (seeds, None if seeds is None else value(seeds.state).tobytes()),
            "rate": float(model.optimizer.learning_rate),
            "iterations": int(model.optimizer.iterations),
            "history": model.history,
            "stop_training": model.stop_training,
            "steps_per_execution": model.steps_per_execution,
            "train_function": model.train_function,
            "attributes": sorted(vars(model)),
            "optimizer's attributes": sorted(vars(model.optimizer)),
        }
        if keras.backend.backend() == "torch":
            state |= self._torch_state(model)
        if "tensorflow" in sys.modules:
            from cyclerate.keras._internals import tensorflow_seeds

            _, seed, generator = tensorflow_seeds()
            state |= {"tensorflow": (seed, generator and generator.getstate())}
        return state

    def train_on(self) -> np.ndarray:
        self.model.fit(self.x, self.y, batch_size=8, epochs=2, verbose=0)
        return np.concatenate([value(v).ravel() for v in self.model.variables])

    @staticmethod
    def _torch_state(model: Any) -> dict[str, Any]:
        import torch

        return {
            "torch": torch.get_rng_state().numpy().tobytes(),
            "training": [module.training for module in model.modules()],
            "gradients": [id(parameter.grad) for parameter in model.parameters()],
        }
