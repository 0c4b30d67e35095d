# pyright: reportArgumentType=false
# %% [markdown]
# # MNIST with Keras
#
# Train a network on handwritten digits without choosing a learning rate, look at what was found,
# and train again with a schedule inside the optimizer.
#
# ```console
# $ pip install 'cyclerate[keras]' scikit-learn
# ```
# %%
from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
import matplotlib.pyplot as plt
import numpy as np

import cyclerate as cr
import cyclerate.keras as ck

# %% [markdown]
# MNIST itself, where `CYCLERATE_DATA` names a folder with Keras's `mnist.npz`, or the small digits
# that come with scikit-learn. `keras.datasets.mnist.load_data()` downloads the same arrays.
# %%
if folder := os.environ.get("CYCLERATE_DATA"):
    with np.load(f"{folder}/mnist/mnist.npz") as file:
        x, y = file["x_train"], file["y_train"]
        x_test, y_test = file["x_test"], file["y_test"]
else:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
x, x_test = (part.reshape(len(part), -1).astype("float32") / x.max() for part in (x, x_test))
epochs, batch_size = 5, 128 if len(x) > 10_000 else 16
print(x.shape, x_test.shape)


# %%
def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# %% [markdown]
# `fit_one_cycle` takes what `fit` takes. It raises the rate until the loss stops falling, and
# brings it down from there to zero, all within the epochs that were asked for.
# %%
model = network()
options = {"epochs": epochs, "batch_size": batch_size, "verbose": 0}
history = ck.fit_one_cycle(model, x, y, validation_split=0.1, **options)
accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
print(f"top of the cycle {history.finding['top']:.2g}, test accuracy {accuracy:.3f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
left.semilogy(history.steps["learning_rate"])
left.set(xlabel="step", ylabel="learning rate")
right.plot(history.history["loss"], label="training")
right.plot(history.history["val_loss"], label="validation")
right.set(xlabel="epoch", ylabel="loss")
right.legend()

# %% [markdown]
# Or measure the rate by itself. The model comes back as it was, and the answer has an interval.
# %%
steps = epochs * -(-len(x) // batch_size)
result = ck.range_test(network(), x, y, batch_size=batch_size, horizon_steps=steps, verbose=0)
result.plot()
print(result)

# %% [markdown]
# Give the optimizer a cycle up to that rate. It is compiled into the train step, and saved with
# the model.
# %%
cycle = cr.OneCycle(result.max_lr, total_steps=steps)
again = network()
again.optimizer.learning_rate = ck.as_schedule(cycle)
again.fit(x, y, **options)
with_schedule = again.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
print(f"test accuracy {with_schedule:.3f}")

# %%
assert min(accuracy, with_schedule) > 0.9
