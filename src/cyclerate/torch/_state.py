"""All that training changes in a model and its optimizer, to be put back to the last bit.

A state dict would not do: it leaves out buffers that are not persistent, gradients, modes, hooks,
plain attributes, and whether an optimizer had a state at all. What hangs together below the
model and the optimizer is walked instead, object by object; each keeps its identity.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from cyclerate._errors import bad_argument
from cyclerate._randomness import PutBack, all_of, remember_generators_of
from cyclerate.torch.contents import CONTAINERS, remember_contents
from cyclerate.torch.keeping import Slot, contents_of, gradient_of, keep


class Snapshot:
    """The state of some objects: modules, an optimizer, a gradient scaler.

    Of each: the values of all tensors, the contents of all containers and attributes, the states of
    generators; of each parameter also `requires_grad` and its gradient, which is set aside, and
    copied only where that does not do. Objects of other kinds are taken to stay as they are.

    Args:
        roots: The objects; what hangs below them belongs to them.
        place: Where the copies are kept: "memory", "cpu" or "disk".
        stack: Removes the files of "disk" when it closes.

    Raises:
        ValueError: A module is lazy, and has not seen its first batch.
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
    """What an object consists of; None for one that does not change or is not understood."""
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
