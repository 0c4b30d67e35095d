"""A cycle that finds its own top, in a training loop of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn import utils
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from cyclerate._errors import bad_argument, check_count, check_flag
from cyclerate.cycles._rules import momentum_at, opposite_cycle
from cyclerate.finder._run import one_number
from cyclerate.finder._warmup import FindingCycle
from cyclerate.schedules import Linear
from cyclerate.torch._groups import (
    current_ratios,
    keep_momentum_buffers,
    leave_out,
    left_out_with_all_it_calls,
    momentum_in_use,
    prior_of,
    updated,
    warn_of_another,
    was_written_over,
)
from cyclerate.torch._ranks import most, ranks_of, whole
from cyclerate.torch._state import Snapshot
from cyclerate.torch._step import checked_optimizer

_IN_TWO_PARTS = hasattr(utils, "clip_grads_with_norm_")  # from PyTorch 2.6 on

# Of many gradients, a part tells the norm in three of four steps on the way down.
_LARGE, _MANY = 2**14, 2**18  # elements of one gradient, and of all of these
_PART, _EXACT_EVERY = 8, 4
_NEAR_FRAC = 0.5  # of what is clipped: from there on, all are read


class SelfFindingCycle:
    """One cycle whose way up is the range test: nothing is trained beside the training.

    The rate rises from far below the expected one until the loss diverges; the training goes back
    to the last good mark, and from there the rate falls in a straight line to zero. A loss that
    explodes or becomes NaN later goes back to the latest mark, with a third of the rate. A training
    that would end above the loss that it began with ends as its last mark.

    Call `step(loss)` after every `optimizer.step()`. Gradients are clipped at three times the
    median of their latest norms, in a hook of the optimizer's step (not where they are sparse); of
    a large model in the host's memory, a part of them tells the norm where it is far below that.
    The mark costs one copy of weights and optimizer state, and the host waits for each loss. The
    data go on as they come; a step that a scaler skips is none. No other scheduler is to set the
    rate: a warning says where one does.

    Args:
        model: The model, on its device.
        optimizer: The optimizer of its parameters. Groups keep the ratios of their rates.
        total_steps: All the optimizer steps there are, those of the way up included.
        max_lr: The highest rate, where it is known: then the rate rises to it in a straight line,
            in a tenth of the steps, and all else is the same. Default: found.
        momentum: (lowest, highest), against the rate; left alone if None, or if the optimizer has
            no momentum. Default (0.85, 0.95).
        batch_size: Rows of a step, for the rate to expect. Default: 64.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.
        scaler: The GradScaler, if there is one: it belongs to the mark.
        ranks: As in `range_test`: several go by the mean of their losses.

    Raises:
        ValueError: A wrong argument.

    Source: `docs/finders.md`.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(64, 4)
    >>> y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> cycle = SelfFindingCycle(model, optimizer, total_steps=200, batch_size=16)
    >>> while not cycle.done:
    ...     rows = torch.randperm(64)[:16]
    ...     optimizer.zero_grad()
    ...     loss = torch.nn.functional.mse_loss(model(x[rows]), y[rows])
    ...     loss.backward()
    ...     optimizer.step()
    ...     cycle.step(loss)
    >>> loss.item() < 0.001, cycle.found["source"]
    (True, 'sweep and prior')
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        total_steps: int,
        *,
        max_lr: float | None = None,
        momentum: tuple[float, float] | None = (0.85, 0.95),
        batch_size: int | None = None,
        fine_tuned: bool = False,
        scaler: GradScaler | None = None,
        ranks: Any = "auto",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        optimizer = checked_optimizer(optimizer)
        steps = [vars(kind).get("step") for kind in type(optimizer).__mro__]
        if not any(getattr(step, "hooked", False) for step in steps):  # PyTorch's mark
            allowed = "one whose step calls hooks: its class calls Optimizer.__init__"
            raise bad_argument("optimizer", allowed, optimizer)
        if scaler is not None and not isinstance(scaler, GradScaler):
            raise bad_argument("scaler", "a torch.amp.GradScaler", scaler)
        groups = optimizer.param_groups
        against = opposite_cycle(Linear(0.0, 1.0, 1), momentum)
        if against is not None and not 0 <= against.bounds[0] <= against.bounds[1] < 1:
            raise bad_argument("momentum", "(lowest, highest) in [0, 1), or None", momentum)
        check_count("total_steps", total_steps)
        check_flag("fine_tuned", fine_tuned)
        if batch_size is not None:
            batch_size = check_count("batch_size", batch_size)
        self._ranks = ranks_of([model], ranks)
        rows = most(self._ranks, batch_size)
        prior = prior_of(optimizer, rows, total_steps, fine_tuned=fine_tuned)
        self._cycle = FindingCycle(total_steps, prior, top=max_lr)
        self._model, self._optimizer, self._scaler = model, optimizer, scaler
        self._ratios, self._momentum = current_ratios(groups), momentum
        self.momentum_key = None if momentum is None else momentum_in_use(groups)
        self._stepped, self._norms = False, _Norms()
        self._skipped: Tensor | None = None  # what a fused optimizer is told by a GradScaler
        self._norm: float | Tensor = math.nan
        self._hook_in()
        self._mark: Snapshot | None = None
        self.watched = True
        self._go_on()

    @property
    def done(self) -> bool:
        """Whether all steps were taken."""
        return self._cycle.done

    @property
    def steps(self) -> int:
        """How many were."""
        return self._cycle.step

    @property
    def found(self) -> dict[str, Any]:
        """What happened so far, as plain JSON.

        Keys: `top`, the highest rate, and its `source`: "prior", "sweep", "sweep and prior" or
        "given"; `prior_lr` and `sweep_lr`, what either says; `sweep`, its `lrs`, `losses` and
        `stop_reason`; `returned_to`, the step of the mark that the way down began from; `repairs`,
        each with its `step`, `why`, the `top` from then on and the step it `returned_to`;
        `clipped_steps`; `given_back`, whether the training ended worse than it began, and has its
        last mark now.
        """
        return self._cycle.history()

    @property
    def verdict(self) -> str:
        """The same in a few sentences."""
        return self._cycle.verdict

    @property
    def values(self) -> dict[str, float]:
        """What the next step is taken with: "learning_rate", and "momentum" where it is cycled."""
        values = {"learning_rate": self._cycle.lr}
        if self.momentum_key is not None and self._momentum is not None:
            values["momentum"] = momentum_at(self._cycle.height, self._momentum)
        return values

    def step(self, loss: float | Tensor) -> None:
        """Takes the loss of the step just taken, and writes the rate of the next one.

        Args:
            loss: That of the step's own batches, a single number.

        Raises:
            CyclerateError: All steps were taken before.
        """
        if self.watched:
            self._look_for_another()
        value, norm, stepped = self._read(loss)
        if stepped or not math.isfinite(value):
            self._cycle.tell(value, norm)
            self._go_on()

    def close(self) -> None:
        """Lets go of the mark, and clips no more; where a training is given up before its end."""
        self._mark = None
        self._hook.remove()

    def state_dict(self) -> dict[str, Any]:
        """Where the cycle stands, and its mark, for `torch.save`; model and optimizer are yours."""
        mark = None if self._mark is None else self._mark.state_dicts()
        guess = self._norms.whole_to_part
        return {"cycle": self._cycle.state(), "mark": mark, "whole_to_part": guess}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on where the state was taken; load the model's and the optimizer's own state first.

        Args:
            state_dict: What `state_dict` gave; it is not changed.

        Raises:
            ValueError: It is no state of a `SelfFindingCycle`, or one of another length.
        """
        try:
            cycle, mark = FindingCycle.from_state(state_dict["cycle"]), state_dict["mark"]
        except (KeyError, TypeError) as error:
            raise bad_argument(
                "state_dict", "the state of a SelfFindingCycle", state_dict
            ) from error
        if cycle.total_steps != self._cycle.total_steps:
            allowed = f"saved with the same total_steps, {self._cycle.total_steps}"
            raise bad_argument("state_dict", allowed, cycle.total_steps)
        self._cycle, self._mark = cycle, None
        self._norms.whole_to_part = state_dict.get("whole_to_part")
        if mark is not None:
            self._mark = Snapshot.of_states(self._parts(), mark, mark=True)
        if cycle.done:
            self.close()
        self._write()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_hook"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._hook_in()
        if self.done:
            self.close()

    def _hook_in(self) -> None:
        if self.momentum_key == "momentum":
            keep_momentum_buffers(self._optimizer)
        leave_out(SelfFindingCycle)  # a compiled step would be compiled again and again
        self._hook = self._optimizer.register_step_pre_hook(self._before_step)

    def _parts(self) -> list[Any]:
        parts = [self._model, self._optimizer, self._scaler]
        return [part for part in parts if part is not None]

    def _snapshot(self, spare: Iterable[Tensor] = ()) -> Snapshot:
        return Snapshot(self._parts(), "memory", ExitStack(), mark=True, spare=spare)

    def _go_on(self) -> None:
        """Does what the cycle asks for, and writes what the next step is taken with."""
        cycle = self._cycle
        if cycle.go_back and self._mark is not None:
            self._mark.put_back()
        if cycle.keep:
            spare = () if self._mark is None else self._mark.copies()
            self._mark = None  # two copies are not needed
            self._mark = self._snapshot(spare)
        if cycle.done:
            self.close()
        self._write()

    def _look_for_another(self) -> None:
        """Warns once if something else has set the rate since it was written."""
        lr = self._written
        for group, ratio in zip(self._optimizer.param_groups, self._ratios, strict=True):
            if was_written_over(group["lr"], lr * ratio):
                self.watched = False
                warn_of_another("lr", group["lr"], lr * ratio)
                return

    def _write(self) -> None:
        values, key = self.values, self.momentum_key
        self._written = values["learning_rate"]
        for group, ratio in zip(self._optimizer.param_groups, self._ratios, strict=True):
            group["lr"] = updated(group["lr"], values["learning_rate"] * ratio)
            if key is not None:
                group[key] = updated(group[key], values["momentum"])

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Clips the gradients of the step that is about to be taken.

        With a closure, as Lightning's, they are computed inside of the step.
        """
        self._skipped = getattr(optimizer, "found_inf", None)
        closure = named.get("closure", args[1] if len(args) > 1 else None)
        clip = left_out_with_all_it_calls(SelfFindingCycle._clip)
        if closure is None:
            clip(self)
            return None

        def clipped() -> Any:
            with torch.enable_grad():
                loss = closure()
            clip(self)
            return loss

        return args[:1], {**named, "closure": clipped}

    def _clip(self) -> None:
        self._stepped = True
        cycle = self._cycle
        weights = [p for group in self._optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in weights if p.grad is not None]
        self._unscale(gradients)
        if any(gradient.is_sparse for gradient in gradients):
            return
        highest = cycle.clip_norm
        if not _IN_TWO_PARTS or not all(map(_is_plain, gradients)):
            self._norm = clip_grad_norm_(weights, highest)
            return
        may_guess = not cycle.rising and cycle.step % _EXACT_EVERY != 0
        self._norm, exact = self._norms.of(gradients, highest if may_guess else 0.0)
        if exact is not None and self._norm > highest:  # known at once on a CPU: a pass is saved
            utils.clip_grads_with_norm_(weights, highest, exact)

    def _unscale(self, gradients: list[Tensor]) -> None:
        """Does what a fused optimizer, which a GradScaler leaves it to, would do in its step."""
        scale = getattr(self._optimizer, "grad_scale", None)
        if scale is not None:
            torch._foreach_div_(gradients, scale)  # type: ignore[attr-defined]
            vars(self._optimizer)["grad_scale"] = None

    def _read(self, loss: float | Tensor) -> list[float]:
        """The loss, the norm, and whether there was a step: of all ranks together."""
        skipped = self._skipped is not None and bool(self._skipped)
        stepped, norm = self._stepped and not skipped, self._norm
        self._stepped, self._skipped, self._norm = False, None, math.nan
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise bad_argument("loss", "a single number", tuple(loss.shape))
            if isinstance(norm, Tensor):
                value = loss.detach().reshape(()).double()
                told = torch.stack([value, whole(norm).to(value)]).tolist()  # at once, for it waits
            else:
                told = [loss.item(), norm]
        else:
            length = float(whole(norm)) if isinstance(norm, Tensor) else norm
            told = [one_number(loss, "loss"), length]
        told.append(stepped)
        return told if self._ranks is None else self._ranks.mean(told)


