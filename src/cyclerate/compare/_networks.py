"""Dense networks in Keras 3, sized to the data, and the optimizers that go by a name."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyclerate._errors import check_choice

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "nadam": ("Nadam", {}),
    "rmsprop": ("RMSprop", {}),
    "adagrad": ("Adagrad", {}),
}


def make_optimizer(name: str) -> Any:
    """Makes an optimizer of Keras with its own default rate.

    Raises:
        ValueError: The name is not in `OPTIMIZERS`.
    """
    import keras

    kind, settings = OPTIMIZERS[check_choice("optimizer", name, OPTIMIZERS)]
    return getattr(keras.optimizers, kind)(**settings)


def default_rate(name: str) -> float:
    """Returns the rate that Keras gives this optimizer when none is asked for."""
    # The optimizer keeps it as a float32; the seven digits it has are what was written.
    return float(f"{float(make_optimizer(name).learning_rate):.7g}")


def usual_batch_size(train_rows: int) -> int:
    """Plans about 200 steps an epoch: the power of two nearest to rows / 200, from 32 to 1,024.

    >>> usual_batch_size(56_000)
    256
    """
    wanted = max(train_rows / 200, 1)
    return int(min(max(2 ** round(np.log2(wanted)), 32), 1024, train_rows))


def usual_hidden(train_rows: int, inputs: int) -> tuple[int, int]:
    """Sizes two hidden layers to the data: wider for more inputs, narrower for few rows.

    >>> usual_hidden(56_000, 11)
    (64, 32)
    """
    wide = 64 if inputs <= 64 else 128 if inputs <= 256 else 256
    if train_rows < 1000:
        wide //= 2
    return wide, wide // 2


def dense_network(inputs: int, hidden: tuple[int, ...], outputs: int, seed: int) -> Any:
    """Builds a dense network with ReLU between its layers; global random state is left alone."""
    import keras

    layers = [
        keras.layers.Dense(
            width,
            activation="relu" if i < len(hidden) else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=1000 * seed + i),
        )
        for i, width in enumerate([*hidden, outputs])
    ]
    return keras.Sequential([keras.Input((inputs,)), *layers])


def dense_words(inputs: int, hidden: tuple[int, ...], outputs: int) -> str:
    """Describes such a network.

    >>> dense_words(3, (8, 4), 1)
    '3 dense layers, 3 - 8 - 4 - 1, ReLU'
    """
    shape = " - ".join(map(str, (inputs, *hidden, outputs)))
    return f"{len(hidden) + 1} dense layers, {shape}, ReLU"
