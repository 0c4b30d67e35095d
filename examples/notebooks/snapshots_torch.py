# pyright: reportArgumentType=false
# %% [markdown]
# # Snapshot ensembles
#
# One training of a PyTorch network gives five models: each cycle of the rate ends in a good one.
# Let them predict together, and see what that gains.
#
# ```console
# $ pip install 'cyclerate[torch]' scikit-learn
# ```
# %%
from __future__ import annotations

import tempfile

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = map(torch.tensor, train_test_split(x / 16, y, test_size=0.5, random_state=0))
loader = DataLoader(TensorDataset(x.float(), y), batch_size=64, shuffle=True)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
loss_fn = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)

# %% [markdown]
# Find the rate for a training of one cycle's length.
# %%
cycles, epochs_a_cycle = 5, 4
cycle_steps = epochs_a_cycle * len(loader)
result = ct.range_test(model, optimizer, loss_fn, loader, horizon_steps=cycle_steps, verbose=0)
print(result)

# %% [markdown]
# Within a cycle the rate falls from there to zero. `SnapshotEnsemble` saves the model where it is
# lowest.
# %%
lr = cr.WarmRestarts(max_lr=result.max_lr, cycle_steps=cycle_steps)
scheduler = ct.ScheduledLR(optimizer, lr)
folder = tempfile.mkdtemp()
saving = ct.SnapshotEnsemble(folder, model, lr, total_steps=cycles * cycle_steps)
losses = []
for _ in range(cycles * epochs_a_cycle):
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        saving.step()
        scheduler.step()
        losses.append(loss.item())

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
left.plot(lr(range(len(losses))))
left.set(xlabel="step", ylabel="learning rate")
right.semilogy(losses, linewidth=0.7)
right.set(xlabel="step", ylabel="loss of a batch")

# %% [markdown]
# The outputs are logits: they become probabilities before their mean is taken.
# %%
ensemble = ct.SnapshotEnsemble.load(folder, model, outputs="logits")
accuracies = []
for member, probabilities in ensemble.predictions(x_test.float()):
    accuracies.append((probabilities.argmax(dim=1) == y_test).double().mean().item())
    print(f"cycle {member.cycle}: accuracy {accuracies[-1]:.3f}")
together = (ensemble.predict(x_test.float()).argmax(dim=1) == y_test).double().mean().item()
print(f"together: accuracy {together:.3f}")

# %% [markdown]
# The gain is small where the members agree; other kinds of ensembles: [Ensembles and
# averages](../ensembles.md).
# %%
assert together > min(accuracies)
assert together > 0.93
