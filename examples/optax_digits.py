"""Plain JAX and Optax: find the rate, then train with one cycle of the rate and the momentum.

pip install 'cyclerate[jax]' scikit-learn
python examples/optax_digits.py
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
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


def make_params(key):
    hidden, out = jax.random.split(key)
    return {
        "hidden": {"w": 0.2 * jax.random.normal(hidden, (64, 64)), "b": jnp.zeros(64)},
        "out": {"w": 0.2 * jax.random.normal(out, (64, 10)), "b": jnp.zeros(10)},
    }


def logits_of(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["out"]["w"] + params["out"]["b"]


def loss_fn(params, batch):
    x, y = batch
    logits = logits_of(params, x)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()


# 1. Which rate, for a training of so many updates? The function builds the optimizer for a rate;
#    the parameters stay as they are.
steps_per_epoch = len(x_train) // BATCH_SIZE
params = make_params(jax.random.key(0))
result = co.range_test(
    loss_fn,
    params,
    lambda rate: optax.sgd(rate, momentum=0.9),
    (x_train, y_train),
    batch_size=BATCH_SIZE,
    horizon_steps=EPOCHS * steps_per_epoch,
)
print(result)

# 2. Train with it. A schedule goes into Optax as it is; momentum runs the other way.
lr = cr.OneCycle(max_lr=result.max_lr, total_steps=EPOCHS * steps_per_epoch)
optimizer = optax.inject_hyperparams(optax.sgd)(
    learning_rate=lr, momentum=lr.mirrored(low=0.85, high=0.95)
)
opt_state = optimizer.init(params)


@jax.jit
def train_step(params, opt_state, batch):
    loss, grads = jax.value_and_grad(loss_fn)(params, batch)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


order = np.random.default_rng(0)
for epoch in range(EPOCHS):
    rows = order.permutation(len(x_train))
    for i in range(steps_per_epoch):
        batch = rows[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
        params, opt_state, loss = train_step(params, opt_state, (x_train[batch], y_train[batch]))
    rate, momentum = (float(opt_state.hyperparams[k]) for k in ("learning_rate", "momentum"))
    print(f"epoch {epoch + 1:2}  loss {loss:.4f}  rate {rate:.4f}  momentum {momentum:.3f}")

accuracy = (logits_of(params, x_test).argmax(-1) == y_test).mean()
print(f"accuracy on the {len(x_test)} digits held out: {accuracy:.3f}")
assert accuracy > 0.95
