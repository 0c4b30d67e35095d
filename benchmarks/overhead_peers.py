"""What do the range test and the schedules cost, beside those of other libraries?

In one run: a range test of 100 steps by cyclerate, torch-lr-finder, fastai and Lightning against
100 plain steps of the same loop, where a step takes 5 ms or more; and a step of `ScheduledLR`
against the schedulers of PyTorch. The others have their own defaults, but
the same model, optimizer and batches, and no early stop, so that all make 100 steps; the steps are
counted, and times are per step. Runs where the others are installed (requirements/peers.txt), on
one thread.

    python benchmarks/overhead_peers.py [--clock cpu] [--write]
"""

# The libraries compared with have an environment of their own (requirements/peers.txt).
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

import cyclerate.torch as ct

if not __package__:  # run as a script
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import overhead_torch
from benchmarks._page import write_generated
from benchmarks._timing import CLOCKS, Clock, Ratio, compare, measure, ratio, versions

PAGE = Path(__file__).parents[1] / "docs" / "overhead.md"
PACKAGES = ("torch", "numpy", "torch-lr-finder", "fastai", "lightning")
STEPS, START_LR, END_LR = 100, 1e-7, 1e-4
OWN_FIT = {"fastai lr_find": "fastai fit", "Lightning lr_find": "Lightning fit"}
Run = Callable[[], object]


class Counted(nn.CrossEntropyLoss):
    """The loss; it counts the steps that a finder makes.

    On the class: `range_test` puts a module's own attributes back with the rest.
    """

    calls = 0

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        Counted.calls += 1
        return super().forward(output, target)


class Case:
    """What all finders are given: model, optimizer, loss and batches."""

    def __init__(self, kind: Callable[..., optim.Optimizer], width: int) -> None:
        self.kind = kind
        self.model, self.optimizer = overhead_torch.training(width, kind)
        self.loss_fn, self.loader = Counted(), overhead_torch.batches(width)
        self.parts = (self.model, self.optimizer, self.loss_fn, self.loader)

    def runs(self, folder: str) -> dict[str, Run]:
        plain = partial(overhead_torch.plain_steps, STEPS, *self.parts)
        fastai_find, fastai_fit = fastai_runs(self, folder)
        lightning_find, lightning_fit = lightning_runs(self, folder)
        return {
            "plain steps": plain,
            "plain steps, again": plain,
            "cyclerate range_test": partial(cyclerate_range_test, self),
            "torch-lr-finder range_test": partial(torch_lr_finder_range_test, self),
            "fastai lr_find": fastai_find,
            "Lightning lr_find": lightning_find,
            "fastai fit": fastai_fit,
            "Lightning fit": lightning_fit,
        }


def steps_of(run: Run) -> int:
    before = Counted.calls
    run()
    return Counted.calls - before


def cyclerate_range_test(case: Case) -> None:
    options = {"start_lr": START_LR, "end_lr": END_LR, "steps": STEPS, "stop_early": False}
    ct.range_test(*case.parts, method="range", verbose=0, **options)


def torch_lr_finder_range_test(case: Case) -> None:
    from torch_lr_finder import LRFinder

    finder = LRFinder(case.model, case.optimizer, case.loss_fn, device="cpu")
    options = {"start_lr": START_LR, "end_lr": END_LR, "num_iter": STEPS, "diverge_th": math.inf}
    finder.range_test(case.loader, **options)
    finder.reset()


