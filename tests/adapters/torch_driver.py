"""PyTorch: a plain training loop with `ScheduledLR`, and `range_test`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import cyclerate as cr
import cyclerate.torch as ct
from tests.adapters.driver import Trained


class TorchDriver:
    """Drives `ScheduledLR` and `range_test`."""

    def __init__(self) -> None:
        torch.set_num_threads(1)  # the model is tiny: threads would wait for each other

    def train(self, schedule: cr.Schedule, steps: int) -> Trained:
        return self._go_on(*self._begin(schedule), steps)

    def train_in_two_parts(
        self, schedule: cr.Schedule, steps: int, first: int, folder: Path
    ) -> Trained:
        weight, scheduler = self._begin(schedule)
        begun = self._go_on(weight, scheduler, first)
        states = {"optimizer": scheduler.optimizer.state_dict(), "lr": scheduler.state_dict()}
        torch.save(states, folder / "half.pt")
        states = torch.load(folder / "half.pt", weights_only=True)
        weight, scheduler = self._begin(schedule)
        scheduler.optimizer.load_state_dict(states["optimizer"])
        scheduler.load_state_dict(states["lr"])
        resumed = self._go_on(weight, scheduler, steps - first)
        return Trained(begun.recorded + resumed.recorded, begun.applied + resumed.applied)

    def toy(self, data: str = "plain") -> TorchToy:
        return TorchToy(data)

    @staticmethod
    def _begin(schedule: cr.Schedule) -> tuple[nn.Parameter, ct.ScheduledLR]:
        weight = nn.Parameter(torch.zeros(()))
        return weight, ct.ScheduledLR(torch.optim.SGD([weight], lr=0.05), schedule)

    @staticmethod
    def _go_on(weight: nn.Parameter, scheduler: ct.ScheduledLR, steps: int) -> Trained:
        recorded, applied = [], []
        for _ in range(steps):
            recorded += scheduler.get_last_lr()
            before = weight.item()
            weight.grad = torch.ones(())
            scheduler.optimizer.step()
            scheduler.step()
            applied.append(before - weight.item())
        return Trained(recorded, applied)


class TorchToy:
    """Dense layers, batch normalisation and dropout, trained for an epoch with momentum."""

    parameters = 29

    def __init__(self, data: str) -> None:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002 - a range test must put back the global generator
        torch.manual_seed(7)
        self.model = nn.Sequential(
            nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Dropout(0.25), nn.Linear(4, 1)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.scheduler = ct.ScheduledLR(self.optimizer, cr.Cosine(0.05, 0.01, steps=20))
        rng = np.random.default_rng(1)
        self.x = torch.tensor(rng.normal(size=(8 if data == "tiny" else 40, 3))).float()
        self.y = self.x[:, :1] * 2
        self._train(epochs=1)
        self.model.eval()
        self.tested_y = self.y.clone()
        if data == "nan":
            self.tested_y[::2] = torch.nan

    def range_test(self, **options: Any) -> cr.RangeTestResult:
        data = (self.x, self.tested_y)
        loss_fn = nn.MSELoss()
        return ct.range_test(self.model, self.optimizer, loss_fn, data, batch_size=8, **options)

    def recommend(self, **options: Any) -> cr.Recommendation:
        data = (self.x, self.tested_y)
        loss_fn = nn.MSELoss()
        return ct.recommend(self.model, self.optimizer, loss_fn, data, batch_size=8, **options)

    def state(self) -> Mapping[str, Any]:
        optimizer = self.optimizer.state_dict()
        weights = [*self.model.parameters(), *self.model.buffers()]
        buffers = [held["momentum_buffer"] for held in optimizer["state"].values()]
        numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        return {
            "weights": [weight.detach().numpy().tobytes() for weight in weights],
            "tensors": [id(tensor) for tensor in [*weights, *buffers]],
            "momentum": [buffer.numpy().tobytes() for buffer in buffers],
            "groups": optimizer["param_groups"],
            "gradients": [weight.grad.numpy().tobytes() for weight in self.model.parameters()],
            "modes": [module.training for module in self.model.modules()],
            "scheduler": self.scheduler.state_dict(),
            "attributes": sorted(vars(self.model)),
            "optimizer's attributes": sorted(vars(self.optimizer)),
            "python": random.getstate(),
            "numpy": (numpy_state["key"].tobytes(), numpy_state["pos"]),
            "torch": torch.get_rng_state().numpy().tobytes(),
        }

    def train_on(self) -> np.ndarray:
        self._train(epochs=2)
        weights = [*self.model.parameters(), *self.model.buffers()]
        return np.concatenate([weight.detach().numpy().ravel() for weight in weights])

    def _train(self, epochs: int) -> None:
        self.model.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(self.x)).split(8):
                self.optimizer.zero_grad()
                nn.functional.mse_loss(self.model(self.x[rows]), self.y[rows]).backward()
                self.optimizer.step()
                self.scheduler.step()
