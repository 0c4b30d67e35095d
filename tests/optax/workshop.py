"""A loss function with everything that a range test could leave changed around it."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import cyclerate.optax as co


class Rows:
    """Batches in an order of its own, with noise from every generator."""

    def __init__(self, shop: Any) -> None:
        self.shop, self.read = shop, 0
        self.rng, self.order = np.random.default_rng(1), list(range(24))
        self.x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")

    def __iter__(self) -> Any:
        self.rng.shuffle(self.order)
        for rows in np.reshape(self.order, (3, 8)):
            self.read += 1
            noise = self.rng.normal() + random.gauss(0, 1) + np.random.normal()  # noqa: NPY002
            x = self.x[rows]
            yield self.shop.at("loader", x), (x[:, 0] + 0.01 * noise).astype("float32")


class Everything:
    """Parameters and states in the midst of a training; `at` runs where code of the user does.

    Compiled, that is only where batches are read; with `eager` it is everywhere.
    """

    def __init__(self, *, eager: bool = False) -> None:
        self.at: Any = lambda place, value=None: value
        self._eager = eager
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        hidden = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
        self.params = {"hidden": jnp.asarray(hidden), "out": np.ones(4, "float32") / 2}
        self.model_state = {"mean": jnp.zeros(4)}
        self.rng = jax.random.key(2)
        self.data, behind = Rows(self), np.random.default_rng(3)
        self.behind, rows = behind, self.data

        def batches() -> Any:
            for x, y in rows:
                yield x, y + np.float32(0.01 * behind.normal())

        self.batches = batches
        optimizer = self._optimizer(0.05)
        self.opt_state = optimizer.init(self.params)
        gradient = jax.tree.map(jnp.ones_like, self.params)
        _, self.opt_state = optimizer.update(gradient, self.opt_state, self.params)

    def _optimizer(self, rate: Any) -> Any:
        def update(updates: Any, state: Any, params: Any = None) -> Any:
            return self.at("optimizer", updates), state

        watched = optax.GradientTransformation(lambda _: optax.EmptyState(), update)
        sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=0.9)
        return optax.chain(watched, sgd)

    def _loss_fn(self, params: Any, batch: Any, state: Any, rng: Any) -> Any:
        x, y = batch
        hidden = self.at("forward", jax.nn.relu(x @ params["hidden"]))
        kept = jax.random.bernoulli(rng, 0.75, hidden.shape) / 0.75
        loss = self.at("loss", jnp.mean(((hidden * kept) @ params["out"] - y) ** 2))
        metric = self.at("metric", jnp.sqrt(loss))
        return loss, ({"mean": state["mean"] + hidden.mean(0)}, {"root": metric})

    def range_test(self, **options: Any) -> Any:
        sweep = {"method": "range", "steps": 30, "start_lr": 1e-5, "end_lr": 1e-3}
        held = {"model_state": self.model_state, "opt_state": self.opt_state, "rng": self.rng}
        asked = {"metric": "root", "mode": "min", "has_aux": True, **held, **sweep, **options}
        with jax.disable_jit() if self._eager else nullcontext():
            return co.range_test(self._loss_fn, self.params, self._optimizer, self.batches, **asked)

    def picture(self) -> dict[str, Any]:
        """Everything, by value, under the name of what it is."""
        legacy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        arrays = {name: vars(self)[name] for name in ("params", "opt_state", "model_state")}
        told = {name: [*map(np.array, jax.tree.leaves(tree))] for name, tree in arrays.items()}
        return {
            "parameters": told["params"],
            "optimizer state": told["opt_state"],
            "rate": float(optax.tree.get(self.opt_state, "learning_rate")),
            "state of the model": told["model_state"],
            "key": np.asarray(jax.random.key_data(self.rng)).tobytes(),
            "the same arrays": [
                id(leaf) for tree in arrays.values() for leaf in jax.tree.leaves(tree)
            ],
            "order of the data": list(self.data.order),
            "generator of the data set": self.data.rng.bit_generator.state,
            "attributes of the data set": self.data.read,
            "generator behind a closure": self.behind.bit_generator.state,
            "random state of Python": random.getstate(),
            "random state of NumPy": (legacy["key"].tobytes(), legacy["pos"]),
            "jax_debug_nans": jax.config.values["jax_debug_nans"],
        }
