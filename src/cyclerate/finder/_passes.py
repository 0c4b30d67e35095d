"""Batches without end, and the place in them where a run begins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

from cyclerate._errors import bad_argument

BeginPass = Callable[[int], Iterator[Any]]
"""Begins a pass over the data; an order of its own is drawn by the seed, if there is one."""


def length_of(batches: Any) -> int | None:
    """Returns how many there are, or None where they do not say.

    >>> length_of([1, 2]), length_of(iter([1, 2]))
    (2, None)
    """
    try:
        return len(batches)
    except TypeError:
        return None


class Passes:
    """Batches without end: when the data are used up, they are gone through again.

    Every run of a repeat begins at the same batch: data that are drawn have an order for each
    repeat, others go on where the repeat before stopped.

    Args:
        begin: Begins a pass over the data.
        drawn: Whether each repeat draws an order.
        rows: How many rows there are, where a pass has no end.
        rows_in: Counts the rows of a batch.
        a_batch: What there must be, for the error where a pass has nothing.

    >>> passes = Passes(lambda seed: iter("abc"), drawn=False, rows_in=len, a_batch="a letter")
    >>> passes.begin_repeat()
    >>> first = [next(passes) for _ in range(4)]
    >>> passes.rewind()
    >>> first, next(passes)
    (['a', 'b', 'c', 'a'], 'a')
    >>> passes.begin_repeat()
    >>> passes.rewind()
    >>> next(passes)
    'b'
    """

    def __init__(
        self,
        begin: BeginPass,
        *,
        drawn: bool,
        rows: int | None = None,
        rows_in: Callable[[Any], int],
        a_batch: str,
    ) -> None:
        self._begin, self._drawn, self._rows = begin, drawn, rows
        self._rows_in, self._a_batch = rows_in, a_batch
        self._seed = 0
        self._stream = self._passes()
        self._place = 0  # where the present repeat began, counted from the beginning of a pass
        self._taken = self._most_taken = 0  # in the present run, and in the longest of the repeat
        self._pass_length: int | None = None

    def __next__(self) -> Any:
        self._taken += 1
        return next(self._stream)

    def begin_repeat(self, seed: int = 0) -> None:
        """Draws another order, if there is one to draw; otherwise notes the place in the data."""
        if self._drawn:
            self._seed = seed
            self.rewind()
            return
        self._place += max(self._taken, self._most_taken)
        if self._pass_length is not None:
            self._place %= self._pass_length
        self._taken = self._most_taken = 0

    def rewind(self) -> None:
        """Begins a pass again, at the place where the present repeat began."""
        self.close()
        self._most_taken = max(self._taken, self._most_taken)
        self._taken = 0
        self._stream = self._passes(skipped=self._place)

    def sample(self, rows: int, seed: int = 0) -> list[Any]:
        """Returns the first batches of a pass of its own that have together so many rows.

        Raises:
            ValueError: There is no batch.
        """
        wanted = rows if self._rows is None else min(rows, self._rows)
        taken: list[Any] = []
        count = 0
        for batch in self._begin(seed):
            taken.append(batch)
            count += self._rows_in(batch)
            if count >= wanted:
                break
        if not taken:
            raise self._nothing_in(1)
        return taken

    def close(self) -> None:
        """Ends the pass that is under way."""
        self._stream.close()

    def _passes(self, skipped: int = 0) -> Generator[Any]:
        for number in itertools.count(1):
            length = 0
            for batch in self._begin(self._seed):
                length += 1
                if number > 1 or length > skipped:
                    yield batch
            if not length:
                raise self._nothing_in(number)
            self._pass_length = length

    def _nothing_in(self, number: int) -> ValueError:
        return bad_argument("data", self._a_batch, f"none in pass {number}")
