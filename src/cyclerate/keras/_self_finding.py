"""A cycle that finds its own top, in a plain fit."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from cyclerate._errors import (
    CyclerateError,
    bad_argument,
    check_count,
)
from cyclerate._files import check_path, replacing
from cyclerate._plain import Columns
from cyclerate._trackers import tell_cycle
from cyclerate.cycles._rules import CycleOptions, momentum_at
from cyclerate.finder._warmup import FindingCycle
from cyclerate.keras._clock import OwnLosses, batches_counted, up_to_date
from cyclerate.keras._internals import (
    RATE,
    has_momentum,
    innermost,
    is_built,
    momentum_attribute,
    rate_of,
)
from cyclerate.keras._state import Snapshot, packed, random_states, revived, unpacked
from cyclerate.keras._step import (
    STEPS_WITH_ITS_OPTIMIZER,
    RateWatch,
    Steered,
    Steering,
    Updates,
    build_from_iterator,
    steering_of,
)
from cyclerate.keras._train_function import install, remove
from cyclerate.keras._trainee import prior_of

_FORMAT = "cyclerate_self_finding_cycle_1"
_MARK, _RANDOM = "mark", "random"


class SelfFindingCycle(keras.callbacks.Callback):
    """One cycle of a fit whose way up is the range test: nothing is trained beside the training.

    The rate rises from far below the expected one until the loss diverges; the fit goes back to the
    last good mark, and from there the rate falls in a straight line to zero. A loss that explodes
    or becomes NaN later goes back to the latest mark, with a third of the rate. A training that
    would end above the loss that it began with ends as its last mark.

    A step is an update of the weights. Gradients are clipped at three times the median of their
    latest norms (not where they accumulate, nor in a LossScaleOptimizer). The mark costs one copy
    of weights and optimizer state, and the host looks at each batch's loss. The data go on as they
    come; where the fit goes back, the means that Keras logs begin again.

    A callback that is used in several fits goes on, until all steps are taken. `save` and `load` go
    on in another process.

    Args:
        total_steps: All the updates there are; with the last of them the fit ends. Default: those
            of the fit.
        max_lr: The highest rate, where it is known: then the rate rises to it in a straight line,
            in a tenth of the steps, and all else is the same. Default: found.
        momentum: (lowest, highest), against the rate; left alone if None, or if the optimizer has
            no momentum. Default (0.85, 0.95).
        batch_size: Rows of an update, for the rate to expect. Default: 64.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.

    Attributes:
        history: Of every update, its "loss", and its "learning_rate" and "momentum".
            `History.steps` gets this fit's part of it, and `History.finding` what `found` gives.

    Raises:
        ValueError: A wrong argument. When the fit begins: the length is not known, the optimizer's
            rate is a schedule, several steps are executed as one, or all steps are taken.

    Source: `docs/budget.md`.

    >>> import keras
    >>> import numpy as np
    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(128, 4))
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    >>> cycle = SelfFindingCycle(total_steps=200, batch_size=8)
    >>> _ = model.fit(x, x.sum(1), batch_size=8, epochs=99, callbacks=[cycle], verbose=0)
    >>> len(cycle.history["learning_rate"]), model.evaluate(x, x.sum(1), verbose=0) < 0.01
    (200, True)
    >>> cycle.found["source"]
    'sweep and prior'
    """

    def __init__(
        self,
        total_steps: int | None = None,
        *,
        max_lr: float | None = None,
        momentum: tuple[float, float] | None = (0.85, 0.95),
        batch_size: int | None = None,
        fine_tuned: bool = False,
    ) -> None:
        super().__init__()
        self._asked = CycleOptions(total_steps, max_lr, momentum, batch_size, fine_tuned)
        self._history = Columns()
        self._cycle: FindingCycle | None = None
        self._mark: Snapshot | None = None
        self._saved: dict[str, Any] = {}  # the arrays of a file, while there is no model
        self._watch = RateWatch()

    @property
    def history(self) -> dict[str, list[float]]:
        """Loss, rate and momentum of every update so far, by name; new lists each time."""
        return self._history.lists()

    def since(self, step: int) -> dict[str, Sequence[float]]:
        """The part of the history from an update on, without a copy of the rest."""
        return self._history.since(step)

    @property
    def found(self) -> dict[str, Any]:
        """What happened so far, as plain JSON.

        Keys: `top`, the highest rate, and its `source`: "prior", "sweep", "sweep and prior" or
        "given"; `prior_lr` and `sweep_lr`, what either says; `sweep`, its `lrs`, `losses` and
        `stop_reason`; `returned_to`, the step of the mark that the way down began from; `repairs`,
        each with its `step`, `why`, the `top` from then on and the step it `returned_to`;
        `clipped_steps`; `given_back`, whether the training ended worse than it began, and has its
        last mark now.

        Raises:
            CyclerateError: No fit has begun.
        """
        return self._running.history()

    @property
    def verdict(self) -> str:
        """The same in a few sentences.

        Raises:
            CyclerateError: No fit has begun.
        """
        return self._running.verdict

    @property
    def _running(self) -> FindingCycle:
        if self._cycle is None:
            raise CyclerateError("this SelfFindingCycle was not in a fit yet")
        return self._cycle

    def on_train_begin(self, logs: Any = None) -> None:
        # Held, since `self.model` brings all variables up to date on JAX.
        model = self._fitted = self.model
        optimizer = self._optimizer = innermost(model.optimizer)
        if model.steps_per_execution != 1:
            raise bad_argument("steps_per_execution", "1", model.steps_per_execution)
        if not isinstance(rate_of(optimizer), keras.Variable):
            raise bad_argument("model.optimizer", "one whose learning_rate is a number", optimizer)
        if self._cycle is not None and self._cycle.done:
            allowed = "a new SelfFindingCycle: this one has taken all its steps"
            raise bad_argument("callbacks", allowed, self)
        attributes = [RATE]
        if self._asked.momentum is not None and has_momentum(optimizer):
            attributes.append(momentum_attribute(optimizer))
        self._steering: Steering = steering_of(model)
        plans = tuple(Steered(attribute, self._steering) for attribute in attributes)
        install(model, optimizer, plans, when_over=lambda: None)
        self._names = ("learning_rate", "momentum")[: len(attributes)]
        self._fit_start = len(self._history)
        self._watch.leave(optimizer)
        self._ready = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._means_begin_again = False  # as in every epoch
        self._watch.begin_epoch(self._optimizer)
        if self._ready:
            self._losses.begin()
            return
        self._ready, self._losses = True, OwnLosses(self._fitted)
        if self._cycle is None:
            self._cycle = self._new_cycle(epoch)
        self._updates = Updates(self._fitted, partial(batches_counted, self._fitted))
        if is_built(self._fitted):
            self._begin()
        else:  # on TensorFlow, the first step builds
            self._steering.before_the_first = self._build_and_begin
        self._steer()

    def _new_cycle(self, epoch: int) -> FindingCycle:
        optimizer, total = self._optimizer, self._asked.total_steps
        if total is None:
            if self.params.get("steps") is None:
                allowed = "given where the fit does not know how many batches it has"
                raise bad_argument("total_steps", allowed, None)
            batches = (self.params["epochs"] - epoch) * self.params["steps"]
            updates = batches // (optimizer.gradient_accumulation_steps or 1)
            total = check_count("epochs, counted in updates of the weights", updates)
        asked = self._asked
        prior = prior_of(self._fitted, asked.batch_size, total, fine_tuned=asked.fine_tuned)
        return FindingCycle(total, prior, top=asked.max_lr)

    def _build_and_begin(self, iterator: Any) -> None:
        build_from_iterator(self._fitted, iterator)
        self._begin()

    def _begin(self) -> None:
        """Takes the first mark, or that of the file that this was loaded from."""
        if self._mark is None:
            self._mark = Snapshot(self._fitted, metrics=False)
            if mark := unpacked(self._saved, _MARK):
                self._mark.take(mark)
        if self._saved:
            states = random_states(self._fitted)
            parts, self._saved = unpacked(self._saved, _RANDOM), {}
            arrays = [*map(ops.convert_to_numpy, states)]
            for state, value in zip(states, revived(states, arrays, parts), strict=True):
                state.assign(value)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        cycle, batches = self._running, self.params.get("steps")
        another = batches is not None and batch + 1 < batches
        self._steering.more = another and cycle.step + 1 < cycle.total_steps
        if self._means_begin_again:
            self._means_begin_again = False
            self._fitted.reset_metrics()
            self._losses.begin(batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        cycle, steering = self._running, self._steering
        loss = self._updates.loss_after(self._losses.after(batch + 1, logs))
        if loss is None or cycle.done:
            return  # a batch that is skipped asks for no rate
        if not steering.in_use:
            raise bad_argument("model", STEPS_WITH_ITS_OPTIMIZER, self._fitted)
        told = (loss, steering.lr, steering.momentum)
        self._history.add(**dict(zip(("loss", *self._names), told, strict=False)))
        cycle.tell(loss, steering.norm)
        if cycle.go_back or cycle.keep:
            up_to_date(self._fitted)
        if cycle.go_back:
            assert self._mark is not None  # noqa: S101 - taken before the first step
            self._watch.look(self._optimizer)
            self._mark.put_back(again=True)
            self._watch.leave(self._optimizer)  # the rate came back, too
            # Not now: after the last batch of an epoch, Keras would log the means of none.
            self._means_begin_again = True
            self._updates = Updates(self._fitted, partial(batches_counted, self._fitted))
        if cycle.keep:
            self._mark = None  # two copies are not needed
            self._mark = Snapshot(self._fitted, metrics=False)
        if cycle.done:
            self._fitted.stop_training = True
        self._steer()

    def _steer(self) -> None:
        cycle, steering = self._running, self._steering
        steering.lr, steering.clip_norm = cycle.lr, cycle.clip_norm
        if self._asked.momentum is not None:
            steering.momentum = momentum_at(cycle.height, self._asked.momentum)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not len(self._history):
            return
        latest = {name: self._history.last(name) for name in self._names}
        self._watch.look(self._optimizer)
        rate_of(self._optimizer).assign(latest["learning_rate"])
        self._watch.leave(self._optimizer)
        if logs is not None:
            logs.update(latest)

    def on_train_end(self, logs: Any = None) -> None:
        remove(self._fitted)
        if self._running.done:
            self._mark = None
            tell_cycle(self.found, self.verdict)
        history = vars(self._fitted).get("history")
        if history is not None:
            steps = self._history.lists(self._fit_start)
            history.steps = {**getattr(history, "steps", {}), **steps}
            history.finding = self.found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes where the cycle stands, with its mark, between two epochs or two fits.

        And where the random numbers of dropout stand, which Keras does not save (on PyTorch those
        of layers with a seed; others draw from the generator of the process). The model is yours to
        save. With both loaded, a fit on the same batches goes on exactly.

        Args:
            path: A file, which is replaced as a whole.

        Raises:
            CyclerateError: No fit has begun.
        """
        check_path("path", path)
        told = {
            "cycle": self._running.state(),
            "history": self.history,
            "momentum": self._asked.momentum,
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{_FORMAT: np.array(json.dumps(told))}, **self._arrays())

    def _arrays(self) -> dict[str, Any]:
        if self._saved:  # loaded, and no fit has begun since
            return self._saved
        mark = [] if self._mark is None else self._mark.arrays()
        states = [*map(ops.convert_to_numpy, random_states(self._fitted))]
        return {**packed(_MARK, mark), **packed(_RANDOM, states)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SelfFindingCycle:
        """Reads what `save` has written, for a fit that goes on.

        Args:
            path: The file.

        Raises:
            ValueError: It is no such file.
        """
        check_path("path", path)
        try:
            with np.load(path, allow_pickle=False) as file:
                told = json.loads(str(file[_FORMAT]))
                arrays = {name: file[name] for name in file.files if name != _FORMAT}
            momentum = told["momentum"]
            loaded = cls(momentum=None if momentum is None else tuple(momentum))
            loaded._cycle = FindingCycle.from_state(told["cycle"])
            history = {name: map(float, values) for name, values in told["history"].items()}
            loaded._history = Columns.of(history)
            loaded._saved = arrays
        except OSError:
            raise
        except Exception as error:
            allowed = "a file that SelfFindingCycle.save has written"
            raise bad_argument("path", allowed, os.fspath(path)) from error
        return loaded
