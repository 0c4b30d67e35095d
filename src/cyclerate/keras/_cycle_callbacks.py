"""Early stopping and checkpoints that are decided at the ends of cycles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_flag
from cyclerate._files import check_path, replacing
from cyclerate.cycles._ends import CycleJudge, epochs_that_end_cycles
from cyclerate.finder._sweep import direction
from cyclerate.keras._clock import rate_in_use
from cyclerate.keras._doors import check_maybe_schedule
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
        self._judged: frozenset[int] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._judged = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._judged is None:  # by now every callback has begun its training
            rate = rate_in_use(self.model, self._schedule, self.params, epoch)
            ends = epochs_that_end_cycles(rate.schedule, rate.epoch_ends, rate.start_step)
            self._judged = frozenset(epoch + end for end in ends)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._judged and epoch in self._judged:
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
