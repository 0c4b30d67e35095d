"""Which way down from the highest rate ends lowest, each at its own best rate?

    python -m benchmarks.budget.ways_down run [--seeds 0] [--most-seconds 3600]
    python -m benchmarks.budget.ways_down table   (docs/choose-a-schedule.md from what is stored)

All rise in a tenth of the steps, but CosLog, and are clipped as `find="warmup"` clips. Rates of a
quarter of a decade around the best one of the 1cycle grid are tried, on until the best is not at an
edge. Each training is judged twice: as it ends, and by the mean of its weights over the last fifth.
Cheap tasks are first; what is stored is not made again. Design and validation tasks alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import cyclerate as cr
from benchmarks._page import write_generated
from benchmarks.budget.table import regret_of
from benchmarks.finders import cache
from benchmarks.finders.grid import LRS
from benchmarks.finders.stack import Stack
from benchmarks.finders.task import Task
from benchmarks.finders.tasks import EVERY
from benchmarks.finders.trainee import Trainee
from cyclerate.schedules import Schedule

PAGE = Path(__file__).parents[2] / "docs" / "choose-a-schedule.md"
KIND, JUDGE = "ways_down", "grid_constant"
RISE_FRAC, WINDOW, FURTHER, AVERAGED_FRAC = 0.1, range(-3, 3), 3, 0.2


def _one_way(decay_frac: float, decay: str = "linear") -> Callable[[float, int], Schedule]:
    return lambda top, steps: cr.WarmupStableDecay(top, steps, RISE_FRAC, decay_frac, decay)


WAYS: dict[str, Callable[[float, int], Schedule]] = {
    "linear": _one_way(1 - RISE_FRAC),
    "cosine": _one_way(1 - RISE_FRAC, "cosine"),
    "1 - sqrt": _one_way(1 - RISE_FRAC, "sqrt"),
    "stable, then 1 - sqrt in the last fifth": _one_way(0.2, "sqrt"),
    "CosLog, 4 cycles": cr.CosLog,
    "constant": _one_way(0.0),
}
ENDS = ("as it ends", "averaged")
HALVES = ("design", "validation")


class _Averaging(Stack):
    """Copies whose weights are averaged over the last steps, too."""

    def train_and_judge(self, lrs: list[NDArray[np.float64]]) -> list[dict[str, Any]]:
        """Trains every copy; returns its losses as it ends, and those of its mean weights."""
        self.trainee.model.train()
        columns = torch.tensor(np.stack(lrs, axis=1), dtype=torch.float32)
        means: dict[str, Tensor] = {}
        first = len(columns) - max(1, round(AVERAGED_FRAC * len(columns)))
        for step, rows in zip(range(len(columns)), self.trainee.batches(), strict=False):
            self._step(columns[step], rows, clip=True)
            if step >= first:
                self._take(means, 1 / (step - first + 1))
        ends = self.losses()
        self._params = means
        settles = any(buffer.is_floating_point() for buffer in self._buffers.values())
        averaged = []
        for one in self._ones():
            if settles:
                one.settle()  # statistics of a batch norm belong to the weights
            averaged.append((one.train_loss(), one.heldout_loss()))
        return [dict(zip(ENDS, pair, strict=True)) for pair in zip(ends, averaged, strict=True)]

    @torch.no_grad()
    def _take(self, means: dict[str, Tensor], share: float) -> None:
        for name, value in self._params.items():
            means.setdefault(name, torch.zeros_like(value)).lerp_(value, share)


def record(task: Task, seed: int) -> None:
    """Trains along every way, at rates on both sides of its best, and stores what it came to."""
    began = time.perf_counter()
    grid = cache.read("grid_one_cycle", task)
    assert grid is not None
    middle = int(np.nanargmin(np.array(grid["train_loss"], dtype=float).mean(axis=0)))
    found: dict[str, dict[int, dict[str, Any]]] = {way: {} for way in WAYS}
    todo = [(way, middle + i) for way, i in product(WAYS, WINDOW) if 0 <= middle + i < len(LRS)]
    while todo:
        rates = [
            np.asarray(WAYS[way](LRS[i], task.steps)(np.arange(task.steps))) for way, i in todo
        ]
        told = _Averaging(Trainee(task, seed), len(todo)).train_and_judge(rates)
        for (way, i), losses in zip(todo, told, strict=True):
            found[way][i] = losses
        todo = [(way, i) for way in WAYS for i in _further(found[way])]
    stored = cache.read(KIND, task) or {"ends": {}}
    ends = {way: {f"{LRS[i]:.4g}": of[i] for i in sorted(of)} for way, of in found.items()}
    seconds = time.perf_counter() - began
    cache.write(KIND, task, {"ends": {**stored["ends"], str(seed): ends}, "seconds": seconds})


def _further(tried: dict[int, dict[str, Any]]) -> list[int]:
    """Returns the next rates beyond an edge that the best rate is at."""
    further: set[int] = set()
    for end in ENDS:
        finite = {i: ends[end][0] for i, ends in tried.items() if np.isfinite(ends[end][0])}
        best = min(finite, key=lambda i: finite[i], default=min(tried))
        if best == max(tried):
            further |= set(range(best + 1, best + 1 + FURTHER))
        if best == min(tried):
            further |= set(range(best - FURTHER, best))
    return sorted(i for i in further if 0 <= i < len(LRS))


def regrets(way: str, end: str, tasks: list[Task], objective: int = 0) -> NDArray[np.float64]:
    """Returns, of every task, the regret at the way's best rate against the best constant one."""
    found = []
    for task in tasks:
        stored, judge = cache.read(KIND, task), cache.read(JUDGE, task)
        if stored is None or judge is None:
            continue
        seeds = list(stored["ends"].values())
        rates = [rate for rate in seeds[0][way] if all(rate in seed[way] for seed in seeds)]
        losses = np.array([[seed[way][rate][end] for rate in rates] for seed in seeds], dtype=float)
        means = losses.mean(axis=0)  # of the seeds: rate by objective
        best = int(np.nanargmin(means[:, 0]))
        loss = means[best, objective]
        found.append(regret_of(judge, ("train", "heldout")[objective], float(loss)))
    return np.array(found)


