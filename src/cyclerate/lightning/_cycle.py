"""A cycle that finds its own top, as a callback of the Trainer."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning.pytorch as pl
from torch import Tensor, nn

import cyclerate.torch as ct
from cyclerate._errors import bad_argument, check_count
from cyclerate.cycles._rules import CycleOptions
from cyclerate.lightning._callback import number_of
from cyclerate.torch._data import rows_of_a_step


class SelfFindingCycle(pl.Callback):
    """One cycle of the rate for a whole `fit`, whose way up is the range test.

    `cyclerate.torch.SelfFindingCycle`, called after every optimizer step of the Trainer: nothing is
    trained beside the training, the gradients are clipped, a loss that explodes is repaired. A
    checkpoint holds it with its mark, and a training that goes on from there goes on exactly. With
    DDP, all ranks decide by the mean of their losses.

    The fit ends with the cycle. Each logger gets `cycle/max_lr` at its end.

    Args:
        total_steps: All the optimizer steps there are, those of the way up included. Default: what
            the Trainer estimates.
        max_lr: The highest rate, where it is known, as in `cyclerate.torch.SelfFindingCycle`.
        momentum: (lowest, highest), against the rate; None leaves it alone. Default (0.85, 0.95).
        batch_size: Rows of a step on one device, for the rate to expect. Default: the DataLoader's,
            times the accumulated batches.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.
        optimizer: The number of the optimizer, where there are several.

    Attributes:
        cycle: The `cyclerate.torch.SelfFindingCycle`, from the start of the training on: its
            `found` and `verdict` say what happened.

    Raises:
        ValueError: A wrong argument; or, when the training begins, manual optimization, a scheduler
            beside the cycle, a strategy that cannot be used, or a length that nobody knows.

    Source: `docs/budget.md`.

    >>> cycle = SelfFindingCycle(fine_tuned=True)
    >>> trainer = pl.Trainer(callbacks=[cycle], logger=False, enable_checkpointing=False)
    >>> cycle.cycle is None
    True
    """

    def __init__(
        self,
        total_steps: int | None = None,
        *,
        max_lr: float | None = None,
        momentum: tuple[float, float] | None = (0.85, 0.95),
        batch_size: int | None = None,
        fine_tuned: bool = False,
        optimizer: int | None = None,
    ) -> None:
        self._asked = CycleOptions(total_steps, max_lr, momentum, batch_size, fine_tuned)
        self._number = None if optimizer is None else check_count("optimizer", optimizer, low=0)
        self._loaded: dict[str, Any] | None = None
        self._seen_steps, self._batches = 0, 0
        self._loss: float | Tensor = 0.0
        self._told: float | Tensor | None = None
        self.cycle: ct.SelfFindingCycle | None = None

    def state_dict(self) -> dict[str, Any]:
        """The cycle with its mark, as values that `torch.load(weights_only=True)` takes."""
        return {} if self.cycle is None else self.cycle.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes where it stood; it goes on from there when the training does."""
        self._loaded = state_dict or None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the cycle, or goes on with the one of the checkpoint."""
        if not pl_module.automatic_optimization:
            raise bad_argument("automatic_optimization", "True in the module", False)
        if trainer.lr_scheduler_configs:
            allowed = "an optimizer alone: the cycle sets the rate"
            kinds = [type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs]
            raise bad_argument("configure_optimizers", allowed, f"schedulers {kinds}")
        done = 0 if self._loaded is None else self._loaded["cycle"]["step"]
        coming = trainer.estimated_stepping_batches - trainer.global_step + done
        if self._asked.total_steps is None and not 1 <= coming < math.inf:
            allowed = "given where the Trainer does not know how many steps are to come"
            raise bad_argument("total_steps", allowed, None)
        rows = rows_of_a_step(trainer.train_dataloader, None, trainer.accumulate_grad_batches)
        self.cycle = ct.SelfFindingCycle(
            cast(nn.Module, trainer.strategy.model),
            trainer.optimizers[number_of(trainer, self._number)],
            self._asked.total_steps or int(coming),
            max_lr=self._asked.max_lr,
            momentum=self._asked.momentum,
            batch_size=self._asked.batch_size or rows,
            fine_tuned=self._asked.fine_tuned,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
        )
        if self._loaded is not None:
            self.cycle.load_state_dict(self._loaded)
            self._loaded = None
        self._seen_steps, self._told = trainer.global_step, None
        self._loss, self._batches = 0.0, 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tells the cycle the loss of a step once all of its batches are through."""
        cycle = self.cycle
        if cycle is None or cycle.done:
            return
        if outputs:  # none of a batch that the module skips
            self._loss, self._batches = self._loss + outputs["loss"], self._batches + 1
        stepped, self._seen_steps = trainer.global_step > self._seen_steps, trainer.global_step
        if not stepped:
            return
        if self._batches:
            # The Trainer has divided it by the batches of a whole step; an epoch's last has fewer.
            self._told = self._loss * (trainer.accumulate_grad_batches / self._batches)
            self._loss, self._batches = 0.0, 0
        if self._told is None:
            return
        cycle.step(self._told)  # again, where all were skipped: the Trainer counts that step
        if cycle.done:
            trainer.should_stop = True
            for logger in trainer.loggers:
                logger.log_metrics({"cycle/max_lr": cycle.found["top"]}, step=self._seen_steps)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Lets go of the mark."""
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets go of the mark, and clips no more."""
        if self.cycle is not None:
            self.cycle.close()
