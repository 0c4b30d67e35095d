"""A compiled Keras model with everything that a range test could leave changed."""

from __future__ import annotations

import random
import sys
from typing import Any

import keras
import numpy as np

import cyclerate.keras as ck
from cyclerate.keras._internals import global_seed_generator, tensorflow_seeds
from cyclerate.keras._state import seed_all_randomness
from tests.keras.toys import value


class Watched(keras.layers.Layer):
    """Counts its calls, as a weight and as an attribute; user code runs in it."""

    def __init__(self, shop: Any) -> None:
        super().__init__()
        self.at = lambda: shop.at("forward")
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
        self.traced = 0

    def call(self, x: Any) -> Any:
        self.at()
        self.traced += 1
        self.calls.assign_add(1.0)
        return x


class Distance(keras.metrics.Metric):
    """A metric of the user's."""

    def __init__(self, shop: Any) -> None:
        super().__init__(name="distance")
        self.shop = shop
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.shop.at("metric")
        self.total.assign_add(keras.ops.sum(keras.ops.abs(y_true - y_pred)))

    def result(self) -> Any:
        return self.total + 0.0


class Watching(keras.optimizers.SGD):
    """An optimizer of the user's."""

    shop: Any = None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.shop.at("optimizer")
        super().update_step(gradient, variable, learning_rate)


class Rows(keras.utils.PyDataset):
    """Reshuffles by the generators of Python and NumPy, and by one of its own."""

    def __init__(self, shop: Any) -> None:
        super().__init__()
        self.shop, self.read = shop, 0
        self.rng, self.order = np.random.default_rng(1), list(range(24))
        self.x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")

    @property
    def num_batches(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read += 1
        noise = self.rng.normal() + random.gauss(0, 1) + np.random.normal()  # noqa: NPY002
        self.order[:2] = self.order[1::-1]
        x = self.x[self.order[8 * index : 8 * index + 8]]
        return self.shop.at("loader", x), x[:, :1] + 0.01 * float(noise)

    def on_epoch_end(self) -> None:
        self.rng.shuffle(self.order)


def bits(variable: Any) -> bytes:
    """The value of a variable; nothing while a step on JAX has it."""
    return b"" if variable._value is None else value(variable).tobytes()


class Everything:
    """The model in the midst of a training; `at(place, value)` runs where code of the user does.

    Compiled, that is only where batches are read; with `eager` it is everywhere.
    """

    def __init__(self, *, eager: bool = False) -> None:
        self.at: Any = lambda place, value=None: value
        seed_all_randomness(7)
        layers = keras.layers
        self.watched, norm = Watched(self), layers.BatchNormalization()
        frozen = layers.Dense(8, trainable=False)
        stack = [layers.Dense(8, activation="tanh"), self.watched, norm, layers.Dropout(0.25)]
        self.model = keras.Sequential([keras.Input((3,)), *stack, frozen, layers.Dense(1)])
        optimizer = Watching(0.01, momentum=0.9)
        optimizer.shop = self

        level = self.level = keras.Variable(0.0, trainable=False)

        def loss(y_true: Any, y_pred: Any) -> Any:
            level.assign_add(1.0)
            error = keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)
            return self.at("loss", error)

        self.model.compile(optimizer, loss, metrics=[Distance(self)], run_eagerly=eager)
        self.data = Rows(self)
        self.seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: None)
        self.model.fit(self.data, epochs=2, verbose=0, callbacks=[self.seen])

    def range_test(self, **options: Any) -> Any:
        sweep = {"method": "range", "steps": 30, "start_lr": 1e-5, "end_lr": 1e-3}
        return ck.range_test(self.model, self.data, **{**sweep, **options})

    def picture(self) -> dict[str, Any]:
        """Everything, by value, under the name of what it is."""
        model, data, seeds = self.model, self.data, global_seed_generator()
        values = {id(v): bits(v) for v in self._variables()}
        optimizer = model.optimizer
        legacy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        told = {
            "weights": [values[id(v)] for v in model.trainable_variables],
            "statistics and counters in weights": [
                values[id(v)] for v in model.non_trainable_variables
            ],
            "seeds of layers": [*map(bits, self._seeds())],
            "optimizer state": [values[id(v)] for v in optimizer.variables],
            "a variable in the closure of the loss": bits(self.level),
            "rate": bits(optimizer._learning_rate),
            "metrics": [values[id(v)] for v in model.metrics_variables],
            "trainable": [v.trainable for v in model.variables],
            "history": (id(model.history), dict(model.history.history)),
            "callbacks": (id(self.seen._model), [*model.history.epoch]),
            "compiled functions": (id(model.train_function), id(model.test_function)),
            "attributes of the model": (sorted(vars(model)), model.stop_training),
            "attributes of a layer": self.watched.traced,
            "order of the data": list(data.order),
            "generator of the data set": data.rng.bit_generator.state,
            "attributes of the data set": data.read,
            "random state of Python": random.getstate(),
            "random state of NumPy": (legacy["key"].tobytes(), legacy["pos"]),
            "random state of Keras": (id(seeds), None if seeds is None else bits(seeds.state)),
        }
        return told | (self._of_torch() if "torch" in sys.modules else {}) | self._of_tensorflow()

    def _variables(self) -> list[Any]:
        model = self.model
        return [*model.variables, *model.optimizer.variables, *model.metrics_variables]

    def _seeds(self) -> list[Any]:
        return [v for v in self.model.variables if "seed" in v.path]

    def _of_torch(self) -> dict[str, Any]:
        import torch

        told: dict[str, Any] = {"random state of PyTorch": torch.get_rng_state().numpy().tobytes()}
        if keras.backend.backend() == "torch":
            grads = [p.grad for p in self.model.parameters()]
            told["gradients"] = [None if g is None else g.numpy().tobytes() for g in grads]
            told["modes"] = [module.training for module in self.model.modules()]
            told["requires_grad"] = [p.requires_grad for p in self.model.parameters()]
        return told

    @staticmethod
    def _of_tensorflow() -> dict[str, Any]:
        if "tensorflow" not in sys.modules:
            return {}
        _, seed, generator = tensorflow_seeds()
        return {"random state of TensorFlow": (seed, generator and generator.getstate())}
