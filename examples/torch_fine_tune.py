"""PyTorch: fine-tune a network on few rows of another task, layer by layer.

pip install 'cyclerate[torch]' scikit-learn
python examples/torch_fine_tune.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

import cyclerate.torch as ct

x, y = (torch.tensor(part) for part in load_digits(return_X_y=True))
x = x.float() / 16.0
old = y < 5  # the task that the network knows: the digits 0 to 4
x_new, y_new = x[~old], y[~old] - 5
few = slice(0, 100)  # of the new task, the digits 5 to 9, we have labels of a hundred rows
rest = slice(100, None)

torch.manual_seed(0)
body = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
model = nn.Sequential(*body, nn.Linear(64, 5))
loss_fn = nn.CrossEntropyLoss()

# One call trains with one cycle, which finds its own top on its way up.
optimizer = torch.optim.AdamW(model.parameters())
history = ct.fit_one_cycle(model, optimizer, loss_fn, (x[old], y[old]), epochs=10, batch_size=64)
print(history)
print(f"the old task: loss {history.epochs['loss'][-1]:.3f}")

# A new head on what was learnt. A layer has 1/2.6 of the rate of the one above it; the head trains
# first, and after every five epochs one more layer does.
model[-1] = nn.Linear(64, 5)
optimizer = torch.optim.AdamW(ct.layer_groups(model, lr=1e-3))
history = ct.fit_one_cycle(
    model,
    optimizer,
    loss_fn,
    (x_new[few], y_new[few]),
    epochs=40,
    batch_size=20,
    validation_data=(x_new[rest], y_new[rest]),
    metric="accuracy",
    unfreeze_epochs=5,
)
for name, epoch in (("the head", 5), ("two layers", 10), ("all", 40)):
    accuracy = history.epochs["val_accuracy"][epoch - 1]
    print(f"epoch {epoch}, {name} trained: accuracy on the other rows {accuracy:.3f}")
rates = ", ".join(
    f"{group['lr'] / optimizer.param_groups[-1]['lr']:.2f}" for group in optimizer.param_groups
)
print(f"rates from the bottom to the top, over that of the head: {rates}")
