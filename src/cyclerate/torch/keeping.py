"""Copies of tensors, to be put back: kept on their device, on the host, or on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from cyclerate._errors import require
from cyclerate._randomness import PutBack

PLACES = ("memory", "cpu", "disk")

_SHARD_BYTES = 2**26  # what the host holds at a time on the way to disk and back


class Slot(NamedTuple):
    """Where a value is, and how another one gets there."""

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
    """Copies values, and returns what puts them back, any number of times.

    Args:
        slots: What to copy.
        place: "memory", on their device; "cpu"; or "disk", in a temporary folder.
        stack: Removes the folder when it closes.

    Raises:
        MissingExtra: `place` is "disk" and safetensors is not installed.
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