class _Norms:
    """The norm of all gradients, which takes a pass over them: of large ones a part may tell it.

    A guess is what a part of their rows says, times what the whole was to that part when all were
    read. It is made again from all where it comes near to what is clipped, or is not finite.
    """

    def __init__(self) -> None:
        self.whole_to_part: float | None = None

    def of(self, gradients: list[Tensor], most: float) -> tuple[float, Tensor | None]:
        """Returns the norm, and that of all gradients as a tensor where they were read.

        Args:
            gradients: All of them, in the memory of the host.
            most: A guess will do if it is far below; 0 for never.
        """
        large = [g for g in gradients if g.numel() >= _LARGE]
        if sum(g.numel() for g in large) < _MANY:
            self.whole_to_part = None
            exact = utils.get_total_norm(gradients)
            return float(exact), exact
        rows = [g.narrow(0, 0, -(-len(g) // _PART)) for g in large]
        part = float(utils.get_total_norm(rows))
        if most and self.whole_to_part is not None:
            guess = part * self.whole_to_part
            if guess < _NEAR_FRAC * most:  # not so, if it is NaN
                return guess, None
        exact = utils.get_total_norm(gradients)
        norm = float(exact)
        self.whole_to_part = norm / part if 0 < part < math.inf and norm < math.inf else None
        return norm, exact


def _is_plain(gradient: Tensor) -> bool:
    return type(gradient) is Tensor and gradient.device.type == "cpu"
