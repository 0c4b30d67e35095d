"""PyTorch: five models from one training with warm restarts, predicting together.

pip install 'cyclerate[torch]' scikit-learn
python examples/torch_snapshots.py
"""

from __future__ import annotations

import tempfile

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct

CYCLES, EPOCHS_A_CYCLE, BATCH_SIZE = 5, 2, 64

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = (
    torch.tensor(part) for part in train_test_split(x / 16.0, y, test_size=0.25, random_state=0)
)
torch.manual_seed(0)
train = DataLoader(TensorDataset(x_train.float(), y_train), BATCH_SIZE, shuffle=True)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

# Each cycle falls from the highest rate to zero, along a cosine; then the next one begins.
total_steps = CYCLES * EPOCHS_A_CYCLE * len(train)
lr = cr.WarmRestarts(max_lr=0.2, cycle_steps=EPOCHS_A_CYCLE * len(train))
scheduler = ct.ScheduledLR(optimizer, lr)

with tempfile.TemporaryDirectory() as folder:
    saving = ct.SnapshotEnsemble(folder, model, lr, total_steps)
    for _ in range(CYCLES * EPOCHS_A_CYCLE):
        for inputs, targets in train:
            optimizer.zero_grad()
            loss_fn(model(inputs), targets).backward()
            optimizer.step()
            saving.step()  # saves the model where the rate is lowest
            scheduler.step()

    # The outputs are logits: they become probabilities before their mean is taken.
    ensemble = ct.SnapshotEnsemble.load(folder, model, outputs="logits")
    for member, probabilities in ensemble.predictions(x_test.float()):
        accuracy = (probabilities.argmax(dim=1) == y_test).double().mean()
        print(f"cycle {member.cycle}, saved after step {member.step}: accuracy {accuracy:.3f}")
    together = (ensemble.predict(x_test.float()).argmax(dim=1) == y_test).double().mean()
print(f"{len(ensemble)} members together on {len(x_test)} digits held out: {together:.3f}")
assert together > 0.93
