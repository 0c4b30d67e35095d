"""Keras: five models from one training with warm restarts, predicting together.

pip install 'cyclerate[keras]' scikit-learn
python examples/keras_snapshots.py
"""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import cyclerate as cr
import cyclerate.keras as ck

CYCLES, EPOCHS_A_CYCLE, BATCH_SIZE = 5, 2, 64

x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [keras.Input((64,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(momentum=0.9), loss=loss)

# Each cycle falls from the highest rate to zero, along a cosine; then the next one begins.
steps_per_epoch = -(-len(x_train) // BATCH_SIZE)
lr = cr.WarmRestarts(max_lr=0.2, cycle_steps=EPOCHS_A_CYCLE * steps_per_epoch)

with tempfile.TemporaryDirectory() as folder:
    # One callback sets the rate, the other saves the model where it is lowest.
    callbacks = [ck.ScheduleCallback(lr=lr), ck.SnapshotEnsemble(folder, lr)]
    epochs = CYCLES * EPOCHS_A_CYCLE
    model.fit(
        x_train, y_train, batch_size=BATCH_SIZE, epochs=epochs, callbacks=callbacks, verbose=0
    )

    # The outputs are logits: they become probabilities before their mean is taken.
    ensemble = ck.SnapshotEnsemble.load(folder, outputs="logits")
    for member, probabilities in ensemble.predictions(x_test):
        accuracy = (probabilities.argmax(axis=1) == y_test).mean()
        print(f"cycle {member.cycle}, saved after step {member.step}: accuracy {accuracy:.3f}")
    together = (ensemble.predict(x_test).argmax(axis=1) == y_test).mean()
print(f"{len(ensemble)} members together on {len(x_test)} digits held out: {together:.3f}")
assert together > 0.93
