"""PyTorch: a training loop as it is everywhere, and the two lines that find and cycle its rate.

pip install 'cyclerate[torch]' scikit-learn
python examples/torch_two_lines.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct

EPOCHS, BATCH_SIZE = 10, 64

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = (
    torch.tensor(part) for part in train_test_split(x / 16.0, y, test_size=0.25, random_state=0)
)
torch.manual_seed(0)
train = DataLoader(TensorDataset(x_train.float(), y_train), BATCH_SIZE, shuffle=True)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

# The first line: which rate, for a training of so many steps? The model, the optimizer and the data
# are given back as they were.
result = ct.range_test(model, optimizer, loss_fn, train, horizon_steps=EPOCHS * len(train))
print(result)

# The second line: one cycle of the rate over the whole training, and of the momentum against it.
cycle = cr.OneCycle(max_lr=result.max_lr, total_steps=EPOCHS * len(train))
scheduler = ct.ScheduledLR(optimizer, cycle, momentum=cycle.mirrored(low=0.85, high=0.95))

for epoch in range(EPOCHS):
    losses = []
    for inputs, targets in train:
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    mean = sum(losses) / len(losses)
    print(f"epoch {epoch + 1}: loss {mean:.3f}, rate {scheduler.get_last_lr()[0]:.2g}")

with torch.no_grad():
    right = model(x_test.float()).argmax(dim=1) == y_test
accuracy = right.float().mean().item()
print(f"accuracy on the {len(x_test)} digits held out: {accuracy:.3f}")
assert accuracy > 0.95
