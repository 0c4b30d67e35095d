"""JAX with Optax, which takes the schedules as they are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import cyclerate as cr
import cyclerate.optax as co
from tests.adapters.driver import Trained

GRADIENT = jnp.ones(())


class OptaxDriver:
    """Drives schedules inside a compiled step, and `range_test`."""

    def train(self, schedule: cr.Schedule, steps: int) -> Trained:
        weight, state = jnp.zeros(()), optax.sgd(schedule).init(GRADIENT)
        return self._go_on(schedule, weight, state, steps)[0]

    def train_in_two_parts(
        self, schedule: cr.Schedule, steps: int, first: int, folder: Path
    ) -> Trained:
        weight, state = jnp.zeros(()), optax.sgd(schedule).init(GRADIENT)
        begun, weight, state = self._go_on(schedule, weight, state, first)
        leaves, structure = jax.tree.flatten((weight, state))
        np.savez(folder / "half.npz", *leaves)
        with np.load(folder / "half.npz") as saved:
            weight, state = structure.unflatten(jnp.asarray(saved[name]) for name in saved.files)
        resumed, _, _ = self._go_on(schedule, weight, state, steps - first)
        return Trained(begun.recorded + resumed.recorded, begun.applied + resumed.applied)

    def toy(self, data: str = "plain") -> OptaxToy:
        return OptaxToy(data)

    @staticmethod
    def _go_on(
        schedule: cr.Schedule, weight: Any, state: Any, steps: int
    ) -> tuple[Trained, Any, Any]:
        update = jax.jit(optax.sgd(schedule).update)
        recorded, applied = [], []
        for _ in range(steps):
            recorded.append(schedule(int(optax.tree.get(state, "count"))))
            updates, state = update(GRADIENT, state, weight)
            applied.append(-float(updates))
            weight = optax.apply_updates(weight, updates)
        return Trained(recorded, applied), weight, state


class OptaxToy:
    """Two layers with a running mean and dropout between them, trained an epoch with momentum."""

    parameters = 16

    def __init__(self, data: str) -> None:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002 - a range test must put back the global generator
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(8 if data == "tiny" else 40, 3)).astype(np.float32)
        self.y = self.x[:, 0] * 2
        hidden = rng.normal(size=(3, 4)).astype(np.float32)
        self.params = {"hidden": jnp.asarray(hidden), "out": jnp.ones(4) / 2}
        self.model_state = {"mean": jnp.zeros(4)}
        self.opt_state = optimizer(0.05).init(self.params)
        self.rng = jax.random.key(2)
        self.step = compiled_step()
        self._train(epochs=1)
        self.tested_y = self.y.copy()
        if data == "nan":
            self.tested_y[::2] = np.nan

    def range_test(self, **options: Any) -> cr.RangeTestResult:
        return self._asked(co.range_test, options)

    def recommend(self, **options: Any) -> cr.Recommendation:
        return self._asked(co.recommend, options)

    def _asked(self, function: Any, options: dict[str, Any]) -> Any:
        return function(
            loss_fn,
            self.params,
            optimizer,
            (self.x, self.tested_y),
            batch_size=8,
            model_state=self.model_state,
            opt_state=self.opt_state,
            rng=self.rng,
            **options,
        )

    def state(self) -> Mapping[str, Any]:
        held = (self.params, self.opt_state, self.model_state, self.x, self.y, self.tested_y)
        numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        return {
            "arrays": [id(leaf) for leaf in jax.tree.leaves(held)],
            "values": [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(held)],
            "rng": np.asarray(jax.random.key_data(self.rng)).tobytes(),
            "python": random.getstate(),
            "numpy": (numpy_state["key"].tobytes(), numpy_state["pos"]),
            "debug_nans": jax.config.values["jax_debug_nans"],
        }

    def train_on(self) -> np.ndarray:
        self._train(epochs=2)
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(self.params)])

    def _train(self, epochs: int) -> None:
        for _ in range(epochs):
            rows = np.random.permutation(len(self.x))  # noqa: NPY002
            for batch in rows.reshape(-1, 8):
                self.rng, key = jax.random.split(self.rng)
                taken = self.x[batch], self.y[batch]
                self.params, self.opt_state, self.model_state = self.step(
                    self.params, self.opt_state, taken, self.model_state, key
                )


def optimizer(rate: Any) -> optax.GradientTransformation:
    return optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=0.9)


def loss_fn(params: Any, batch: Any, state: Any, rng: Any) -> Any:
    x, y = batch
    hidden = jax.nn.relu(x @ params["hidden"])
    mean = 0.9 * state["mean"] + 0.1 * hidden.mean(axis=0)
    kept = jax.random.bernoulli(rng, 0.75, hidden.shape) / 0.75
    output = ((hidden - hidden.mean(axis=0)) * kept) @ params["out"]
    return jnp.mean((output - y) ** 2), {"mean": jax.lax.stop_gradient(mean)}


def compiled_step() -> Any:
    @jax.jit
    def step(params: Any, opt_state: Any, batch: Any, model_state: Any, rng: Any) -> Any:
        grads, model_state = jax.grad(loss_fn, has_aux=True)(params, batch, model_state, rng)
        updates, opt_state = optimizer(0.05).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, model_state

    return step
