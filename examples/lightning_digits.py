"""Lightning: a module as it is everywhere, and the callback that finds the rate of its cycle.

pip install 'cyclerate[lightning]' scikit-learn
python examples/lightning_digits.py
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.lightning import RangeTestCallback


class Digits(pl.LightningModule):
    """A network for the digits, whose rate is `self.lr`."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.lr = lr  # the callback sets it, and has the optimizer configured again
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(dim=1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        cycle = cr.OneCycle(self.lr, total_steps=int(self.trainer.estimated_stepping_batches))
        scheduler = ct.ScheduledLR(optimizer, cycle, momentum=cycle.mirrored(0.85, 0.95))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = (
    torch.tensor(part) for part in train_test_split(x / 16.0, y, test_size=0.25, random_state=0)
)
train = DataLoader(TensorDataset(x_train.float(), y_train), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(x_test.float(), y_test), batch_size=len(y_test))

pl.seed_everything(0)
model = Digits()
finder = RangeTestCallback()
trainer = pl.Trainer(
    max_epochs=10,
    accelerator="cpu",
    callbacks=[finder],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, train)
print(finder.result)
print(f"the module's rate is {model.lr:.2g}, its loss {trainer.callback_metrics['loss']:.3f}")
[answer] = trainer.test(model, test, verbose=False)
print(f"accuracy on the {len(y_test)} digits held out: {answer['accuracy']:.3f}")
assert answer["accuracy"] > 0.95
