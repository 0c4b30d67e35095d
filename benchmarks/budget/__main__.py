"""What a budget buys, in pieces that can be stopped and taken up again.

    python -m benchmarks.budget run --method warmup --half "new fresh" --budget 1 --seeds 0 1 2
    python -m benchmarks.budget table      (docs/budget.md from what is stored; no training)
    python -m benchmarks.budget targets    (docs/time-to-target.md, likewise)

The grids that it is judged by are made by `python -m benchmarks.finders grid`. Prodigy and
Schedule-Free need their packages (requirements/peers.txt).
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from benchmarks.budget import running, table, targets
from benchmarks.budget.methods import METHODS
from benchmarks.finders.tasks import BY_NAME, EVERY


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.what != "run":
        {"table": table, "targets": targets}[arguments.what].write()
        return
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a dying network is full of them, and each is slow
    tasks = [BY_NAME[arguments.task]] if arguments.task else EVERY
    for task in sorted(tasks, key=lambda task: task.steps):
        if arguments.half and task.half not in arguments.half:
            continue
        for budget in arguments.budget:
            for method in arguments.method:
                began = time.perf_counter()
                if running.record(task, method, budget, arguments.seeds, again=arguments.again):
                    seconds = time.perf_counter() - began
                    told = f"{method}, {budget} of {task.name}: {seconds:.1f} s"
                    print(told, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("what", choices=["run", "table", "targets"])
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--budget", nargs="+", choices=running.BUDGETS, default=["1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--task", choices=list(BY_NAME))
    parser.add_argument("--half", nargs="+", choices=sorted({task.half for task in EVERY}))
    parser.add_argument("--again", action="store_true", help="replace what is stored")
    return parser


if __name__ == "__main__":
    main()
