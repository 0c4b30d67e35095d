"""What decides on the next batches, to be put back: generators, counters, kept orders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from cyclerate._randomness import PutBack, all_of, remember_generators_of
from cyclerate.torch.contents import CONTAINERS, remember_contents


def remember_order(data: Any) -> PutBack:
    """Notes the attributes, generators and orders of a DataLoader, its samplers and its data set.

    A loader with persistent workers keeps them in an attribute, too: those of the test are let go.
    Of other iterables, their own attributes. What a function has in its closure is not seen.
    """
    samplers = [*_parts(data, "sampler", "batch_sampler")]
    samplers += [inner for sampler in samplers for inner in _parts(sampler, "sampler")]
    ordering = [data, *samplers]
    holders = [*ordering, *_parts(data, "dataset")]
    attributes = [vars(holder) for holder in holders if hasattr(holder, "__dict__")]
    orders = [order for holder in ordering for order in _orders_in(holder)]
    return all_of(
        [remember_generators_of(*holders)]
        + [remember_contents(container) for container in (*orders, *attributes)]
    )


def _parts(holder: Any, *names: str) -> Iterator[Any]:
    for name in names:
        if (part := getattr(holder, name, None)) is not None:
            yield part


def _orders_in(holder: Any) -> Iterator[Any]:
    """What a sampler may shuffle in place. Its data are left out: they are large, and stay."""
    for value in getattr(holder, "__dict__", {}).values():
        array = value.numpy() if isinstance(value, Tensor) and _on_host(value) else value
        if not isinstance(array, np.ndarray):
            if isinstance(array, CONTAINERS):
                yield array
        elif array.ndim == 1 and array.dtype.kind in "iu":
            yield array


def _on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not tensor.requires_grad and not tensor.is_sparse
