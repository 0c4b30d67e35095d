"""The field's finders, run for real with their own defaults.

Runs in an environment of its own (requirements/peers.txt). Each finder gets the same model,
optimizer and batches of a seed as our own sweeps, and gives its own suggestion; the cost is counted
in optimizer steps.
"""

# The libraries compared with have an environment of their own (requirements/peers.txt).
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, optim

from benchmarks.finders import cache, sweeps
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

SWEEP_STEPS = 100
FIRST_LR = 1e-7
LAST_LR = 10.0
PACKAGES = ("fastai", "lightning", "torch-lr-finder", "pytorch-ignite")
Found = dict[str, float | None]


class Loader:
    """The batches of a trainee as the finders expect them: an epoch at a time."""

    def __init__(self, trainee: Trainee) -> None:
        self._data = trainee.data
        self._rows = trainee.batches()
        self._length = len(trainee.data.x) // min(trainee.task.batch_size, len(trainee.data.x))
        self.batch_size = trainee.task.batch_size
        self.dataset = range(len(trainee.data.x))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self._length):
            rows = next(self._rows)
            yield self._data.x[rows], self._data.y[rows]


def _fastai(trainee: Trainee) -> Found:
    from fastai.callback.schedule import minimum, slide, steep, valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    def optimizer(_params: Any, **_options: Any) -> OptimWrapper:
        return OptimWrapper(opt=trainee.optimizer)

    loader: Any = Loader(trainee)
    loader.device = torch.device("cpu")
    loader.to = lambda _device: loader
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(
            DataLoaders(loader, loader),
            trainee.model,
            loss_func=trainee.loss_of,
            opt_func=optimizer,
            path=folder,
        )
        with learner.no_bar(), learner.no_logging():
            found = learner.lr_find(suggest_funcs=(valley, slide, minimum, steep), show_plot=False)
    return {f"fastai {name}": float(getattr(found, name)) for name in found._fields}


def _lightning(trainee: Trainee) -> Found:
    import lightning
    from lightning.pytorch.tuner.tuning import Tuner

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = trainee.model
            self.lr = 1e-3

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            return trainee.loss_of(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> optim.Optimizer:
            for group in trainee.optimizer.param_groups:
                group["lr"] = self.lr
            return trainee.optimizer

    loader = Loader(trainee)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=math.ceil(trainee.task.steps / len(loader)),
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        finder = Tuner(trainer).lr_find(Module(), train_dataloaders=loader)
    return {"lightning": finder.suggestion() if finder else None}


def _torch_lr_finder(trainee: Trainee) -> Found:
    from torch_lr_finder import LRFinder, TrainDataLoaderIter

    finder = LRFinder(trainee.model, _at_first_rate(trainee), trainee.loss_of, device="cpu")
    batches = TrainDataLoaderIter(Loader(trainee))
    finder.range_test(batches, end_lr=LAST_LR, num_iter=SWEEP_STEPS)
    try:
        _axes, rate = finder.plot(suggest_lr=True)
    except (ValueError, TypeError):  # too few points: it then returns the axes alone
        rate = None
    return {"torch-lr-finder": rate}


def _ignite(trainee: Trainee) -> Found:
    from ignite.engine import create_supervised_trainer
    from ignite.handlers import FastaiLRFinder

    optimizer = _at_first_rate(trainee)
    trainer = create_supervised_trainer(trainee.model, optimizer, trainee.loss_of)
    finder = FastaiLRFinder()
    saved = {"model": trainee.model, "optimizer": optimizer}
    with finder.attach(trainer, saved, num_iter=SWEEP_STEPS, end_lr=LAST_LR) as searching:
        searching.run(Loader(trainee))
    try:
        return {"ignite": finder.lr_suggestion()}
    except RuntimeError:  # fewer than three points before the minimum
        return {"ignite": None}


def _at_first_rate(trainee: Trainee) -> optim.Optimizer:
    for group in trainee.optimizer.param_groups:
        group["lr"] = FIRST_LR
    return trainee.optimizer


FINDERS: tuple[Callable[[Trainee], Found], ...] = (_fastai, _lightning, _torch_lr_finder, _ignite)


def record(task: Task) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    suggestions: dict[str, list[float | None]] = {}
    for seed in sweeps.SEEDS:
        for finder in FINDERS:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                trainee = Trainee(task, seed)
                found = finder(trainee)
            for name, rate in found.items():
                suggestions.setdefault(name, []).append(None if rate is None else float(rate))
    result = {"seeds": sweeps.SEEDS, "steps": SWEEP_STEPS, "suggestions": suggestions}
    cache.write("peers", task, result, PACKAGES)
