"""Keras: find the rate of a small network, then train it with cycles that halve (triangular2).

pip install 'cyclerate[keras]' scikit-learn
python examples/keras_digits.py

The command finds the rate of the same network: cyclerate range-test examples/keras_digits.py:build
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import cyclerate as cr
import cyclerate.keras as ck

EPOCHS, BATCH_SIZE = 16, 32

x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)


def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(), loss=loss, metrics=["accuracy"])
    return model, x_train, y_train


def main() -> None:
    # 1. Which rates? The model is given back as it was.
    model, *data = build()
    steps_per_epoch = -(-len(x_train) // BATCH_SIZE)
    training = {"policy": "triangular", "horizon_steps": EPOCHS * steps_per_epoch}
    result = ck.range_test(model, *data, batch_size=BATCH_SIZE, **training, verbose=0)
    print(result)

    # 2. Four whole cycles, each half as high as the one before; half a cycle is two epochs.
    lr = cr.Triangular2(result.base_lr, result.max_lr, step_size=EPOCHS // 8 * steps_per_epoch)
    # The schedule becomes part of the compiled step.
    optimizer = keras.optimizers.SGD(ck.as_schedule(lr))
    model.compile(optimizer, loss=model.loss, metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=2)

    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"accuracy on the {len(x_test)} digits held out: {accuracy:.3f}")
    assert accuracy > 0.95


if __name__ == "__main__":
    main()
