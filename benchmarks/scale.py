"""How does the cost of a self-finding cycle and of its marks grow with the size of the model?

    python benchmarks/scale.py            (fitted exponents; docs/overhead.md gets the tables)

Models are chains of square layers, 10^4 to 10^8 numbers, trained by SGD with momentum in PyTorch on
batches of 32. Each figure is that of the processor's clock, the middle one of several. A law is a
straight line through the logarithms.
"""

from __future__ import annotations

import argparse
import functools
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import cyclerate.torch as ct
from benchmarks._page import write_generated
from cyclerate.torch._state import Snapshot

PAGE = Path(__file__).parents[1] / "docs" / "overhead.md"
LAYERS, ROWS, REPEATS = 4, 32, 5
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
GIB = 2**30


def model_of(parameters: int) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    width = round(math.sqrt(parameters / LAYERS))
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(LAYERS)))
    batch = torch.randn(ROWS, width), torch.randn(ROWS, width)
    return model, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), batch


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The middle time of the processor, after once for nothing."""
    work()
    times: list[float] = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
    optimizer.step()


def costs(parameters: int) -> dict[str, float]:
    """Of a size: a plain step, a mark and its way back, and a step of a self-finding cycle more."""
    model, optimizer, batch = model_of(parameters)
    plain = functools.partial(step, model, optimizer, batch)
    told = {"step": seconds(plain, 3 * REPEATS)}
    kept: list[Snapshot] = []

    def keep() -> None:
        spare = kept.pop().copies() if kept else ()
        kept.append(Snapshot([model, optimizer], "memory", ExitStack(), mark=True, spare=spare))

    told["mark"] = seconds(keep)
    told["way back"] = seconds(kept[-1].put_back)
    steps = 20 if parameters >= SIZES[-1] else 100
    cycle = ct.SelfFindingCycle(model, optimizer, steps + 1)
    loss = torch.zeros(())
    began = time.process_time()
    for _ in range(steps):
        plain()
        cycle.step(loss + 1.0)
    told["step of a cycle"] = (time.process_time() - began) / steps
    cycle.close()
    return told


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Of the law `value = a * size ** exponent`."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def on_paper(bytes_of_a_mark: float, parameters: float, ranks: int) -> str:
    return f"{bytes_of_a_mark * parameters / ranks / GIB:,.1f} GiB"


def page(most: int) -> str:
    sizes = [size for size in SIZES if size <= most]
    measured = [costs(size) for size in sizes]
    names = list(measured[0])
    lines = [f"| parameters | {' | '.join(names)} | a cycle beside plain steps |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for size, told in zip(sizes, measured, strict=True):
        times = " | ".join(f"{1000 * told[name]:.3g} ms" for name in names)
        lines.append(f"| {size:,} | {times} | {told['step of a cycle'] / told['step']:.2f} |")
    upper = [i for i, size in enumerate(sizes) if size >= 10**6]
    large = [sizes[i] for i in upper]
    laws = [exponent(large, [measured[i][name] for i in upper]) for name in names]
    lines.append(f"| exponent, from a million on | {' | '.join(f'{law:.2f}' for law in laws)} | |")
    lines += [
        "",
        "On paper, with weights in bfloat16 and Adam's moments in float32, 10 bytes a parameter,",
    ]
    lines += ["sharded over the ranks:", "", "| parameters | ranks | a mark in memory, of a rank |"]
    lines.append("|---|---|---|")
    for parameters, ranks in ((7e9, 8), (7e10, 64), (7e10, 1024)):
        lines.append(
            f"| {parameters / 1e9:.0f} B | {ranks:,} | {on_paper(10, parameters, ranks)} |"
        )
    versions = (
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    )
    return "\n".join([*lines, "", f"One thread of an {platform.machine()}; {versions}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=float, default=SIZES[-1], help="parameters of the largest")
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = page(int(given.most))
    write_generated(PAGE, text, part="scale")
    print(text)


if __name__ == "__main__":
    main()
