"""All that training changes in a model and its optimizer, to be put back to the last bit.

A state dict would not do: it leaves out buffers that are not persistent, gradients, modes, hooks,
plain attributes, and whether an optimizer had a state at all. What hangs together below the
model and the optimizer is walked instead, object by object; each keeps its identity.
"""

from __future__ import annotations

import copy
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from cyclerate._errors import bad_argument, require
from cyclerate._files import temporary_prefix
from cyclerate._randomness import (
    CONTAINERS,
    PutBack,
    all_of,
    held_by,
    remember_contents,
    remember_generators_of,
)

PLACES = ("memory", "cpu", "disk")

_SHARD_BYTES = 2**24  # what the host holds at a time on the way to disk and back, thrice


def keep(
    values: Sequence[Tensor], place: str, stack: ExitStack, spare: Iterable[Tensor] = ()
) -> Callable[[], Iterable[Tensor]]:
    """Copies values, and returns the function that gives the copies, any number of times.

    The place is "memory", on their device; "cpu"; or "disk", a temporary folder that `stack`
    removes when it closes. Copies that are not needed any more are written over, where they fit:
    new memory takes longer than the copying.
    """
    if place == "disk":
        prefix = temporary_prefix(Path(tempfile.gettempdir()), "cyclerate-")
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
        return _keep_on_disk(values, Path(folder))
    device = torch.device("cpu") if place == "cpu" else None
    old: dict[Any, list[Tensor]] = defaultdict(list)
    for value in spare:
        old[_form(value)].append(value)
    copies: list[Tensor] = []
    for value in values:
        fitting = old[_form(value)]
        new = fitting.pop().copy_(value) if fitting else value.to(device or value.device, copy=True)
        copies.append(new)
    return lambda: copies


def _form(value: Tensor) -> Any:
    """Where values of one tensor go into another as they are; others are equal to none."""
    strided = value.layout is torch.strided and type(value) in (Tensor, nn.Parameter)
    return (value.shape, value.dtype, value.device, value.stride()) if strided else object()


def _keep_on_disk(values: Sequence[Tensor], folder: Path) -> Callable[[], Iterable[Tensor]]:
    safetensors = require("safetensors.torch", "torch")
    lengths: list[int] = []
    for number, shard in enumerate(_shards(values)):
        # Cloned one by one: the format refuses tensors that share their memory.
        copies = {
            str(i): value.cpu().clone(memory_format=torch.contiguous_format)
            for i, value in enumerate(shard)
        }
        safetensors.save_file(copies, folder / f"{number}.safetensors")
        lengths.append(len(shard))

    def read() -> Iterator[Tensor]:
        for number, length in enumerate(lengths):
            copies = safetensors.load_file(folder / f"{number}.safetensors")
            yield from (copies[str(i)] for i in range(length))

    return read


def _local(tensor: Tensor) -> Tensor:
    """The values of a tensor that are here: a shard, where it is spread over ranks."""
    here = tensor.detach() if tensor.requires_grad or hasattr(tensor, "to_local") else tensor
    return here.to_local() if hasattr(here, "to_local") else here  # type: ignore[operator]


