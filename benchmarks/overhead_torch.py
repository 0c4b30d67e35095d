"""What do schedules, the range test and a cycle that finds its own top cost in PyTorch?

Three tables. A step of a scheduler with four parameter groups against one of `CyclicLR`; a range
test of 100 steps against 100 plain steps of the same loop, snapshot and restoring included, where a
step takes 5 ms or more; and `fit_one_cycle(find="warmup")` against one with the rate given. Ratios,
in one run, by processor time on one thread. The finders of other libraries are in
overhead_peers.py.

    python benchmarks/overhead_torch.py [--rounds 101] [--test-rounds 11]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct

if __package__:
    from benchmarks._timing import CLOCKS, Ratio, compare, versions
else:  # run as a script
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks._timing import CLOCKS, Ratio, compare, versions

Runs = dict[str, Callable[[], object]]
GROUPS, BATCH_SIZE, STEPS_PER_EPOCH = 4, 128, 25


def optimizer_of_groups() -> Optimizer:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(GROUPS)]
    return torch.optim.SGD([{"params": [weight]} for weight in weights], lr=0.1, momentum=0.9)


def scheduler_runs(steps: int) -> Runs:
    triangle, cycle = cr.Triangular(0.01, 0.1, step_size=200), cr.OneCycle(0.1, 10**7)
    restarts = lr_scheduler.CosineAnnealingWarmRestarts
    makers: dict[str, Callable[[Optimizer], lr_scheduler.LRScheduler]] = {
        "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 200),
        "CyclicLR, again": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 200),
        "CyclicLR, the rate alone": lambda o: lr_scheduler.CyclicLR(
            o, 0.01, 0.1, 200, cycle_momentum=False
        ),
        "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10**7),
        "CosineAnnealingWarmRestarts": lambda o: restarts(o, 100, 2),
        "Triangular": lambda o: ct.ScheduledLR(o, triangle),
        "Triangular, momentum": lambda o: ct.ScheduledLR(o, triangle, triangle.mirrored(0.8, 0.9)),
        "Triangular, layer_decay": lambda o: ct.ScheduledLR(o, triangle, layer_decay=0.9),
        "OneCycle, momentum": lambda o: ct.ScheduledLR(o, cycle, cycle.mirrored(0.85, 0.95)),
        "WarmRestarts": lambda o: ct.ScheduledLR(o, cr.WarmRestarts(0.1, 100, 2)),
    }

    def run(scheduler: lr_scheduler.LRScheduler) -> Callable[[], object]:
        scheduler.optimizer.step()

        def go() -> None:
            for _ in range(steps):
                scheduler.step()

        return go

    return {name: run(make(optimizer_of_groups())) for name, make in makers.items()}


def training(width: int, optimizer_kind: Callable[..., Optimizer]) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.BatchNorm1d(width), nn.Linear(width, 10))
    return model, optimizer_kind(model.parameters(), lr=1e-4)


def forever(loader: DataLoader[tuple[torch.Tensor, ...]]) -> Iterator[list[torch.Tensor]]:
    return itertools.chain.from_iterable(itertools.repeat(loader))


def batches(width: int) -> DataLoader[tuple[torch.Tensor, ...]]:
    rows = BATCH_SIZE * STEPS_PER_EPOCH
    dataset = TensorDataset(torch.randn(rows, width), torch.randint(10, (rows,)))
    return DataLoader(dataset, BATCH_SIZE, shuffle=True)


def plain_steps(
    steps: int, model: nn.Module, optimizer: Optimizer, loss_fn: nn.Module, loader: DataLoader
) -> list[float]:
    losses = []
    for x, y in itertools.islice(forever(loader), steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def range_test_runs(steps: int, width: int, kind: type[Optimizer]) -> Runs:
    """The loop, and the range test with each kind of snapshot."""
    model, optimizer = training(width, kind)
    test = (model, optimizer, nn.CrossEntropyLoss(), batches(width))

    def tested(snapshot: str) -> Callable[[], object]:
        options = {
            "method": "range",
            "steps": steps,
            "end_lr": 1e-4,
            "stop_early": False,
            "snapshot": snapshot,
        }
        return lambda: ct.range_test(*test, **options)

    def plain() -> list[float]:
        return plain_steps(steps, *test)

    runs: Runs = {f"{steps} plain steps": plain, f"{steps} plain steps, again": plain}
    safetensors = importlib.util.find_spec("safetensors") is not None
    places = ["memory", "cpu", *(["disk"] if safetensors else [])]
    return runs | {f"range_test, {place}": tested(place) for place in places}


def fit_runs(steps: int, width: int, kind: type[Optimizer]) -> Runs:
    """A cycle at a given rate, and one that finds its own top."""
    loader = batches(width)

    def fit(**how: Any) -> Callable[[], object]:
        return lambda: ct.fit_one_cycle(
            *training(width, kind), nn.CrossEntropyLoss(), loader, total_steps=steps, **how
        )

    given = fit(max_lr=1e-3, verbose=0)
    runs = {"max_lr given": given, "max_lr given, again": given}
    return runs | {'find="warmup"': fit(find="warmup", verbose=0)}


def show(title: str, steps: int, ratios: Mapping[str, Ratio]) -> None:
    print(f"\n{title}\n{'':30}  ratio   middle half      us per step")
    for name, ratio in ratios.items():
        print(f"{name:30} {ratio}   {1e6 * ratio.seconds / steps:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=101, help="runs of each scheduler")
    parser.add_argument("--steps", type=int, default=1024, help="steps of each such run")
    parser.add_argument("--test-rounds", type=int, default=11, help="runs of each range test")
    parser.add_argument("--test-steps", type=int, default=100, help="steps of each such run")
    parser.add_argument("--width", type=int, default=512, help="of the network that it tests")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    arguments = parser.parse_args()
    clock = CLOCKS[arguments.clock]
    torch.set_num_threads(1)
    print(versions("torch", "numpy"))

    steps = arguments.steps
    ratios = compare("CyclicLR", scheduler_runs(steps), arguments.rounds, clock=clock)
    show(f"scheduler.step(), {GROUPS} groups, against CyclicLR", steps, ratios)

    steps = arguments.test_steps
    for kind in (torch.optim.SGD, torch.optim.AdamW):
        runs = range_test_runs(steps, arguments.width, kind)
        baseline = f"{steps} plain steps"
        ratios = compare(baseline, runs, arguments.test_rounds, clock=clock)
        show(f"A range test with {kind.__name__}, against plain steps", steps, ratios)
    steps = 4 * steps
    for kind in (torch.optim.SGD, torch.optim.AdamW):
        runs = fit_runs(steps, arguments.width, kind)
        ratios = compare("max_lr given", runs, arguments.test_rounds, clock=clock)
        show(f"fit_one_cycle with {kind.__name__}", steps, ratios)


if __name__ == "__main__":
    main()
