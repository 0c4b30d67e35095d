"""Data that are read again and again, as arguments of `fit` and of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from cyclerate.finder._run import SCORE_ROWS
from cyclerate.keras._data import Data, shuffled_by_keras
from cyclerate.keras._internals import data_adapter, tensorflow_pipeline
from cyclerate.keras.tf_data import is_tf_dataset


def lent_again(data: Data) -> Callable[[], dict[str, Any]]:
    """Gives the data for several fits from the same random state, each in the same order.

    TensorFlow takes longer to make a pipeline of arrays than to train some steps, so that is made
    only once; where TensorFlow is seeded, each pass over it is in the same order.
    """
    made: dict[str, Any] = {}

    def lend() -> dict[str, Any]:
        if not made:
            arguments = data.lend()
            if not _needs_pipeline(arguments):
                return arguments
            made.update(x=tensorflow_pipeline(**arguments, shuffle=True), shuffle=False)
        return made

    return lend


def whole(data: Data) -> dict[str, Any]:
    """All of the data. `evaluate` neither shuffles nor weighs classes."""
    arguments = {k: v for k, v in data.lend().items() if k not in ("shuffle", "class_weight")}
    return {"x": tensorflow_pipeline(**arguments)} if _needs_pipeline(arguments) else arguments


def _needs_pipeline(arguments: dict[str, Any]) -> bool:
    return keras.backend.backend() == "tensorflow" and "y" in arguments


def rows_of(data: Data) -> dict[str, Any]:
    """The first batches of a pass over the data, up to `SCORE_ROWS` rows, kept in memory.

    The order of the pass follows from the global seed. Weights of samples and classes are in it.
    """
    arguments = data.lend()
    shuffle = {"shuffle": shuffled_by_keras(arguments["x"])}
    adapter = data_adapter(**{**arguments, **shuffle})
    try:
        if keras.backend.backend() != "tensorflow":
            return {"x": _KeptBatches(_first(adapter.get_numpy_iterator()))}
        if is_tf_dataset(arguments["x"]):
            # As it is: some of its tensors may be of a kind that only TensorFlow has.
            dataset = adapter.get_tf_dataset()
            return {"x": _cached(dataset.take(len(_first(dataset))))}
        kept = _KeptBatches(_first(adapter.get_numpy_iterator()))
        return {"x": _cached(tensorflow_pipeline(x=kept))}
    finally:
        adapter.on_epoch_end()  # stops its workers


class _KeptBatches(keras.utils.PyDataset):
    """Batches that are there."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index]


def _cached(dataset: Any) -> Any:
    cached = dataset.cache()
    # A cache is filled by a pass to the very end, which `evaluate` does not make.
    for _ in cached:
        pass
    return cached


def _first(batches: Any) -> list[Any]:
    """So many batches that they have the rows; without a smaller one at the end, if there are more.

    A batch of another size would be compiled anew.
    """
    found: list[Any] = []
    sizes: list[int] = []
    for batch in batches:
        found.append(batch)
        sizes.append(int(keras.tree.flatten(batch)[0].shape[0]))
        if sum(sizes) >= SCORE_ROWS:
            break
    if len(found) > 1 and sizes[-1] < sizes[0]:
        del found[-1]
    return found
