"""Equinox, with dropout: find the rate, then train with it as the top of a cycle.

pip install 'cyclerate[jax]' equinox scikit-learn
python examples/optax_equinox.py
"""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import cyclerate as cr
import cyclerate.optax as co

EPOCHS, BATCH_SIZE = 10, 64

x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)


class Net(eqx.Module):
    """A small fully connected network."""

    hidden: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.hidden = eqx.nn.Linear(64, 64, key=first)
        self.dropout = eqx.nn.Dropout(0.2)
        self.out = eqx.nn.Linear(64, 10, key=second)

    def __call__(self, x, key=None):
        return self.out(self.dropout(jax.nn.relu(self.hidden(x)), key=key))


def cross_entropy(model, batch, rng):
    x, y = batch
    logits = jax.vmap(model)(x, jax.random.split(rng, len(x)))
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()


model = Net(jax.random.key(0))

# 1. Which rate, for triangles in a training of so many updates? A module is a pytree that holds
#    functions too: its arrays are the parameters. Short trainings are compared without dropout.
steps_per_epoch = len(x_train) // BATCH_SIZE
params, rest = eqx.partition(model, eqx.is_inexact_array)


def score_fn(params, batch):
    x, y = batch
    logits = jax.vmap(eqx.nn.inference_mode(eqx.combine(params, rest)))(x)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()


result = co.range_test(
    lambda params, batch, rng: cross_entropy(eqx.combine(params, rest), batch, rng),
    params,
    optax.adamw,
    (x_train, y_train),
    batch_size=BATCH_SIZE,
    policy="triangular",
    horizon_steps=EPOCHS * steps_per_epoch,
    score_fn=score_fn,
    rng=jax.random.key(1),
)
print(result)

# 2. Train with it: triangles between base_lr and max_lr, each half as high as the one before.
lr = cr.Triangular2(result.base_lr, result.max_lr, step_size=2 * steps_per_epoch)
optimizer = optax.adamw(lr)
opt_state = optimizer.init(params)


@eqx.filter_jit
def train_step(model, opt_state, batch, rng):
    loss, grads = eqx.filter_value_and_grad(cross_entropy)(model, batch, rng)
    updates, opt_state = optimizer.update(grads, opt_state, eqx.filter(model, eqx.is_inexact_array))
    return eqx.apply_updates(model, updates), opt_state, loss


order, key = np.random.default_rng(0), jax.random.key(2)
for epoch in range(EPOCHS):
    rows = order.permutation(len(x_train))
    for i in range(steps_per_epoch):
        batch = rows[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
        key, rng = jax.random.split(key)
        model, opt_state, loss = train_step(model, opt_state, (x_train[batch], y_train[batch]), rng)
    print(f"epoch {epoch + 1:2}  loss {loss:.4f}")

model = eqx.nn.inference_mode(model)
accuracy = (jax.vmap(model)(x_test).argmax(-1) == y_test).mean()
print(f"accuracy on the {len(x_test)} digits held out: {accuracy:.3f}")
assert accuracy > 0.95
