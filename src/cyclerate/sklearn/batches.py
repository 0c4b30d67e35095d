"""The rows of a table as batches of one size, in an order that a seed decides."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


class WholeBatches(keras.utils.PyDataset):
    """Batches of (inputs, targets, weights), shuffled anew every epoch.

    An epoch leaves out the few rows that fill no whole batch, each time others: a batch of another
    size would be compiled anew.

    Args:
        x: Inputs.
        y: Targets.
        weights: One for each row.
        batch_size: Rows in a batch; at most the rows there are.
        seed: Of the order.
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        y: NDArray[Any],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._data, self._size, self._seed = (x, y, weights), batch_size, seed
        self._epoch = 0
        self._shuffle()

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return len(self._rows) // self._size

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        """Returns one batch of this epoch."""
        rows = self._rows[index * self._size : (index + 1) * self._size]
        return tuple(part[rows] for part in self._data)

    def on_epoch_end(self) -> None:
        """Shuffles."""
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        # From the epoch's own seed: the global generators are left alone.
        random = np.random.default_rng([self._seed, self._epoch])
        self._rows = random.permutation(len(self._data[0]))
