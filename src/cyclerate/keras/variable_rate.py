"""A rate that is set from outside, lent to an optimizer whose own follows a schedule."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate.keras._internals import RATE, rate_of, track, untrack
from cyclerate.keras.hyper import innermost


class VariableRate:
    """Gives the model's optimizer a rate that is a variable, if it has none.

    So the runs of a range test, each at rates of its own, share one compiled step.

    Args:
        model: The model, compiled and built.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._optimizer = model, innermost(model.optimizer)
        self._own = rate_of(self._optimizer)
        self._lent: Any = None

    def lend(self) -> None:
        """Replaces a schedule, and puts aside what was compiled with it."""
        if isinstance(self._own, keras.Variable):
            return
        self._lent = keras.Variable(0.0, dtype=keras.config.floatx(), trainable=False, name="rate")
        track(self._optimizer, self._lent)
        vars(self._optimizer)[RATE] = self._lent
        vars(self._model)["train_function"] = None

    def put_back(self) -> None:
        """Gives the optimizer its own rate back; the train function is the caller's to put back."""
        if self._lent is not None:
            vars(self._optimizer)[RATE] = self._own
            untrack(self._optimizer, self._lent)
