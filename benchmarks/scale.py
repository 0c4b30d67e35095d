"""How does the cost grow: with the size of the model, the ranks, the runs of a comparison, workers?

    python benchmarks/scale.py            (fitted exponents; docs/overhead.md gets the tables)

Models are chains of square layers, 10^4 to 10^8 numbers, trained by SGD with momentum in PyTorch on
batches of 32. Each figure is that of the processor's clock, the middle one of several. What ranks
exchange, and what is computed by several processes, is timed on the wall. A law is a straight line
through the logarithms.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

import cyclerate.torch as ct
from benchmarks._page import write_generated
from cyclerate.compare._cells import Cell, Folder, finish
from cyclerate.torch._state import Snapshot

PAGE = Path(__file__).parents[1] / "docs" / "overhead.md"
LAYERS, ROWS, REPEATS = 4, 32, 5
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
RANKS, CELLS, WORKERS = (1, 2, 4), (10, 100, 1000), (1, 2, 4)
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
    told["range test"] = swept(model, optimizer, batch, steps)
    return told


def swept(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any, steps: int) -> float:
    """Of a sweep of `steps` steps, copy and way back included: the time of a step."""
    count = max(steps, 20)
    began = time.process_time()
    ct.range_test(
        model,
        optimizer,
        nn.functional.mse_loss,
        [batch],
        method="range",
        steps=count,
        start_lr=1e-9,
        end_lr=1e-8,
        verbose=0,
    )
    return (time.process_time() - began) / count


def of_ranks(rank: int, ranks: int, port: int, answers: Any) -> None:
    """Of a rank: milliseconds that a step of a self-finding cycle waits for the others."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Linear(64, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    batch, took = (torch.randn(ROWS, 64), torch.randn(ROWS, 64)), 0.0
    cycle = ct.SelfFindingCycle(model, optimizer, 400, max_lr=1e-3)
    while not cycle.done:
        step(model, optimizer, batch)
        distributed.barrier()
        began = time.perf_counter()
        cycle.step(1.0)
        took += time.perf_counter() - began
    answers.put(1000 * took / 400)
    distributed.barrier()
    distributed.destroy_process_group()


def with_ranks(ranks: int) -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=of_ranks, args=(rank, ranks, port, answers)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    told = [answers.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return max(told)


def work_of(cell: Cell) -> dict[str, float]:
    """Computes for about a hundredth of a second."""
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass
    return {"loss": float(cell.settings["seed"])}


def share(folder: str, count: int) -> None:
    cells = [Cell(f"cells/{i}", {"seed": i}) for i in range(count)]
    assert len(list(finish(cells, work_of, Folder(Path(folder))))) == count


def of_cells(count: int, workers: int) -> float:
    """Seconds until workers on one folder have computed so many cells."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=share, args=(folder, count)) for _ in range(workers)]
        began = time.perf_counter()
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return time.perf_counter() - began


def page_of_many() -> list[str]:
    waits = [with_ranks(ranks) for ranks in RANKS]
    told = ", ".join(
        f"{wait:.2f} ms with {ranks}" for wait, ranks in zip(waits, RANKS, strict=True)
    )
    lines = [
        "",
        f"A step of a cycle of its own, without the training, by ranks on two cores: {told}.",
    ]
    lines += [
        "",
        f"| cells | {' | '.join(f'{w} workers' for w in WORKERS)} | a cell more than its work |",
    ]
    lines.append("|---" * (len(WORKERS) + 2) + "|")
    alone: list[float] = []
    for count in CELLS:
        times = [of_cells(count, workers) for workers in WORKERS]
        alone.append(times[0])
        more = 1000 * (times[0] / count - 0.01)
        lines.append(f"| {count:,} | {' | '.join(f'{t:.2f} s' for t in times)} | {more:.1f} ms |")
    law = exponent(CELLS, alone)
    lines.append("")
    lines.append(
        f"Each cell computes for .01 s. The exponent of the cells, of one worker: {law:.2f}."
    )
    return lines


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
    lines += page_of_many()
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
