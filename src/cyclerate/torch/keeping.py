"""Copies of tensors, to be put back into them: on their device, on the host, or on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from cyclerate._errors import require
from cyclerate._randomness import PutBack

PLACES = ("memory", "cpu", "disk")

_SHARD_BYTES = 2**26  # what the host holds at a time on the way to disk and back


def keep(tensors: Sequence[Tensor], place: str, stack: ExitStack) -> PutBack:
    """Copies the values of tensors, and returns what puts them back, any number of times.

    Args:
        tensors: What to copy.
        place: "memory", beside the tensors; "cpu"; or "disk", in a temporary folder.
        stack: Removes the folder when it closes.

    Raises:
        MissingExtra: `place` is "disk" and safetensors is not installed.
    """
    if place == "disk":
        return _keep_on_disk(tensors, Path(stack.enter_context(_folder())))
    if place == "cpu":
        copies = [tensor.detach().to("cpu", copy=True) for tensor in tensors]
    else:
        copies = [tensor.detach().clone() for tensor in tensors]

    def put_back() -> None:
        _fill(tensors, copies)

    return put_back


def _keep_on_disk(tensors: Sequence[Tensor], folder: Path) -> PutBack:
    safetensors = require("safetensors.torch", "torch")
    shards = list(_shards(tensors))
    for number, shard in enumerate(shards):
        # Cloned one by one: the format refuses tensors that share their memory.
        values = {str(i): _plain_copy(tensor) for i, tensor in enumerate(shard)}
        safetensors.save_file(values, folder / f"{number}.safetensors")

    def put_back() -> None:
        for number, shard in enumerate(shards):
            values = safetensors.load_file(folder / f"{number}.safetensors")
            _fill(shard, [values[str(i)] for i in range(len(shard))])

    return put_back


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cyclerate-")


def _plain_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _shards(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    shard: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.nbytes > _SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.nbytes
    if shard:
        yield shard


def _fill(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    # In place: optimizers, captured graphs and tied weights hold on to the tensors themselves.
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
