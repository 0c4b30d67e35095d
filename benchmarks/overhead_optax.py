"""What do schedules and the range test cost in Optax?

Three tables. A jitted training step of about 0.1 ms with a schedule against one with a constant
rate, by processor time; a range test of 100 steps against 100 plain steps of the same loop, both
with their compilation; and the same where a step takes 5 ms or more. Ratios, in one run.

Optax keeps a count for a schedule of any kind: "constant, as a schedule" shows what that costs.

    python benchmarks/overhead_optax.py [--rounds 101] [--steps 200]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import cyclerate as cr
import cyclerate.optax as co

if __package__:
    from benchmarks._timing import Ratio, compare, versions
else:  # run as a script
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks._timing import Ratio, compare, versions

Batch = tuple[np.ndarray, np.ndarray]


def mlp(width: int, layers: int) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(0), layers + 1)
    shapes = [(width, width)] * layers + [(width, 1)]
    he = jax.nn.initializers.he_normal()
    return [he(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def loss_fn(params: list[jax.Array], batch: Batch) -> jax.Array:
    x, y = batch
    for weights in params[:-1]:
        x = jax.nn.relu(x @ weights)
    return jnp.mean((x @ params[-1] - y) ** 2)


def data(rows: int, width: int) -> Batch:
    x = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    return x, x[:, :1].copy()


def compiled(optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    def step(params: Any, state: Any, batch: Batch) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    return jax.jit(step, donate_argnums=(0, 1))


def loop(
    step: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    params: Any,
    batches: Iterator[Batch],
    steps: int,
) -> np.ndarray:
    """Plain training: the losses are fetched at the end, so that nothing waits for them."""
    params = jax.tree.map(jnp.copy, params)
    state, losses = optimizer.init(params), []
    for _ in range(steps):
        params, state, loss = step(params, state, next(batches))
        losses.append(loss)
    return np.asarray(jax.device_get(losses))


def forever(arrays: Batch, batch_size: int) -> Iterator[Batch]:
    """Batches in random order, as the range test draws them."""
    order = np.random.default_rng(0)
    while True:
        rows = order.permutation(len(arrays[0]))
        for i in range(0, len(rows) - batch_size + 1, batch_size):
            yield arrays[0][rows[i : i + batch_size]], arrays[1][rows[i : i + batch_size]]


def schedule_runs(steps: int, width: int, batch_size: int) -> dict[str, Callable[[], object]]:
    arrays = data(16 * batch_size, width)
    params = mlp(width, 2)
    cycle = cr.OneCycle(max_lr=1e-3, total_steps=steps)
    optimizers = {
        "constant": optax.adam(1e-3),
        "constant, again": optax.adam(1e-3),
        "constant, as a schedule": optax.adam(lambda step: 1e-3),
        "OneCycle": optax.adam(cycle),
        "Triangular2": optax.adam(cr.Triangular2(1e-4, 1e-3, step_size=steps // 8)),
        "WarmRestarts, growing": optax.adam(cr.WarmRestarts(1e-3, steps // 15, cycle_mult=2)),
        "optax.cosine_onecycle_schedule": optax.adam(optax.cosine_onecycle_schedule(steps, 1e-3)),
    }

    def run(optimizer: optax.GradientTransformation) -> Callable[[], object]:
        step, batch = compiled(optimizer), next(forever(arrays, batch_size))
        batch = jax.device_put(batch)

        def same() -> Iterator[Batch]:
            while True:
                yield batch

        return lambda: loop(step, optimizer, params, same(), steps)

    return {name: run(optimizer) for name, optimizer in optimizers.items()}


def range_test_runs(
    steps: int, width: int, layers: int, batch_size: int
) -> dict[str, Callable[[], object]]:
    arrays = data(batch_size * steps, width)
    params = mlp(width, layers)
    optimizer = optax.adam(1e-4)
    options = {
        "method": "range",
        "steps": steps,
        "end_lr": 1e-4,
        "stop_early": False,
        "batch_size": batch_size,
    }
    return {
        f"{steps} plain steps": lambda: loop(
            compiled(optimizer), optimizer, params, forever(arrays, batch_size), steps
        ),
        f"range_test of {steps} steps": lambda: co.range_test(
            loss_fn, params, optax.adam, arrays, **options
        ),
    }


def show(title: str, steps: int, ratios: Mapping[str, Ratio]) -> None:
    print(f"\n{title}\n{'':32}  ratio   middle half       ms per step")
    for name, ratio in ratios.items():
        print(f"{name:32} {ratio}   {1000 * ratio.seconds / steps:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=101, help="runs of each schedule")
    parser.add_argument("--steps", type=int, default=200, help="steps of each such run")
    parser.add_argument("--test-rounds", type=int, default=15, help="runs of the range test")
    parser.add_argument("--test-steps", type=int, default=100, help="steps of each such run")
    arguments = parser.parse_args()
    print(versions("jax", "optax", "numpy") + f", on {jax.devices()[0].device_kind}")

    steps = arguments.steps
    runs = schedule_runs(steps, 48, 16)
    ratios = compare("constant", runs, arguments.rounds, clock=time.process_time)
    show(f"A tiny network, {steps} steps, against a constant rate", steps, ratios)

    steps = arguments.test_steps
    for title, sizes in (("a tiny network", (48, 2, 16)), ("a larger network", (768, 3, 256))):
        runs = range_test_runs(steps, *sizes)
        ratios = compare(f"{steps} plain steps", runs, arguments.test_rounds)
        show(f"A range test of {title}, compilation included", steps, ratios)


if __name__ == "__main__":
    main()
