"""A model and its data, lent for a while and given back as they were."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import keras

from cyclerate._randomness import PutBack, all_of
from cyclerate.keras._data import Data
from cyclerate.keras._state import Snapshot, TrainerAttributes
from cyclerate.keras.building import build
from cyclerate.keras.installation import settle
from cyclerate.keras.randomness import remember_all_randomness
from cyclerate.keras.variable_rate import VariableRate


@contextmanager
def lent(model: Any, *data: Data) -> Generator[Snapshot]:
    """Builds the model, and undoes afterwards whatever training in the block did.

    Also after an exception and after Ctrl-C. What stays is that the model, its metrics and its
    optimizer are built, in the state in which their first fit would find them. In the block, the
    optimizer's rate is a variable.

    Args:
        model: The model, compiled.
        *data: What the block will read; the model is built with the first.

    Yields:
        The snapshot, to begin the block's work again with.
    """

    def remember_randomness() -> PutBack:
        return all_of([remember_all_randomness(), *(part.remember() for part in data)])

    settle(model)
    attributes = TrainerAttributes(model)
    undo: list[PutBack] = [attributes.put_back, remember_randomness()]
    try:
        build(model, data[0])
        attributes.put_back()
        if keras.backend.backend() != "tensorflow":
            # Building drew what the first fit would have drawn; that is not drawn again.
            undo[1] = remember_randomness()
        snapshot = Snapshot(model)
        undo.append(snapshot.put_back)
        rate = VariableRate(model)
        undo.append(rate.put_back)
        rate.lend()
        yield snapshot
    finally:
        _do_all(undo)


def _do_all(actions: list[PutBack]) -> None:
    """Does all of it even if Ctrl-C comes in between, and lets that through afterwards."""
    interrupted: KeyboardInterrupt | None = None
    for action in actions:
        try:
            action()
        except KeyboardInterrupt as again:
            interrupted = again
            action()
    if interrupted is not None:
        raise interrupted
