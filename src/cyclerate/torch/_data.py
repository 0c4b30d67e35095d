"""Batches without end, whatever the data come as."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from cyclerate._errors import bad_argument, check_count, check_function
from cyclerate.finder._run import Passes, length_of

_BATCH_SIZE = 32
_ALLOWED = (
    "a DataLoader, an iterable of batches, a function that returns one, or a tuple of tensors of "
    "equal length"
)
_A_BATCH = "at least one batch in every pass"

BeginPass = Callable[[], Iterator[Any]]
"""Begins a pass over the data."""


def batches_of(
    data: Any, validation_data: Any, batch_size: int | None
) -> tuple[Passes, BeginPass | None]:
    """Returns the batches to train on, and what begins a pass over the validation data, if any.

    Args:
        data: As `range_test` takes them. Rows of tensors come in random order, in whole batches.
        validation_data: The same, or None. Rows of tensors come in their order, and all of them.
        batch_size: Rows of a batch, where the data are tensors. None: 32.
    """
    if batch_size is not None and not (_are_rows(data) or _are_rows(validation_data)):
        raise bad_argument("batch_size", "None where the data come in batches", batch_size)
    size = check_count("batch_size", _BATCH_SIZE if batch_size is None else batch_size)
    if _are_rows(data):
        tensors, rows = _rows_of("data", data)
        size = min(size, rows)
        drawn = partial(_drawn, tensors, rows, size)
        whole = rows // size * size
        batches = Passes(drawn, drawn=True, rows=whole, rows_in=rows_in, a_batch=_A_BATCH)
    else:
        begin = _pass_over("data", data, size)
        batches = Passes(lambda _seed: begin(), drawn=False, rows_in=rows_in, a_batch=_A_BATCH)
    if validation_data is None:
        return batches, None
    return batches, _pass_over("validation_data", validation_data, size)


def number_of_batches(data: Any, batch_size: int | None) -> int | None:
    """Returns the batches in a pass over the data, or None if the data do not say."""
    if _are_rows(data):
        return -(-len(data[0]) // (batch_size or _BATCH_SIZE))
    return length_of(data)


def rows_of_a_step(data: Any, batch_size: int | None, accumulation_steps: int) -> int | None:
    """Returns the rows that an optimizer step sees; None if the data do not say."""
    size = getattr(data, "batch_size", None)
    if _are_rows(data):
        size = min(batch_size or _BATCH_SIZE, len(data[0]))
    return size * accumulation_steps if isinstance(size, int) else None


def batches_of_an_epoch(data: Any, batch_size: int | None) -> int | None:
    """Returns the batches in a pass to train on, of rows whole ones only; None if nobody knows."""
    if _are_rows(data):
        rows = len(data[0])
        return rows // min(batch_size or _BATCH_SIZE, rows)
    return length_of(data)


def check_device(device: Any) -> torch.device:
    """Returns a device by what names it, if it is here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)  # an AssertionError where PyTorch was built without it
    except (RuntimeError, TypeError, ValueError, OverflowError, AssertionError) as error:
        raise bad_argument(
            "device", 'a device of PyTorch that is here, as "cpu"', device
        ) from error
    return found


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on `device`: those in containers and dataclasses, too."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if hasattr(batch, "to"):  # PackedSequence, BatchEncoding, graphs: they move themselves
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [moved(value, device) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        there = copy.copy(batch)
        for name, value in _fields_of(batch).items():
            object.__setattr__(there, name, moved(value, device))  # it may be frozen
        return there
    return batch


def rows_in(batch: Any) -> int:
    """The length of the first tensor in a batch; 1 if there is none, or it is a single number."""
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (Tensor, np.ndarray)):
            return len(part) if part.ndim else 1
        if isinstance(part, Mapping):
            waiting += reversed([*part.values()])
        elif isinstance(part, (tuple, list)):
            waiting += reversed(part)
        elif dataclasses.is_dataclass(part):
            waiting += reversed(_fields_of(part).values())
    return 1


def _fields_of(batch: Any) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


def _pass_over(name: str, data: Any, batch_size: int) -> BeginPass:
    if isinstance(data, (Tensor, np.ndarray)):
        raise bad_argument(name, _ALLOWED, f"a single {type(data).__name__}")
    if _are_rows(data):
        tensors, rows = _rows_of(name, data)
        return lambda: _taken(tensors, torch.arange(rows), batch_size)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise bad_argument(name, f"{_ALLOWED} (a Dataset goes into a DataLoader)", data)
    if isinstance(data, Iterator):
        raise bad_argument(name, f"{_ALLOWED} (an iterator would be used up)", data)
    if isinstance(data, (str, bytes, dict)) or hasattr(data, "iloc"):  # texts and tables, not rows
        raise bad_argument(name, _ALLOWED, data)
    if isinstance(data, Iterable):
        if length_of(data) == 0:
            raise bad_argument(name, "at least one batch", "none")
        return lambda: iter(data)
    if not callable(data):
        raise bad_argument(name, _ALLOWED, data)
    check_function(name, data, "()", instead=" of no arguments, or batches")
    return lambda: iter(_asked(name, data))


def _are_rows(data: Any) -> bool:
    return isinstance(data, tuple) and bool(data) and all(hasattr(part, "shape") for part in data)


def _rows_of(name: str, data: tuple[Any, ...]) -> tuple[list[Tensor], int]:
    try:
        tensors = [*map(torch.as_tensor, data)]
    except (TypeError, ValueError, RuntimeError) as error:
        kinds = [type(part).__name__ for part in data]
        raise bad_argument(name, f"{_ALLOWED}, or of arrays", kinds) from error
    shapes = [tuple(tensor.shape) for tensor in tensors]
    rows = shapes[0][0] if shapes[0] else 0
    if not rows or any(shape[:1] != (rows,) for shape in shapes):
        raise bad_argument(name, _ALLOWED, shapes)
    return tensors, rows


def _drawn(tensors: list[Tensor], rows: int, size: int, seed: int | None) -> Iterator[Any]:
    """All rows in random order, again and again, in whole batches.

    A test has a generator of its own, since other threads draw from PyTorch's while it runs; a
    training follows PyTorch's, as the user seeded it.
    """
    source = None if seed is None else torch.Generator().manual_seed(seed % 2**64)
    while True:
        order = torch.randperm(rows, generator=source, device="cpu")
        yield from _taken(tensors, order[: rows // size * size], size)


def _taken(tensors: list[Tensor], order: Tensor, size: int) -> Iterator[Any]:
    for chosen in order.split(size):
        yield tuple([tensor[chosen.to(tensor.device)] for tensor in tensors])


def asked_already(name: str, data: Any) -> Any:
    """Asks a function for the batches of its first pass: before a training, not in the midst of it.

    Whatever else the data are, they are returned as they came.

    Raises:
        ValueError: It returns no batches.
    """
    if isinstance(data, Iterable) or not callable(data):
        return data
    check_function(name, data, "()", instead=" of no arguments, or batches")
    first = [_asked(name, data)]
    return lambda: first.pop() if first else data()


def _asked(name: str, data: Callable[[], Any]) -> Iterable[Any]:
    batches = data()
    if not isinstance(batches, Iterable):
        raise bad_argument(name, _ALLOWED, f"a function that returned {batches!r}")
    return batches
