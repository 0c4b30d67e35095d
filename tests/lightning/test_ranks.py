"""Under `strategy="ddp"` all ranks have one answer, one way of the rates and one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from cyclerate.lightning import RangeTestCallback, SelfFindingCycle
from tests.lightning.digits import ROWS, X, Y, loader, seeded, trainer
from tests.ranks import on_two_ranks


class Plain(pl.LightningModule):
    """Two layers, and an optimizer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.02
        self.net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Rates(pl.Callback):
    """The rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(optimizer.param_groups[0]["lr"])


def weights_of(module: nn.Module) -> list[float]:
    return [weight.detach().double().sum().item() for weight in module.parameters()]


def loss_of(module: Any) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(module.net(X[:ROWS].float() / 16), Y[:ROWS]))


def found_by_a_callback() -> dict[str, Any]:
    module = seeded(Plain)
    before = weights_of(module)
    finder, rates = RangeTestCallback(method="range", steps=40, apply=False), Rates()
    host = trainer(finder, rates, strategy="ddp", devices=2, max_steps=2)
    host.fit(module, loader())
    result = finder.result
    assert result is not None
    assert host.world_size == 2
    assert rates.seen == [0.02, 0.02]
    return {
        "max_lr": result.max_lr,
        "losses": result.losses[:20].tolist(),
        "steps": result.steps,
        "weights": weights_of(module),
        "before": before,
    }


def trained_by_the_cycle() -> dict[str, Any]:
    module, cycle, rates = seeded(Plain), SelfFindingCycle(total_steps=160), Rates()
    trainer(cycle, rates, strategy="ddp", devices=2, max_epochs=99).fit(module, loader())
    assert cycle.cycle is not None
    return {
        "rates": rates.seen,
        "top": cycle.cycle.found["top"],
        "source": cycle.cycle.found["source"],
        "weights": weights_of(module),
        "loss": loss_of(module),
    }


def test_a_range_test_has_one_answer(tmp_path: Path):
    first, second = on_two_ranks(found_by_a_callback, tmp_path)
    assert first == second
    assert first["steps"] > 20
    assert 1e-3 < first["max_lr"] < 10
    assert first["weights"] != first["before"]  # by the two steps of the training itself


def test_a_self_finding_cycle_goes_one_way(tmp_path: Path):
    first, second = on_two_ranks(trained_by_the_cycle, tmp_path)
    assert first == second
    assert len(first["rates"]) == 160
    assert first["source"] == "sweep and prior"
    assert first["loss"] < 0.1
