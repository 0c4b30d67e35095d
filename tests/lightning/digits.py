"""Small Lightning modules on the digits of scikit-learn, and Trainers without display."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct

X, Y = (torch.tensor(part) for part in load_digits(return_X_y=True))
ROWS, BATCH = 192, 32
BATCHES = ROWS // BATCH
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


def loader(**options):
    data = TensorDataset(X[:ROWS].float() / 16, Y[:ROWS])
    return DataLoader(data, **{"batch_size": BATCH, "shuffle": True, **options})


def trainer(*callbacks, **options):
    return pl.Trainer(callbacks=[*callbacks], **{**QUIET, "max_epochs": 1, **options})


def seeded(make):
    """What `make` gives after the same seeds, every time."""
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    return make()


class Digits(pl.LightningModule):
    """An MLP with dropout and batch norm, whose rate is `self.lr`."""

    returned = "loss"
    scheduler = None
    ratio = 0.1

    def __init__(self, lr=0.02):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10)
        )
        self.calls = 0
        self.at_call = {}

    def training_step(self, batch, batch_idx):
        self.calls += 1
        x, y = batch
        output = self.net(x)
        loss = nn.functional.cross_entropy(output, y)
        accuracy = (output.argmax(1) == y).float().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict({"accuracy": accuracy})
        if self.logger is not None:
            self.logger.log_metrics({"by_hand": loss.item()})
        if self.calls in self.at_call:
            self.at_call[self.calls]()
        return loss if self.returned == "loss" else {"loss": loss, "accuracy": accuracy}

    def groups(self):
        first, *others = self.net
        slow = {"params": [*first.parameters()], "lr": self.lr * self.ratio}
        return [{"params": [p for m in others for p in m.parameters()]}, slow]

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.groups(), lr=self.lr, momentum=0.9)
        if self.scheduler is None:
            return optimizer
        config = {"scheduler": type(self).scheduler(self, optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": config}


def scheduled(module, optimizer):
    total = int(module.trainer.estimated_stepping_batches)
    return ct.ScheduledLR(optimizer, cr.OneCycle(module.lr, total), group_scale="keep")


class ByHand(Digits):
    """Two optimizers, each of half of the network, stepped by the training step."""

    def __init__(self, lr=0.02):
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        assert isinstance(loss, torch.Tensor)
        schedulers: Any = self.lr_schedulers()
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        return loss

    def configure_optimizers(self):
        last = torch.optim.SGD(self.net[4].parameters(), lr=self.lr, momentum=0.9)
        first = torch.optim.Adam([*self.net[0].parameters(), *self.net[1].parameters()], lr=0.001)
        decay = [torch.optim.lr_scheduler.ExponentialLR(part, 0.99) for part in (last, first)]
        return [last, first], decay


class Picture(pl.Callback):
    """Keeps by value all that there is when an epoch begins, and what each epoch ended with."""

    def __init__(self):
        self.begun, self.ended, self.batches = [], [], []

    def on_train_epoch_start(self, trainer, module):
        self.begun.append(picture(trainer, module))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch[0].clone())

    def on_train_epoch_end(self, trainer, module):
        self.ended.append(picture(trainer, module))


def picture(trainer, module):
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return copied(
        {
            "weights": module.state_dict(),
            "gradients": [p.grad for p in module.parameters()],
            "requires_grad": [p.requires_grad for p in module.parameters()],
            "modes": [part.training for part in module.modules()],
            "attributes": {
                name: value
                for name, value in vars(module).items()
                if isinstance(value, (bool, int, float, str, dict)) and not name.startswith("_")
            },
            "names": sorted(vars(module)),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            "hooks": [len(o._optimizer_step_pre_hooks) for o in trainer.optimizers],
            "schedulers": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
            "scaler": scaler and scaler.state_dict(),
            "python": list(random.getstate()[1]),
            "numpy": np.random.get_state(legacy=False)["state"]["key"],  # noqa: NPY002
            "torch": torch.get_rng_state(),
            "progress": trainer.fit_loop.state_dict(),
            "steps": [trainer.global_step, trainer.current_epoch, trainer.should_stop],
            "metrics": [trainer.callback_metrics, trainer.logged_metrics],
            "results": sorted(trainer._results or {}),
            "callbacks": [id(callback) for callback in trainer.callbacks],
            "loggers": [id(logger) for logger in trainer.loggers],
        }
    )


def copied(value):
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return torch.as_tensor(value).detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items() if key != "at_call"}
    if isinstance(value, (list, tuple)):
        return [copied(item) for item in value]
    return value
