"""Your own model, policy against policy: what each gains, and whether that can be told from chance.

pip install 'cyclerate[torch,cli]'
python examples/compare_own_model.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

from cyclerate.compare import compare

x, y = load_wine(return_X_y=True)
x = StandardScaler().fit_transform(x)


def make_model():
    """Your model, optimizer and loss; a compiled Keras model would do as well."""
    model = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.01), nn.CrossEntropyLoss()


# 3 policies, 6 seeds: 18 runs, each kept in the folder when it is finished. Stop it and start it
# again: it goes on where it was.
result = compare(make_model, x, y, epochs=12, batch_size=16, seeds=6, out="runs/wine")
print(result)

one_cycle = result.difference("one_cycle")
print(f"\n1cycle less fixed, held-out loss: {one_cycle.mean:+.3f} ({one_cycle.verdict}).")
assert one_cycle.verdict == "lower"