def _table() -> str:
    covered = {
        half: [t for t in EVERY if t.half == half and cache.read(KIND, t)] for half in HALVES
    }
    parts = []
    for half, tasks in covered.items():
        known = {(way, end): regrets(way, end, tasks) for way, end in product(WAYS, ENDS) if tasks}
        rows = [_row(*name, own, known["linear", ENDS[0]], tasks) for name, own in known.items()]
        rows.sort(key=lambda row: float(row[2]))
        runs = sum(len((cache.read(KIND, task) or {})["ends"]) for task in tasks)
        of = sum(task.half == half for task in EVERY)
        headings = ["way down", "weights", "mean", "median", "p90", "beside linear", "held out"]
        lines = [f"**{half.capitalize()} half**, {len(tasks)} of {of} tasks, {runs} seeds in all:"]
        ruler = ["---", "---"] + ["---:"] * (len(headings) - 2)
        lines += ["", *("| " + " | ".join(row) + " |" for row in (headings, ruler, *rows))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _versions(covered)])


def _row(
    way: str, end: str, own: NDArray[np.float64], linear: NDArray[np.float64], tasks: list[Task]
) -> list[str]:
    beside, heldout = own - linear, regrets(way, end, tasks, objective=1)
    spread = beside.std(ddof=1) / len(beside) ** 0.5 if len(beside) > 1 else 0.0
    figures = (own.mean(), np.median(own), np.quantile(own, 0.9))
    compared = "-" if own is linear else f"{beside.mean():+.3f} ± {spread:.3f}"
    return [way, end, *(f"{x:.3f}" for x in figures), compared, f"{heldout.mean():.3f}"]


def _versions(covered: dict[str, list[Task]]) -> str:
    stored = [cache.read(KIND, task) or {} for tasks in covered.values() for task in tasks]
    told = {tuple(sorted(one["versions"].items())) for one in stored}
    return "; ".join(", ".join(f"{name} {number}" for name, number in one) for one in sorted(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--most-seconds", type=float, default=np.inf, help="begin nothing after")
    arguments = parser.parse_args()
    if arguments.what == "table":
        write_generated(PAGE, _table(), "ways down")
        return
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    began = time.perf_counter()
    for seed, task in product(arguments.seeds, sorted(filter(_asked, EVERY), key=_cost)):
        if str(seed) in (cache.read(KIND, task) or {"ends": {}})["ends"]:
            continue
        if time.perf_counter() - began > arguments.most_seconds:
            return
        record(task, seed)
        print(f"{task.half} {task.name}, seed {seed}", file=sys.stderr, flush=True)


def _asked(task: Task) -> bool:
    return task.half in HALVES and cache.read("grid_one_cycle", task) is not None


def _cost(task: Task) -> float:
    return (cache.read(JUDGE, task) or {})["seconds"]


if __name__ == "__main__":
    main()
