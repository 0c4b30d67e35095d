"""Stops a fit that explodes, and gives the model back as it was at the end of a good cycle."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_count
from cyclerate.cycles._guard import Explosion, Guard, LastGood
from cyclerate.keras._clock import CycleClock, OwnLosses, rate_in_use, up_to_date
from cyclerate.keras._doors import check_maybe_schedule
from cyclerate.keras._internals import is_built
from cyclerate.keras._state import Snapshot
from cyclerate.schedules import Schedule


class DivergenceGuard(keras.callbacks.Callback):
    """Ends a fit on the very batch whose loss is NaN, infinite or has exploded.

    The weights and the state of the optimizer are then those at the end of the last good cycle, or
    those that the fit began with, and a warning says what to lower and by how much. The fit is
    stopped as by early stopping, not by an exception: callbacks and history end as they should.

    A finite loss has exploded when the median of the last five batches is worse than the start by
    as much as training had gained, and by far more than the noise; a loss may have any sign. The
    start is the loss of the first batch.

    The copy is made at the batch that ends a cycle, wherever in an epoch that is. It costs one copy
    of weights and optimizer state (two for five steps), and the host looks at each batch's loss: on
    JAX, a step of a tenth of a millisecond takes longer by that.

    Args:
        schedule: Of the rate. Default: that of the fit's `ScheduleCallback` or `as_schedule`.
        batch_size: Rows of a batch, for the advice. Default: not known.

    Attributes:
        explosion: What happened: `step`, `loss`, `lr`, the `max_lr` to try, `advice`; None while
            nothing did.
        restored_step: The step of the schedule after which the model was as it is now; None for the
            start of the fit, or while nothing happened.

    Raises:
        ValueError: When the fit begins: no schedule, an unknown number of batches, or, on
            TensorFlow, a model that is not built.

    >>> import cyclerate as cr
    >>> import cyclerate.keras as ck
    >>> import keras
    >>> import numpy as np
    >>> import warnings
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> cycle = ck.ScheduleCallback(lr=cr.Triangular(1.0, 1e3, step_size=20))
    >>> guard = DivergenceGuard()
    >>> x = np.ones((200, 1))
    >>> with warnings.catch_warnings(action="ignore"):
    ...     _ = model.fit(x, x, batch_size=2, callbacks=[cycle, guard], verbose=0)
    >>> guard.explosion.step < 20, guard.explosion.max_lr < 1e3, guard.restored_step is None
    (True, True, True)
    """

    def __init__(self, schedule: Schedule | None = None, *, batch_size: int | None = None) -> None:
        super().__init__()
        self._schedule = check_maybe_schedule(schedule)
        self._batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        self.on_train_begin()

    def on_train_begin(self, logs: Any = None) -> None:
        self.explosion: Explosion | None = None
        self.restored_step: int | None = None
        self._clock: CycleClock | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._losses = OwnLosses()
        if self._clock is not None:
            self._clock.begin_epoch()
            return
        # By now every callback has begun its training.
        rate = rate_in_use(self.model, self._schedule, self.params, epoch)
        clock = CycleClock(self.model, rate)
        self._guard = Guard(rate.schedule, self._batch_size)
        _make_state(self.model)
        self._last_good = LastGood(lambda: _kept(self.model))
        self._clock = clock

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._clock is None or self.explosion is not None:
            return
        loss = self._losses.after(self._clock.batches_after(batch), (logs or {})["loss"])
        step, end = self._clock.step, self._clock.ended(batch)
        self.explosion = self._guard.take(step, loss)
        if self.explosion is not None:
            self._stop(self.explosion)
            return
        self._last_good.step_was_fine(step)
        if end is not None:
            self._last_good.cycle_is_over(end.step)

    def _stop(self, explosion: Explosion) -> None:
        model = self.model
        up_to_date(model)
        self._last_good.put_back()
        self.restored_step = self._last_good.after
        model.stop_training = True
        kept = "that the fit began with"
        if self.restored_step is not None:
            kept = f"after step {self.restored_step}, the end of a cycle"
        warnings.warn(f"{explosion.advice} The model has the weights {kept}.", stacklevel=2)


def _kept(model: Any) -> Callable[[], None]:
    up_to_date(model)
    return Snapshot(model, metrics=False).put_back


def _make_state(model: Any) -> None:
    """On TensorFlow, the first step makes the optimizer's state: it has to be there before."""
    if is_built(model):
        return
    if not model.built:
        raise bad_argument("model", "built (give it an Input), to be kept as it began", model)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
