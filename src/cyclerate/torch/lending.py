"""A model, its optimizer and its data, lent for a while and given back as they were."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any

from cyclerate._randomness import PutBack, remember_global_randomness
from cyclerate.torch.data_order import remember_order
from cyclerate.torch.snapshot import Snapshot


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
        _on_leaving(stack, remember_global_randomness())
        for part in data:
            _on_leaving(stack, remember_order(part))
        snapshot = Snapshot(roots, place, stack)
        _on_leaving(stack, snapshot.put_back)
        yield snapshot


def _on_leaving(stack: ExitStack, put_back: PutBack) -> None:
    stack.callback(_finished, put_back)


def _finished(put_back: PutBack) -> None:
    """Does it once more if Ctrl-C comes in between, and lets that through afterwards."""
    try:
        put_back()
    except KeyboardInterrupt:
        put_back()
        raise
