"""A found rate, put where the training takes its rate from."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.parsing import (
    lightning_getattr,
    lightning_hasattr,
    lightning_setattr,
)

from cyclerate._errors import bad_argument
from cyclerate.torch.rates import rate_of, set_rate

_USUAL = ("lr", "learning_rate")


def attribute_of(module: pl.LightningModule, attribute: str | None) -> str | None:
    """Returns the name under which the module, its `hparams` or the datamodule keeps the rate.

    Args:
        module: The module.
        attribute: The name; "auto" for `lr` or `learning_rate`, if there is one; None for none.

    Raises:
        ValueError: There is nothing of that name.
    """
    if attribute == "auto":
        return next((name for name in _USUAL if lightning_hasattr(module, name)), None)
    if attribute is not None and not lightning_hasattr(module, attribute):
        allowed = '"auto", None, or a name that the module, its hparams or the datamodule has'
        raise bad_argument("attribute", allowed, attribute)
    return attribute


def apply_rate(
    trainer: pl.Trainer, index: int, rate: float, attribute: str | None, *, anew: bool
) -> None:
    """Sets the rate of an optimizer, of its schedulers, and the module's own note of it.

    Args:
        trainer: The Trainer.
        index: The number of the optimizer.
        rate: The rate.
        attribute: The name of the module's note of it; None for none.
        anew: Have the module configure its optimizers again, if it has a note: they are as they
            would have been, had the rate been known from the beginning.
    """
    module, before = trainer.lightning_module, _rate_of(trainer, index)
    if attribute is not None:
        given = lightning_getattr(module, attribute)
        lightning_setattr(module, attribute, rate)
        if anew:
            trainer.strategy.setup_optimizers(trainer)
            if given == rate or _rate_of(trainer, index) != before:
                return
    set_rate(trainer.optimizers[index], schedulers_of(trainer, index), rate)


def schedulers_of(trainer: pl.Trainer, index: int) -> list[Any]:
    """The schedulers of an optimizer."""
    optimizer = trainer.optimizers[index]
    schedulers: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [scheduler for scheduler in schedulers if scheduler.optimizer is optimizer]


def _rate_of(trainer: pl.Trainer, index: int) -> float:
    return rate_of(trainer.optimizers[index], schedulers_of(trainer, index))
