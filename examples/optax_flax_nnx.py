"""Flax NNX, with batch normalisation and dropout: find the rate, then train with one cycle.

pip install 'cyclerate[jax]' flax scikit-learn
python examples/optax_flax_nnx.py
"""

from __future__ import annotations

import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import cyclerate as cr
import cyclerate.optax as co

EPOCHS, BATCH_SIZE = 10, 64

x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)


class Net(nnx.Module):
    """A small fully connected network."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


def cross_entropy(model, batch):
    x, y = batch
    return optax.losses.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


model = Net(nnx.Rngs(0))
model.train()

# 1. Which rate, for a training of so many updates? A module is split into parameters and all else
#    that a step changes: running means and the counters of the random keys. The loss function puts
#    it together and hands that back.
graph, params, state = nnx.split(model, nnx.Param, ...)


def loss_fn(params, batch, state):
    model = nnx.merge(graph, params, state, copy=True)
    loss = cross_entropy(model, batch)
    return loss, nnx.state(model, nnx.Not(nnx.Param))


def score_fn(params, batch, state):
    model = nnx.merge(graph, params, state, copy=True)
    model.eval()  # short trainings are compared without dropout, by the running means
    return cross_entropy(model, batch)


steps_per_epoch = len(x_train) // BATCH_SIZE
result = co.range_test(
    loss_fn,
    params,
    optax.adam,
    (x_train, y_train),
    batch_size=BATCH_SIZE,
    model_state=state,
    horizon_steps=EPOCHS * steps_per_epoch,
    score_fn=score_fn,
)
print(result)

# 2. Train with it. The model is as it was; the schedule goes into Optax as it is.
lr = cr.OneCycle(max_lr=result.max_lr, total_steps=EPOCHS * steps_per_epoch)
optimizer = nnx.Optimizer(model, optax.adam(lr), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, batch):
    loss, grads = nnx.value_and_grad(cross_entropy)(model, batch)
    optimizer.update(model, grads)
    return loss


order = np.random.default_rng(0)
for epoch in range(EPOCHS):
    rows = order.permutation(len(x_train))
    for i in range(steps_per_epoch):
        batch = rows[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
        loss = train_step(model, optimizer, (x_train[batch], y_train[batch]))
    print(f"epoch {epoch + 1:2}  loss {loss:.4f}")

model.eval()
accuracy = (model(x_test).argmax(-1) == y_test).mean()
print(f"accuracy on the {len(x_test)} digits held out: {accuracy:.3f}")
assert accuracy > 0.95
