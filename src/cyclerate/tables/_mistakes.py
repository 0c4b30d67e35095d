"""What is wrong with a user's data."""

from __future__ import annotations

from cyclerate._errors import CyclerateError


class DataMistake(CyclerateError, ValueError):
    """The data cannot be used as asked; the message says why and what to do."""
