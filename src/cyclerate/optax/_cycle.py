"""A training of one cycle, step by step, which finds the highest rate on its way up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import jax

from cyclerate._errors import bad_argument, check_count, check_flag, check_number, check_rate
from cyclerate._plain import Columns
from cyclerate.cycles._rules import momentum_at
from cyclerate.finder._warmup import FindingCycle
from cyclerate.optax._step import (
    Batch,
    MakeOptimizer,
    Objective,
    RatedOptimizer,
    Training,
    check_arrays,
    check_key,
    compiled_step,
    copied,
)
from cyclerate.schedules import OneCycle

_RECORDED = ("loss", "learning_rate", "momentum")


class Cycle(Protocol):
    """A `FindingCycle`, or a cycle whose top is known."""

    total_steps: int
    step: int
    keep: bool
    go_back: bool
    top: float

    @property
    def done(self) -> bool: ...
    @property
    def lr(self) -> float: ...
    @property
    def height(self) -> float: ...
    @property
    def clip_norm(self) -> float: ...
    def tell(self, loss: Any, norm: float | None = None) -> None: ...


class KnownCycle:
    """A 1cycle policy up to a rate that is known: nothing is clipped, and nothing put back."""

    keep = go_back = False
    clip_norm = math.inf

    def __init__(self, max_lr: float, total_steps: int) -> None:
        self.top, self.total_steps, self.step = max_lr, total_steps, 0
        self._policy = OneCycle(max_lr, total_steps)
        self._depth = self._policy.mirrored(0.0, 1.0)

    @property
    def done(self) -> bool:
        return self.step == self.total_steps

    @property
    def lr(self) -> float:
        return self._policy(self.step)

    @property
    def height(self) -> float:
        return 1.0 - self._depth(self.step)

    def tell(self, loss: Any, norm: float | None = None) -> None:
        self.step += 1


class CycleTraining:
    """A training of one cycle, step by step, for a loop of one's own.

    The way up of the cycle is a range test: the rate rises until the loss diverges, the training
    goes back to the last good state, and from there the rate falls in a straight line to zero. Not
    a step is taken beside the training. Gradients are clipped at three times the median of their
    last norms. A loss that explodes later is repaired: back to the last good state, with a third of
    the rate, and on to the same number of steps. What was learned is never lost: a training that
    ends worse than it began gives its last good state.

    Args:
        loss_fn: `loss_fn(params, batch)` gives the loss, as in `range_test`.
        params: The parameters to begin with, any pytree of arrays; they stay as they are.
        make_optimizer: Builds the optimizer for a rate; with `momentum`, for a rate and a momentum.
        total_steps: Updates in all, finding the rate included.
        max_lr: The peak of the rate, where it is known: then it is a `OneCycle`, without the rest.
        momentum: (lowest, highest), in the opposite cycle: the second argument of `make_optimizer`,
            as `optax.sgd` and `optax.adam` take it. Default None: `make_optimizer` takes the rate.
        batch_size: Rows of a batch, for the rate to expect. Default 64.
        fine_tuned: Whether the parameters were trained before, for the same. Default False.
        has_aux: As in `range_test`.
        model_state: As in `range_test`.
        rng: As in `range_test`.
        opt_state: As in `range_test`.
        accumulation_steps: As in `range_test`; gradients are not clipped then.

    Attributes:
        history: Loss and rate (and momentum) of every update so far, those that were taken back
            included, under "loss", "learning_rate" and "momentum".

    Raises:
        ValueError: A wrong argument.

    >>> import numpy as np
    >>> import optax
    >>> x = np.random.default_rng(0).normal(size=(320, 4)).astype(np.float32)
    >>> y = x @ np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    >>> def loss_fn(params, batch):
    ...     x, y = batch
    ...     return ((x @ params - y) ** 2).mean()
    >>> training = CycleTraining(
    ...     loss_fn, np.zeros(4, np.float32), optax.sgd, 300, momentum=(0.85, 0.95), batch_size=32
    ... )
    >>> while not training.done:
    ...     rows = np.arange(32) + 32 * (training.step_number % 10)
    ...     loss = training.step((x[rows], y[rows]))
    >>> training.step_number, loss < 1e-3, training.found["source"]
    (300, True, 'sweep and prior')
    """

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        params: Any,
        make_optimizer: MakeOptimizer,
        total_steps: int,
        max_lr: float | None = None,
        *,
        momentum: tuple[float, float] | None = None,
        batch_size: int | None = None,
        fine_tuned: bool = False,
        has_aux: bool = False,
        model_state: Any = None,
        rng: Any = None,
        opt_state: Any = None,
        accumulation_steps: int = 1,
    ) -> None:
        total_steps = check_count("total_steps", total_steps)
        batch_size = 64 if batch_size is None else check_count("batch_size", batch_size)
        check_flag("fine_tuned", fine_tuned)
        self._momentum = checked_momentum(momentum)
        check_key(rng)
        check_arrays("model_state", model_state)
        objective = Objective(loss_fn, "loss", model_state is not None, rng is not None, has_aux)
        optimizer = RatedOptimizer(
            make_optimizer, params, (1.0,) if momentum is None else (1.0, 0.9)
        )
        self._accumulation_steps = optimizer.check_accumulation(accumulation_steps)
        self.cycle: Cycle
        if max_lr is None:
            rows = batch_size * self._accumulation_steps
            prior = optimizer.prior(params, rows, total_steps, fine_tuned=fine_tuned)
            self.cycle = FindingCycle(total_steps, prior)
        else:
            self.cycle = KnownCycle(check_rate("max_lr", max_lr), total_steps)
        if opt_state is None:
            opt_state = optimizer.init(self._knobs(), params)
        else:
            optimizer.check_state(opt_state)
        self._training = copied(Training(params, opt_state, model_state, rng))
        self._mark: Training | None = None
        self._optimizer, self._step = optimizer, compiled_step(objective, optimizer)
        self._updates = optimizer.updates_in(self._training.opt_state)
        self._losses: list[float] = []  # of the batches of the present update
        recorded = _RECORDED[:2] if momentum is None else _RECORDED
        self.columns = Columns(*recorded)  # the history, as it grows

    @property
    def done(self) -> bool:
        """Whether all updates were taken."""
        return self.cycle.done

    @property
    def step_number(self) -> int:
        """How many updates were taken."""
        return self.cycle.step

    @property
    def params(self) -> Any:
        """A copy of the parameters as they are now."""
        return copied(self._training.params)

    @property
    def opt_state(self) -> Any:
        """A copy of the optimizer's state."""
        return copied(self._training.opt_state)

    @property
    def model_state(self) -> Any:
        """A copy of what a step changes beside the parameters; None if there is none."""
        return copied(self._training.model_state)

    @property
    def history(self) -> dict[str, list[float]]:
        """Loss and rate (and momentum) of every update so far, by name; new lists each time."""
        return self.columns.lists()

    @property
    def found(self) -> dict[str, Any] | None:
        """What the cycle found and repaired, as plain JSON; None where `max_lr` was given."""
        return self.cycle.history() if isinstance(self.cycle, FindingCycle) else None

    @property
    def verdict(self) -> str:
        """The same in a few sentences."""
        if isinstance(self.cycle, FindingCycle):
            return self.cycle.verdict
        return f"max_lr {self.cycle.top:.2g}, as it was given."

    def step(self, batch: Batch) -> float:
        """Trains on a batch and returns its loss; with `accumulation_steps` = k, k are an update.

        Raises:
            CyclerateError: All updates were taken.
        """
        cycle, knobs = self.cycle, self._knobs()
        if cycle.keep and not self._losses:
            self._mark = None  # not two at a time
            self._mark = copied(self._training)
        clips = isinstance(cycle, FindingCycle) and self._accumulation_steps == 1
        with jax.debug_nans(False), jax.debug_infs(False):  # the way up is there to diverge
            self._training, told = self._step(
                self._training, batch, knobs, cycle.clip_norm if clips else None
            )
        loss, norm = jax.device_get((told.loss, told.norm))
        self._losses.append(float(loss))
        if len(self._losses) == self._accumulation_steps:
            mean = sum(self._losses) / len(self._losses)
            self._losses = []
            if not cycle.step:
                state = self._training.opt_state
                self._optimizer.check_update(self._accumulation_steps, self._updates, state)
            self.columns.add(**dict(zip(_RECORDED, (mean, *knobs), strict=False)))
            cycle.tell(mean, None if norm is None else float(norm))
            if cycle.go_back:
                mark = copied(cast(Training, self._mark))
                self._training = mark._replace(rng=self._training.rng)
        return float(loss)

    def state(self) -> dict[str, Any]:
        """Returns what is needed to go on from here; the batches are the loop's own.

        Under "arrays" a pytree of arrays, the parameters and states of now and of the last good
        state; under "plain" plain JSON.

        >>> import numpy as np
        >>> import optax
        >>> def loss_fn(params, batch):
        ...     return ((params - batch) ** 2).mean()
        >>> def new():
        ...     return CycleTraining(loss_fn, np.ones(2, np.float32), optax.sgd, 100)
        >>> whole, begun, resumed = new(), new(), new()
        >>> losses = [whole.step(np.zeros(2)) for _ in range(100)]
        >>> first = [begun.step(np.zeros(2)) for _ in range(15)]
        >>> resumed.load_state(begun.state())
        >>> first + [resumed.step(np.zeros(2)) for _ in range(85)] == losses
        True
        """
        cycle = self.cycle
        return {
            "arrays": {
                "training": copied(self._training)._asdict(),
                "mark": None if self._mark is None else copied(self._mark)._asdict(),
            },
            "plain": {
                "cycle": cycle.state() if isinstance(cycle, FindingCycle) else {"step": cycle.step},
                "losses": list(self._losses),
                "history": self.history,
            },
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where a state was taken from a training with the same arguments.

        Raises:
            ValueError: The state is of another training.
        """
        arrays, plain = state["arrays"], state["plain"]
        cycle = plain["cycle"]
        total, finds = cycle.get("total_steps"), isinstance(self.cycle, FindingCycle)
        if total != (self.cycle.total_steps if finds else None):
            received = "one with max_lr given" if total is None else f"one of {total} steps"
            allowed = f"of {self.cycle.total_steps} steps and the same arguments"
            raise bad_argument("state", allowed, received)
        if finds:
            self.cycle = FindingCycle.from_state(cycle)
        else:
            self.cycle.step = cycle["step"]
        mark = arrays["mark"]
        self._training = copied(Training(**arrays["training"]))
        self._mark = None if mark is None else copied(Training(**mark))
        self._losses = list(plain["losses"])
        self.columns = Columns.of(plain["history"])

    def _knobs(self) -> tuple[float, ...]:
        if self._momentum is None:
            return (self.cycle.lr,)
        return self.cycle.lr, momentum_at(self.cycle.height, self._momentum)


def checked_momentum(momentum: Any) -> tuple[float, float] | None:
    if momentum is None:
        return None
    if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
        raise bad_argument("momentum", "(lowest, highest) or None", momentum)
    low = check_number("momentum", momentum[0], low=0, high=1, high_open=True)
    return low, check_number("momentum", momentum[1], low=low, high=1, high_open=True)
