"""Callbacks of a fit: stopping, checkpoints at the ends of cycles, and a guard for every batch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_count, check_flag
from cyclerate._files import check_path, replacing
from cyclerate.cycles._ends import CycleJudge, EpochsThatEndCycles, Explosion, Guard, LastGood
from cyclerate.finder._sweep import direction
from cyclerate.keras._clock import CycleClock, OwnLosses, rate_in_use, up_to_date
from cyclerate.keras._internals import check_maybe_schedule, is_built
from cyclerate.keras._state import Snapshot
from cyclerate.schedules import Schedule

_SUFFIXES = (".keras", ".weights.h5")


class _AtCycleEnds(keras.callbacks.Callback):
    """Calls `on_cycle_end` at the end of an epoch that ends a cycle."""

    def __init__(self, schedule: Schedule | None, monitor: str, mode: str) -> None:
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise bad_argument("monitor", "the name of a metric", monitor)
        self.monitor = monitor
        self._mode = direction(monitor, mode)
        self._schedule = check_maybe_schedule(schedule)
        self._judged: EpochsThatEndCycles | None = None
        self._first_epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._judged = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._judged is None:  # by now every callback has begun its training
            rate = rate_in_use(self.model, self._schedule, self.params, epoch)
            self._first_epoch = epoch
            self._judged = EpochsThatEndCycles(rate.schedule, rate.epoch_ends, rate.start_step)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._judged is not None and epoch - self._first_epoch in self._judged:
            self.on_cycle_end(epoch, logs or {})

    def on_cycle_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _value(self, logs: Mapping[str, Any]) -> float:
        if self.monitor not in logs:
            raise bad_argument("monitor", f"one of {', '.join(logs)}", self.monitor)
        return float(logs[self.monitor])


class CycleEarlyStopping(_AtCycleEnds):
    """Stops a fit when its last cycles brought nothing better, judged at the ends of cycles only.

    Within a cycle a high rate makes a model worse before it makes it better: there, nothing is
    judged, and no peak counts as the best. A cycle's end is the end of an epoch with whose last
    update the rate is lowest, or one step from it; a schedule that ends cycles elsewhere is refused
    when the fit begins. NaN is never the best.

    Args:
        schedule: Of the rate. Default: that of the fit's `ScheduleCallback` or `as_schedule`.
        monitor: What is judged. Default "val_loss".
        patience: How many cycles in a row may bring nothing better. Default 1.
        mode: "min", "max", or "auto" (default) to go by the name.
        min_delta: By how much better a value must be to count. Default 0.
        restore_best_weights: Whether the model gets the weights of the best cycle's end when the
            fit is over. Costs a copy of them in the host's memory. Default True.

    Attributes:
        best: The best value; None before there is one.
        best_cycle: Its cycle, counted from 1 in this fit.
        stopped_cycle: The cycle after which the fit was stopped; None if it was not.

    Raises:
        ValueError: A wrong argument. When the fit begins: no schedule, or cycles that do not end
            with epochs. At the first cycle's end: `monitor` is not among what Keras logs.

    Source: that a training is at its best at a cycle's end, Smith 2017, arXiv 1506.01186, section
    3.2.

    >>> import cyclerate as cr
    >>> import cyclerate.keras as ck
    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> cycle = ck.ScheduleCallback(lr=cr.WarmRestarts(1e-9, cycle_steps=4))  # learns nothing
    >>> stopping = CycleEarlyStopping(monitor="loss", min_delta=0.1)
    >>> x = np.ones((8, 1))
    >>> _ = model.fit(x, x, batch_size=4, epochs=20, callbacks=[cycle, stopping], verbose=0)
    >>> stopping.best_cycle, stopping.stopped_cycle
    (1, 2)
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        monitor: str = "val_loss",
        patience: int = 1,
        *,
        mode: str = "auto",
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
    ) -> None:
        super().__init__(schedule, monitor, mode)
        self._patience, self._min_delta = patience, min_delta
        self._restore = check_flag("restore_best_weights", restore_best_weights)
        self._begin()

    def _begin(self) -> None:
        self._judge = CycleJudge(self._mode, self._patience, self._min_delta)
        self._best_weights: list[Any] | None = None
        self.stopped_cycle: int | None = None

    @property
    def best(self) -> float | None:
        """The best value; None before there is one."""
        return self._judge.best

    @property
    def best_cycle(self) -> int | None:
        """Its cycle, counted from 1 in this fit."""
        return self._judge.best_cycle

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._begin()

    def on_cycle_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Judges the cycle that is just over."""
        if self._judge.is_best(self._value(logs)) and self._restore:
            self._best_weights = self.model.get_weights()
        if self._judge.done:
            self.stopped_cycle = self._judge.cycles
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)
            self._best_weights = None


class CycleCheckpoint(_AtCycleEnds):
    """Saves the model at the ends of cycles: the best of them, or each.

    When a cycle ends is as in `CycleEarlyStopping`. A file is written under a temporary name and
    renamed: what is at `path` is always whole.

    Args:
        path: Ends in ".keras" (the model with its optimizer) or ".weights.h5". It may hold
            `{cycle}` and `{epoch}`, both counted from 1, as "cycle-{cycle}.keras".
        schedule: Of the rate. Default: that of the fit's `ScheduleCallback` or `as_schedule`.
        monitor: What is judged. Default "val_loss".
        save_best_only: Whether a cycle must be better than all before it. Default True.
        mode: "min", "max", or "auto" (default) to go by the name.

    Attributes:
        saved: The paths that were written, in order.

    Raises:
        ValueError: A path with another ending, or as for `CycleEarlyStopping`.

    >>> import cyclerate as cr
    >>> import cyclerate.keras as ck
    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> cycle = ck.ScheduleCallback(lr=cr.WarmRestarts(0.1, cycle_steps=4))
    >>> checkpoint = CycleCheckpoint("{cycle}.weights.h5", monitor="loss", save_best_only=False)
    >>> x = np.ones((8, 1))
    >>> _ = model.fit(x, x, batch_size=4, epochs=4, callbacks=[cycle, checkpoint], verbose=0)
    >>> checkpoint.saved
    ['1.weights.h5', '2.weights.h5']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schedule: Schedule | None = None,
        monitor: str = "val_loss",
        *,
        save_best_only: bool = True,
        mode: str = "auto",
    ) -> None:
        super().__init__(schedule, monitor, mode)
        self._path = check_path("path", path)
        if not self._path.endswith(_SUFFIXES):
            raise bad_argument("path", f"a name that ends in {' or '.join(_SUFFIXES)}", path)
        self._save_best_only = check_flag("save_best_only", save_best_only)
        self._judge = CycleJudge(self._mode)
        self.saved: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._judge = CycleJudge(self._mode)

    def on_cycle_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Saves the model, if the cycle that is just over is worth it."""
        if self._save_best_only:
            if not self._judge.is_best(self._value(logs)):
                return
        else:
            self._judge.cycles += 1
        path = self._path.format(cycle=self._judge.cycles, epoch=epoch + 1)
        weights_only = path.endswith(_SUFFIXES[1])
        with replacing(path) as temporary:
            if weights_only:
                self.model.save_weights(temporary, overwrite=True)
            else:
                self.model.save(temporary, overwrite=True)
        self.saved.append(path)


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
        if self._clock is not None:
            self._losses.begin()
            self._clock.begin_epoch()
            return
        self._losses = OwnLosses(self.model)
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
        loss = self._losses.after(self._clock.batches_after(batch), logs)
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