def _pieces(tensor: Tensor) -> Sequence[Tensor]:
    """Views of so many rows of what is here of a tensor that they fit a shard, if a row does."""
    here = _local(tensor)
    if here.layout != torch.strided or here.nbytes <= _SHARD_BYTES or not here.ndim:
        return [here]
    return here.split(max(_SHARD_BYTES * len(here) // here.nbytes, 1))


def _shards(values: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    shard: list[Tensor] = []
    size = 0
    for value in values:
        if shard and size + value.nbytes > _SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(value)
        size += value.nbytes
    if shard:
        yield shard


_STATE = (nn.Module, Optimizer, GradScaler)
_FUNCTIONS = (FunctionType, MethodType, partial)


class Snapshot:
    """The state of some objects: modules, an optimizer, a gradient scaler.

    Of each: the values of all tensors, the contents of all containers and attributes, the states of
    generators; of each parameter also `requires_grad` and its gradient, which is set aside, and
    copied only where that does not do. Objects of other kinds are taken to stay as they are.
    What hangs below the roots belongs to them. `place` and `stack` are those of `keep`. A mark, for
    a training that goes on, leaves out gradients and `requires_grad`: they are not its past.
    `callables` follows functions to the modules and optimizers that they hold, and hooks to their
    counters and averages, too.

    Pickled together with its roots, it keeps what their state dicts have.
    """

    def __init__(
        self,
        roots: Iterable[Any],
        place: str,
        stack: ExitStack,
        *,
        mark: bool = False,
        callables: bool = False,
        spare: Iterable[Tensor] = (),
    ) -> None:
        self._roots, self._mark = [*roots], mark
        found = _everything_below(self._roots, callables)
        modules = [thing for thing in found if isinstance(thing, nn.Module)]
        containers = [thing for thing in found if isinstance(thing, CONTAINERS)]
        tensors = [thing for thing in found if isinstance(thing, Tensor)]
        if any(map(is_lazy, tensors)):
            allowed = "initialised: run one batch through it first"
            raise bad_argument("model", allowed, "lazy layers")
        usual = nn.Module.get_extra_state
        others = [*map(remember_contents, containers)]
        others += [_remember_extra_state(m) for m in modules if type(m).get_extra_state != usual]
        self._others = all_of([*others, remember_generators_of(*modules)])
        self._contents = [*filter(_can_change, tensors)]
        self._leaves: list[tuple[Tensor, bool, Tensor | None]] = []
        self._bare: list[Tensor] = []  # whose gradients are copied, and let go of
        for tensor in tensors:
            if tensor.is_leaf and not mark:
                self._leaves.append((tensor, tensor.requires_grad, self._gradient(tensor, place)))
        gradients = [cast(Tensor, tensor.grad) for tensor in self._bare]
        self._forms = [torch.empty_like(gradient, device="meta") for gradient in gradients]
        whole = [*self._contents, *gradients]
        self.copies = keep([p for t in whole for p in _pieces(t)], place, stack, spare)
        """Gives the copies of the tensors, in memory or from where they are, in pieces."""

    def set_gradients_aside(self) -> None:
        """Leaves the parameters without gradients, until everything is put back."""
        for tensor, _, _ in self._leaves:
            tensor.grad = None

    def put_back(self) -> None:
        """Puts everything back."""
        self._others()
        for tensor, requires_grad, gradient in self._leaves:
            tensor.requires_grad_(requires_grad)
            tensor.grad = gradient
        copies = iter(self.copies())
        for tensor, form in zip(self._bare, self._forms, strict=True):
            tensor.grad = torch.empty_like(form, device=tensor.device)
        for tensor in (*self._contents, *(cast(Tensor, tensor.grad) for tensor in self._bare)):
            for piece in _pieces(tensor):
                piece.copy_(next(copies))

    def state_dicts(self) -> list[Any]:
        """Returns those of the roots as they were; the roots are as they are now."""
        now = Snapshot(self._roots, "memory", ExitStack(), mark=True)
        self.put_back()
        try:
            return [copy.deepcopy(root.state_dict()) for root in self._roots]
        finally:
            now.put_back()

    @classmethod
    def of_states(cls, roots: Iterable[Any], states: Iterable[Any], *, mark: bool) -> Snapshot:
        """Returns one of state dicts that the roots had; the roots are as they are now."""
        roots = [*roots]
        now = cls(roots, "memory", ExitStack(), mark=True)
        try:
            for root, state in zip(roots, states, strict=True):
                root.load_state_dict(copy.deepcopy(state))
            return cls(roots, "memory", ExitStack(), mark=mark)
        finally:
            now.put_back()

    def __getstate__(self) -> dict[str, Any]:
        return {"roots": self._roots, "states": self.state_dicts(), "mark": self._mark}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(Snapshot.of_states(**state)))

    def _gradient(self, tensor: Tensor, place: str) -> Tensor | None:
        """Returns a gradient that can be set aside as it is; sees to the copy of another one."""
        gradient = tensor.grad
        if gradient is None:
            return None
        if gradient._is_view():  # noqa: SLF001 - others write to the whole, as a bucket
            self._contents.append(gradient)
        elif place != "memory" and not hasattr(gradient, "to_local"):
            # To leave the device to the test; a shard stays, for it is a part only.
            self._bare.append(tensor)
            return None
        return gradient


def _everything_below(roots: Iterable[Any], callables: bool) -> list[Any]:
    """The objects and whatever they consist of, each once, as far as `_parts` can tell."""
    waiting = list(roots)
    weights = [w for root in waiting if isinstance(root, nn.Module) for w in root.parameters()]
    largest = sum(weight.nbytes for weight in weights)
    found: dict[int, Any] = {}
    hooks: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in found:
            continue
        parts = _parts(thing)
        if parts is None and callables and callable(thing) and not isinstance(thing, type):
            parts = _held_by(thing)
            if id(thing) in hooks:
                hooks.update(id(part) for part in parts if isinstance(part, _FUNCTIONS))
                owners, values = _kept_by(thing, largest)
                found |= {id(attributes): attributes for attributes in owners}
                waiting += values
        if parts is not None:
            found[id(thing)] = thing
            waiting.extend(parts)
            if callables:
                hooks.update(map(id, _hooks_of(thing)))
    return list(found.values())


def _hooks_of(thing: Any) -> Iterator[Any]:
    if isinstance(thing, _STATE):
        for name, value in vars(thing).items():
            if name.endswith("hooks") and isinstance(value, dict):
                yield from value.values()


def _held_by(function: Any) -> Iterable[Any]:
    """Returns the state that a function, bound method, partial or callable object reaches.

    Tensors and containers are taken to be data: nobody wants a copy of a data set for the sake of
    a function that reads it.
    """
    held = held_by(function)
    if isinstance(function, MethodType):
        held += _state_of(function.__self__)
    elif isinstance(function, FunctionType):
        named = [function.__globals__.get(name) for name in function.__code__.co_names]
        held += [t for t in named if getattr(t, "__module__", None) == function.__module__]
        held += [t for t in named if isinstance(t, _STATE)]
    elif not isinstance(function, partial):
        held = _state_of(function)
    return [thing for thing in held if isinstance(thing, (*_STATE, *_FUNCTIONS))]


def _kept_by(hook: Any, largest: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """Returns what a hook keeps in its objects and its closure: counters, averages, logs.

    The attributes of the objects, to be remembered as they are; and the tensors and containers in
    them and in the closure. One that holds more bytes than all weights is taken to be data.
    """
    held = held_by(hook) if isinstance(hook, _FUNCTIONS) else [hook]
    owners = [vars(t) for t in held if hasattr(t, "__dict__") and _may_be_an_average(t)]
    values = [*held, *(value for owner in owners for value in owner.values())]
    kept = (Tensor, *CONTAINERS)
    return owners, [v for v in values if isinstance(v, kept) and _bytes_in(v) <= largest]


def _may_be_an_average(thing: Any) -> bool:
    """Of the user's own classes: what PyTorch hangs on a hook is its own business."""
    known = (*_STATE, *_FUNCTIONS, type, ModuleType)
    return not isinstance(thing, known) and not type(thing).__module__.startswith("torch.")


def _bytes_in(value: Any) -> int:
    if isinstance(value, (Tensor, np.ndarray)):
        return value.nbytes
    inside = value.values() if isinstance(value, dict) else value
    kinds = (Tensor, tuple, *CONTAINERS)
    return sum(_bytes_in(item) for item in inside if isinstance(item, kinds))


def _state_of(owner: Any) -> list[Any]:
    """The attributes of an object that are state; its methods and data are not."""
    return [value for value in getattr(owner, "__dict__", {}).values() if isinstance(value, _STATE)]


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


def _remember_extra_state(module: nn.Module) -> PutBack:
    state = copy.deepcopy(module.get_extra_state())
    return lambda: module.set_extra_state(copy.deepcopy(state))


def _can_change(tensor: Tensor) -> bool:
    """Not so where elements share their memory, as in an expanded tensor: PyTorch refuses it.

    Nor where there is none: `fully_shard` frees what an optimizer was mistakenly given.
    """
    strides = tensor.stride()
    expanded = 0 in strides and any(
        stride == 0 and size > 1 for stride, size in zip(strides, tensor.shape, strict=True)
    )
    if expanded or tensor.is_meta or tensor.is_inference():
        return False
    here = _local(tensor) if hasattr(tensor, "to_local") else tensor
    return not here.numel() or here.untyped_storage().nbytes() > 0
