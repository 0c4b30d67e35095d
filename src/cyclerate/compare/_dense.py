"""A dense network in Keras 3 on a table, sized to the data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cyclerate.compare._optimizers import describe_optimizer
from cyclerate.compare._record import ModelInfo
from cyclerate.compare._trainer import KerasTrainer


def usual_batch_size(train_rows: int) -> int:
    """About 200 steps an epoch: the power of two nearest to rows / 200, from 32 to 1,024.

    >>> usual_batch_size(56_000)
    256
    """
    wanted = max(train_rows / 200, 1)
    return int(min(max(2 ** round(np.log2(wanted)), 32), 1024, train_rows))


def usual_hidden(train_rows: int, inputs: int) -> tuple[int, int]:
    """Two hidden layers, sized to the data: wider for more inputs, narrower for few rows.

    >>> usual_hidden(56_000, 11)
    (64, 32)
    """
    wide = 64 if inputs <= 64 else 128 if inputs <= 256 else 256
    if train_rows < 1000:
        wide //= 2
    return wide, wide // 2


def dense_network(inputs: int, hidden: tuple[int, ...], outputs: int, seed: int) -> Any:
    """A dense network with ReLU between its layers; global random state is left alone."""
    import keras

    widths = [*hidden, outputs]
    layers = [
        keras.layers.Dense(
            width,
            activation="relu" if i < len(hidden) else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=1000 * seed + i),
        )
        for i, width in enumerate(widths)
    ]
    return keras.Sequential([keras.Input((inputs,)), *layers])


@dataclass(kw_only=True)
class DenseTrainer(KerasTrainer):
    """Trains a dense network.

    Attributes:
        hidden: Widths of the hidden layers.
    """

    hidden: tuple[int, ...] = (64, 32)

    def describe(self) -> ModelInfo:
        """What is trained."""
        widths = (self.split.x_train.shape[1], *self.hidden, self.objective.outputs)
        return ModelInfo(
            description=f"{len(widths) - 1} dense layers, {' - '.join(map(str, widths))}, ReLU",
            parameters=sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths)),
            optimizer=describe_optimizer(self.optimizer),
            loss=self.objective.loss_name,
            batch_size=self.batch_size,
        )

    def network(self, seed: int) -> Any:
        """The network with the initial weights of a seed; global random state is left alone."""
        inputs = self.split.x_train.shape[1]
        return dense_network(inputs, self.hidden, self.objective.outputs, seed)
