"""What memory does a range test take beside the training? Peaks of whole processes, on the CPU.

A model of so many MB is trained some steps by SGD with momentum, so that all state exists. Then the
peak of resident memory during plain steps is taken off that during a range test, in units of the
weights and the optimizer's state.

    python benchmarks/memory.py [--megabytes 400] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._page import write_generated

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
SWEEP: dict[str, Any] = {"method": "range", "steps": 10, "start_lr": 1e-9, "end_lr": 1e-8}
ROWS = 16


def peak_bytes(work: Callable[[], object]) -> int:
    """The highest resident memory while something is done."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    work()
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", told)[0])


def in_torch(width: int, *, dropped: bool, snapshot: str) -> float:
    """PyTorch; the gradients of the last step are still there, or were dropped."""
    import torch

    import cyclerate.torch as ct

    model, x = torch.nn.Linear(width, width, bias=False), torch.zeros(ROWS, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)

    def train() -> None:
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), x).backward()
            optimizer.step()

    train()
    plain = peak_bytes(train)
    if dropped:
        optimizer.zero_grad()
    options = {**SWEEP, "snapshot": snapshot, "batch_size": 4}
    loss_fn = torch.nn.functional.mse_loss
    return peak_bytes(lambda: ct.range_test(model, optimizer, loss_fn, (x, x), **options)) - plain


def in_keras(width: int) -> float:
    """Keras, on the backend that is set."""
    import keras

    import cyclerate.keras as ck

    layers = [keras.Input((width,)), keras.layers.Dense(width, use_bias=False)]
    model, x = keras.Sequential(layers), np.zeros((ROWS, width), "float32")
    model.compile(keras.optimizers.SGD(1e-9, momentum=0.9), "mse")

    def train() -> None:
        model.fit(x, x, batch_size=4, verbose=0)

    train()
    plain = peak_bytes(train)
    return peak_bytes(lambda: ck.range_test(model, x, x, batch_size=4, **SWEEP)) - plain


def in_optax(width: int) -> float:
    """JAX with Optax, beside a compiled step that gives its buffers away."""
    import jax
    import jax.numpy as jnp
    import optax

    import cyclerate.optax as co

    params, x = jnp.zeros((width, width)), np.zeros((ROWS, width), "float32")

    def loss_fn(params: Any, batch: Any) -> Any:
        return jnp.mean((batch[0] @ params - batch[1]) ** 2)

    def sgd(rate: Any) -> Any:
        return optax.sgd(rate, momentum=0.9)

    def step(params: Any, state: Any) -> Any:
        updates, state = sgd(1e-9).update(jax.grad(loss_fn)(params, (x, x)), state, params)
        return optax.apply_updates(params, updates), state

    held = [params, sgd(1e-9).init(params)]
    del params
    compiled = jax.jit(step, donate_argnums=(0, 1))

    def train() -> None:
        for _ in range(3):
            held[:] = compiled(*held)
        jax.block_until_ready(held)

    train()
    plain = peak_bytes(train)
    options = {**SWEEP, "batch_size": 4}

    def test() -> None:
        co.range_test(loss_fn, held[0], sgd, (x, x), opt_state=held[1], **options)

    return peak_bytes(test) - plain


CASES: dict[str, tuple[Callable[[int], float], str]] = {
    "PyTorch": (lambda width: in_torch(width, dropped=True, snapshot="memory"), "jax"),
    "PyTorch, the last step's gradients still there": (
        lambda width: in_torch(width, dropped=False, snapshot="memory"),
        "jax",
    ),
    'PyTorch, `snapshot="disk"`': (
        lambda width: in_torch(width, dropped=True, snapshot="disk"),
        "jax",
    ),
    'PyTorch, the same, gradients still there, `snapshot="disk"`': (
        lambda width: in_torch(width, dropped=False, snapshot="disk"),
        "jax",
    ),
    "Keras on JAX": (in_keras, "jax"),
    "Keras on PyTorch": (in_keras, "torch"),
    "Optax": (in_optax, "jax"),
}
"""Each with the backend of Keras."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    width = int((arguments.megabytes * 2**20 / 4) ** 0.5)
    if arguments.case:
        print(json.dumps(CASES[arguments.case][0](width) / (2 * 4 * width**2)))
        return
    rows = ["| | extra memory, weights + optimizer state = 1 |", "|---|---:|"]
    for case, (_, backend) in CASES.items():
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        size = ["--megabytes", str(arguments.megabytes)]
        command = [sys.executable, __file__, "--case", case, *size]
        answer = subprocess.run(  # noqa: S603 - this script
            command, env=environment, stdout=subprocess.PIPE, check=True
        )
        rows.append(f"| {case} | {json.loads(answer.stdout):.2f} |")
        print(rows[-1], flush=True)
    text = "\n".join([f"A model of {arguments.megabytes} MB:", "", *rows])
    if arguments.write:
        write_generated(PAGE, text, "memory")


if __name__ == "__main__":
    main()
