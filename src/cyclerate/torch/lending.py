"""A model, its optimizer and its data, lent for a while and given back as they were."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any

from cyclerate._randomness import all_of, remember_global_randomness
from cyclerate.torch._state import Snapshot
from cyclerate.torch.data_order import remember_order


@contextmanager
def lent(roots: Iterable[Any], data: Iterable[Any], place: str) -> Generator[Snapshot]:
    """Undoes whatever training in the block does, also after an exception and after Ctrl-C.

    Args:
        roots: Modules, optimizer, scaler: what training changes.
        data: What the batches come from.
        place: Where the copies are kept: "memory", "cpu" or "disk".

    Yields:
        The snapshot, to begin the block's work again with.
    """
    with ExitStack() as stack:
        random_states = [remember_global_randomness(), *map(remember_order, data)]
        snapshot = Snapshot(roots, place, stack)
        stack.callback(all_of([snapshot.put_back, *random_states]))
        yield snapshot
