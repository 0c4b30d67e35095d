"""All that training changes in a model and its optimizer, to be put back to the last bit.

A state dict would not do: it leaves out buffers that are not persistent, gradients, modes, hooks,
plain attributes, and whether an optimizer had a state at all. What hangs together below the
model and the optimizer is walked instead, object by object; each keeps its identity.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from cyclerate._errors import bad_argument, require
from cyclerate._randomness import PutBack, all_of, remember_generators_of
from cyclerate.schedules import Schedule

PLACES = ("memory", "cpu", "disk")

_SHARD_BYTES = 2**26  # what the host holds at a time on the way to disk and back


class Slot(NamedTuple):
    """A place of a value: reads it, and writes another one there."""

    read: Callable[[], Tensor]
    write: Callable[[Tensor], object]


def contents_of(tensor: Tensor) -> Slot:
    """The values of a tensor, which stays the same object."""
    return Slot(lambda: tensor, lambda value: tensor.detach().copy_(value))


def gradient_of(parameter: Tensor) -> Slot:
    """The gradient of a parameter, which becomes a new object."""
    return Slot(
        lambda: cast(Tensor, parameter.grad),
        lambda value: setattr(parameter, "grad", value.to(parameter.device, copy=True)),
    )


def keep(slots: Sequence[Slot], place: str, stack: ExitStack) -> PutBack:
    """Copies values, and returns the function that restores them, any number of times.

    The place is "memory", on their device; "cpu"; or "disk", a temporary folder that `stack`
    removes when it closes.
    """
    if place == "disk":
        return _keep_on_disk(slots, Path(stack.enter_context(_folder())))
    read = [slot.read().detach() for slot in slots]
    copies = [value.to("cpu", copy=True) if place == "cpu" else value.clone() for value in read]
    return lambda: _write(slots, copies)


def _keep_on_disk(slots: Sequence[Slot], folder: Path) -> PutBack:
    safetensors = require("safetensors.torch", "torch")
    shards = list(_shards(slots))
    for number, shard in enumerate(shards):
        # Cloned one by one: the format refuses tensors that share their memory.
        values = {str(i): _plain_copy(slot.read()) for i, slot in enumerate(shard)}
        safetensors.save_file(values, folder / f"{number}.safetensors")

    def put_back() -> None:
        for number, shard in enumerate(shards):
            values = safetensors.load_file(folder / f"{number}.safetensors")
            _write(shard, [values[str(i)] for i in range(len(shard))])

    return put_back


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cyclerate-")


def _plain_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _shards(slots: Sequence[Slot]) -> Iterator[list[Slot]]:
    shard: list[Slot] = []
    size = 0
    for slot in slots:
        nbytes = slot.read().nbytes
        if shard and size + nbytes > _SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(slot)
        size += nbytes
    if shard:
        yield shard


def _write(slots: Sequence[Slot], values: Sequence[Tensor]) -> None:
    for slot, value in zip(slots, values, strict=True):
        slot.write(value)


CONTAINERS = (dict, set, list, deque, np.ndarray)


def remember_contents(container: Any) -> PutBack:
    """Notes what a dict, set, list, deque or NumPy array holds; the items are not copied."""
    if isinstance(container, np.ndarray):
        values = container.copy()
        return lambda: np.copyto(container, values) if container.flags.writeable else None
    held = dict(container) if isinstance(container, dict) else list(container)

    def put_back() -> None:
        container.clear()
        if isinstance(container, (dict, set)):
            container.update(held)
        else:
            container.extend(held)

    return put_back


class Snapshot:
    """The state of some objects: modules, an optimizer, a gradient scaler.

    Of each: the values of all tensors, the contents of all containers and attributes, the states of
    generators; of each parameter also `requires_grad` and its gradient, which is set aside, and
    copied only where that does not do. Objects of other kinds are taken to stay as they are.
    What hangs below the roots belongs to them. `place` and `stack` are those of `keep`.
    """

    def __init__(self, roots: Iterable[Any], place: str, stack: ExitStack) -> None:
        found = _everything_below(roots)
        tensors = [thing for thing in found if isinstance(thing, Tensor)]
        modules = [thing for thing in found if isinstance(thing, nn.Module)]
        if any(is_lazy(tensor) for tensor in tensors):
            raise bad_argument(
                "model", "initialised: run one batch through it first", "lazy layers"
            )
        self._flags = [(t, t.requires_grad) for t in tensors if t.is_leaf]
        self._gradients = [(t, t.grad) for t in tensors if t.is_leaf]
        self._others = all_of(
            [remember_contents(thing) for thing in found if isinstance(thing, CONTAINERS)]
            + [_remember_extra_state(module) for module in modules if _has_extra_state(module)]
            + [remember_generators_of(*modules)]
        )
        slots = [contents_of(tensor) for tensor in tensors if _can_change(tensor)]
        self._values = keep(slots + self._gradients_to_copy(place), place, stack)

    def set_gradients_aside(self) -> None:
        """Leaves the parameters without gradients, until everything is put back."""
        for tensor, _ in self._gradients:
            tensor.grad = None

    def put_back(self) -> None:
        """Puts everything back."""
        self._others()
        for tensor, requires_grad in self._flags:
            tensor.requires_grad_(requires_grad)
        for tensor, gradient in self._gradients:
            tensor.grad = gradient
        self._values()

    def _gradients_to_copy(self, place: str) -> list[Slot]:
        """The gradients that cannot be set aside as they are; the others need no copy."""
        slots: list[Slot] = []
        for i, (tensor, gradient) in enumerate(self._gradients):
            if gradient is not None and _is_part(gradient):  # others write to the whole, a bucket
                slots.append(contents_of(gradient))
            elif gradient is not None and place != "memory":  # to leave the device to the test
                slots.append(gradient_of(tensor))
                self._gradients[i] = (tensor, None)
        return slots


def _everything_below(roots: Iterable[Any]) -> list[Any]:
    """The objects and whatever they consist of, each once, as far as `_parts` can tell."""
    found: dict[int, Any] = {}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) not in found and (parts := _parts(thing)) is not None:
            found[id(thing)] = thing
            waiting.extend(parts)
    return list(found.values())


def _parts(thing: Any) -> Iterable[Any] | None:
    """Returns the parts of an object; None if it does not change or is not understood."""
    if isinstance(thing, (Tensor, np.ndarray)):
        return ()
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, (tuple, *CONTAINERS)):
        return thing
    if isinstance(thing, nn.Module):  # a scripted one keeps its tensors out of its attributes
        return (vars(thing), *thing.parameters(recurse=False), *thing.buffers(recurse=False))
    return (vars(thing),) if isinstance(thing, (Optimizer, GradScaler)) else None


def _has_extra_state(module: nn.Module) -> bool:
    return type(module).get_extra_state is not nn.Module.get_extra_state


def _remember_extra_state(module: nn.Module) -> PutBack:
    state = copy.deepcopy(module.get_extra_state())
    return lambda: module.set_extra_state(copy.deepcopy(state))


def _can_change(tensor: Tensor) -> bool:
    """Not so where elements share their memory, as in an expanded tensor: PyTorch refuses it."""
    expanded = any(
        stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
    )
    return not (expanded or tensor.is_meta or tensor.is_inference())


def _is_part(tensor: Tensor) -> bool:
    return tensor._is_view()  # noqa: SLF001 - there is no public way to ask


T = TypeVar("T")


@functools.cache
def leave_out(*code: type | FunctionType) -> None:
    """Marks functions, and the methods of classes, to be run as they are, never traced.

    Unlike `torch.compiler.disable`, which wraps a function, it costs nothing when they run; what
    they call is to be marked, too. It imports the compiler, as making an optimizer does.
    """
    from torch._dynamo.decorators import skip

    for item in code:
        for function in vars(item).values() if isinstance(item, type) else [item]:
            if isinstance(function, FunctionType):
                skip(function)


@functools.cache
def left_out_with_all_it_calls(function: Callable[..., T]) -> Callable[..., T]:
    """The function, run such that nothing is traced, whatever it calls: at half a microsecond."""
    return cast(Callable[..., T], torch.compiler.disable(function))


_AHEAD_VALUES = 4096  # kept at a time; computing them takes a fraction of a millisecond
_OWN = Schedule.__module__.rpartition(".")[0] + "."


class LookAhead(ABC, Generic[T]):
    """A function of the step that is computed for many steps at once.

    The value at a step is `self.ahead[i]`, where `i = step - self.start` if that is in range, and
    what `self.look_ahead(step)` returns if not. To be read by subclasses without a call between.
    """

    def __init__(self, schedules: Sequence[Schedule | None]) -> None:
        self.start = 0
        self.ahead: list[T] = []
        ahead = all(map(_knows_all_steps, schedules))
        self._ahead_steps = max(_AHEAD_VALUES // len(schedules), 1) if ahead else 1

    def look_ahead(self, step: int) -> int:
        """Computes the values from `step` on, and returns the index of the first of them."""
        values_at = left_out_with_all_it_calls(type(self).values_at)
        self.ahead = values_at(self, np.arange(step, step + self._ahead_steps))
        self.start = step
        return 0

    @abstractmethod
    def values_at(self, steps: NDArray[np.int64]) -> list[T]:
        """Returns the values at an array of steps."""


def values_of(schedule: Schedule, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values at an array of steps; a single one is asked for as such."""
    return schedule(steps) if len(steps) > 1 else np.array([schedule(int(steps[0]))])


def _knows_all_steps(schedule: Schedule | None) -> bool:
    """Says whether it can be asked for steps that may never come.

    A user's `scale_fn`, or own kind of schedule, may know no step after the training's last, and no
    arrays of steps.
    """
    if schedule is None:
        return True
    if not type(schedule).__module__.startswith(_OWN):
        return False
    values: list[Any] = list(vars(schedule).values())
    inner = [part for value in values for part in (value if isinstance(value, tuple) else [value])]
    return getattr(schedule, "scale_fn", None) is None and all(
        _knows_all_steps(part) for part in inner if isinstance(part, Schedule)
    )
