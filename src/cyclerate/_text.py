"""Words of messages: lists, numbers with their nouns, and names that may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Returns the names that `wanted` may have meant, the nearest first, capitals ignored.

    >>> near_names("Cardo", ["age", "cardio"])
    ['cardio']
    """
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold(), by_folded, n=3, cutoff=0.6)
    return [by_folded[name] for name in close]


def listed(names: Iterable[object], most: int = 20) -> str:
    """Joins names with commas; past `most` it says how many more there are.

    >>> listed("abc", most=2)
    'a, b and 1 more'
    """
    texts = [str(name) for name in names]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most:,} more"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Writes a number with its noun.

    >>> count(1, "row"), count(1200, "class", "classes")
    ('1 row', '1,200 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
