"""What the recipes around one `fit` share: its length in updates, its rate, and the fit itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_count
from cyclerate.cycles.recipe import batches_per_epoch, opposite_cycle
from cyclerate.finder import RangeTestResult
from cyclerate.keras._data import number_of_batches, shuffled_by_keras
from cyclerate.keras._finder import check_model, range_test
from cyclerate.keras._guard import DivergenceGuard
from cyclerate.keras._layers import LayerRates
from cyclerate.keras._schedule import ScheduleCallback
from cyclerate.keras.hyper import has_momentum, innermost
from cyclerate.range_test.answer import clear_max_lr
from cyclerate.schedules import Schedule


class Fit:
    """A training that a schedule spans from its first update to its last.

    Args:
        model: A compiled Keras model.
        x: As in `fit`.
        y: As in `fit`.
        batch_size: As in `fit`.
        steps_per_epoch: As in `fit`; needed where `x` does not say how many batches it has.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        callbacks: More callbacks, a list of them or one.
        verbose: As in `fit`.
        options: Anything else that `fit` takes.

    Attributes:
        batches_per_epoch: Batches of an epoch.
        accumulated: Batches of an update.

    Raises:
        ValueError: A model that cannot be trained, or an option that would change the length.
    """

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        *,
        batch_size: int | None,
        steps_per_epoch: int | None,
        sample_weight: Any,
        class_weight: dict[int, float] | None,
        callbacks: Any,
        verbose: str | int,
        options: dict[str, Any],
    ) -> None:
        check_model(model)
        for name in ("validation_split", "initial_epoch"):
            if options.get(name):
                allowed = "left out: the cycles span all the data and all epochs"
                raise bad_argument(name, allowed, options[name])
        self._model, self._optimizer = model, innermost(model.optimizer)
        self._batch_size = batch_size
        self._data = {
            "x": x,
            "y": y,
            "batch_size": batch_size,
            "sample_weight": sample_weight,
            "class_weight": class_weight,
        }
        self._callbacks: list[Any] = keras.tree.flatten(callbacks or [])
        self._verbose, self._steps_per_epoch = verbose, steps_per_epoch
        self._options = options if shuffled_by_keras(x) else {"shuffle": False, **options}
        self.batches_per_epoch = batches_per_epoch(
            steps_per_epoch, x, lambda: number_of_batches(x, batch_size)
        )
        self.accumulated: int = self._optimizer.gradient_accumulation_steps or 1

    def updates(self, epochs: int) -> int:
        """Updates of the weights in so many epochs.

        Raises:
            ValueError: There is none.
        """
        updates = check_count("epochs", epochs) * self.batches_per_epoch // self.accumulated
        return check_count("epochs, counted in updates of the weights", updates)

    def momentum(self, policy: Schedule, momentum: tuple[float, float] | None) -> Schedule | None:
        """The opposite cycle of the momentum; None where there is none.

        Raises:
            ValueError: `momentum` is not (lowest, highest).
        """
        cycled = opposite_cycle(policy, momentum)
        return cycled if has_momentum(self._optimizer) else None

    def find(
        self, policy: str, updates: int, options: Mapping[str, Any] | None
    ) -> tuple[float, RangeTestResult]:
        """The highest rate for a policy over so many updates, and how it was found.

        Layers have rates of their own if they will have them in the fit.

        Raises:
            CyclerateError: There is no clear answer.
        """
        asked: dict[str, Any] = {
            "horizon_steps": updates,
            "policy": policy,
            "verbose": self._verbose,
            **self._data,
            **(options or {}),
        }
        with self._layer_rates():
            found = range_test(self._model, **asked)
        return clear_max_lr(found), found

    def run(
        self,
        policy: Schedule,
        momentum: tuple[float, float] | None,
        *,
        epochs: int,
        validation_data: Any,
        guard: bool,
        found: RangeTestResult | None,
        start_step: int = 0,
    ) -> keras.callbacks.History:
        """Trains; `found` goes into the history."""
        cycle = ScheduleCallback(policy, self.momentum(policy, momentum), start_step=start_step)
        guards = [DivergenceGuard(batch_size=self._rows_of_an_update())] if guard else []
        history = self._model.fit(
            **self._data,
            epochs=epochs,
            steps_per_epoch=self._steps_per_epoch,
            validation_data=validation_data,
            callbacks=[cycle, *guards, *self._callbacks],
            verbose=self._verbose,
            **self._options,
        )
        history.range_test = found
        history.explosion = guards[0].explosion if guards else None
        return history

    def _layer_rates(self) -> AbstractContextManager[None]:
        for callback in self._callbacks:
            if isinstance(callback, LayerRates):
                return callback.lent_to(self._model)
        return nullcontext()

    def _rows_of_an_update(self) -> int | None:
        rows = self._batch_size or (32 if hasattr(self._data["x"], "shape") else None)
        return None if rows is None else rows * self.accumulated