def fastai_runs(case: Case, folder: str) -> tuple[Run, Run]:
    """Its finder, and as many steps of its training."""
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.schedule import LRFinder  # noqa: F401 - gives the Learner its lr_find
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    class NoValidation(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    learner = Learner(
        DataLoaders(case.loader, case.loader, device="cpu"),
        case.model,
        loss_func=case.loss_fn,
        opt_func=partial(OptimWrapper, opt=case.kind),
        lr=END_LR,
        path=folder,
    )

    def find() -> None:
        learner.lr_find(START_LR, END_LR, STEPS, stop_div=False, show_plot=False)

    def fit() -> None:
        learner.fit(STEPS // overhead_torch.STEPS_PER_EPOCH, cbs=NoValidation())

    def quietly(run: Run) -> None:
        with learner.no_bar(), learner.no_logging():
            run()

    return partial(quietly, find), partial(quietly, fit)


def lightning_runs(case: Case, folder: str) -> tuple[Run, Run]:
    """Its finder, and as many steps of its training; the Trainer is made once for the finder."""
    import lightning
    from lightning.pytorch.tuner.tuning import Tuner

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = case.model, END_LR

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            return case.loss_fn(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> optim.Optimizer:
            return case.kind(self.parameters(), lr=self.lr)

    def trainer(**length: Any) -> lightning.Trainer:
        names = ("logger", "enable_progress_bar", "enable_model_summary")
        quiet: dict[str, Any] = dict.fromkeys(names, False)
        options = {"accelerator": "cpu", "enable_checkpointing": False, "default_root_dir": folder}
        return lightning.Trainer(**quiet, **options, **length)

    module, tuner = Module(), Tuner(trainer(max_epochs=10))

    def find() -> None:
        options = {"min_lr": START_LR, "max_lr": END_LR, "num_training": STEPS}
        tuner.lr_find(module, case.loader, early_stop_threshold=None, update_attr=False, **options)

    return find, lambda: trainer(max_steps=STEPS).fit(module, case.loader)


def silent(run: Run) -> Run:
    def quiet() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run()

    return quiet


def finders_table(kind: type[optim.Optimizer], width: int, rounds: int, clock: Clock) -> str:
    case = Case(kind, width)
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: silent(run) for name, run in case.runs(folder).items()}
        steps = {name: steps_of(run) for name, run in runs.items()}
        times = measure(runs, rounds, clock=clock)
    per_step = {name: [took / steps[name] for took in times[name]] for name in runs}
    lines = [f"Steps of {kind.__name__}, against plain ones", header("ms per step   steps")]
    for name in runs:
        found = ratio(per_step[name], per_step["plain steps"])
        lines.append(row(name, found, 1e3) + f"{steps[name]:8}")
    lines += ["", "The same, against the fit of the same library", header("ms per step")]
    for name, fit in OWN_FIT.items():
        lines.append(row(name, ratio(per_step[name], per_step[fit]), 1e3))
    return "\n".join(lines)


def schedulers_table(steps: int, rounds: int, clock: Clock) -> str:
    ratios = compare("CyclicLR", overhead_torch.scheduler_runs(steps), rounds, clock=clock)
    title = f"scheduler.step() with {overhead_torch.GROUPS} groups, against CyclicLR"
    return "\n".join(
        [title, header("us per step")] + [row(name, r, 1e6 / steps) for name, r in ratios.items()]
    )


def header(last: str) -> str:
    return f"{'':30}  ratio   middle half      {last}"


def row(name: str, found: Ratio, scale: float) -> str:
    return f"{name:30} {found}   {scale * found.seconds:9.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="runs of each finder")
    parser.add_argument("--width", type=int, default=512, help="of the network")
    parser.add_argument("--scheduler-rounds", type=int, default=101, help="runs of each scheduler")
    parser.add_argument("--scheduler-steps", type=int, default=1024, help="steps of such a run")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    clock = CLOCKS[arguments.clock]
    rounds = f"{arguments.rounds} and {arguments.scheduler_rounds} rounds"
    parts = [
        f"{textwrap.fill(versions(*PACKAGES), 79)}\n{arguments.clock} time, one thread, {rounds}"
    ]
    kinds = (optim.SGD, optim.AdamW)
    parts += [finders_table(kind, arguments.width, arguments.rounds, clock) for kind in kinds]
    parts += [schedulers_table(arguments.scheduler_steps, arguments.scheduler_rounds, clock)]
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        write_generated(PAGE, f"```text\n{text}\n```")


if __name__ == "__main__":
    main()
