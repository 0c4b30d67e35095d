"""From the columns of a table to the inputs of a network, in a form that JSON can hold.

A number is standardised, a text becomes one input for each category. What was learnt from the
training rows (medians, means, categories) is the value of these objects, so that new rows are
treated as the training rows were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate.tables._numbers import texts, to_numbers

MOST_CATEGORIES = 30
OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers: (x - mean) / scale, the median for what is missing.

    `indicator` adds an input that is 1 where the number was missing.
    """

    name: str
    style: str
    median: float
    mean: float
    scale: float
    indicator: bool

    @classmethod
    def fit(cls, name: str, style: str, train: NDArray[np.float64]) -> NumberColumn:
        """Learns the column from its training rows."""
        missing = np.isnan(train)
        median = 0.0 if missing.all() else float(np.nanmedian(train))
        filled = np.where(missing, median, train)
        scale = float(filled.std())
        return cls(name, style, median, float(filled.mean()), scale or 1.0, bool(missing.any()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        return (self.name, f"{self.name} {MISSING}") if self.indicator else (self.name,)

    def transform(self, column: pd.Series) -> NDArray[np.float32]:
        """Returns the inputs, one row for each cell."""
        values = to_numbers(column, self.style)
        missing = np.isnan(values)
        standard = (np.where(missing, self.median, values) - self.mean) / self.scale
        parts = [standard, missing] if self.indicator else [standard]
        return np.stack(parts, axis=1).astype(np.float32)


@dataclass(frozen=True)
class TextColumn:
    """A column of text: one input, 0 or 1, for each category.

    A category that was not seen in training is `(other)` if that is a category, else all zeros;
    `(missing)` likewise.
    """

    name: str
    categories: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, train: pd.Series) -> TextColumn:
        """Learns the categories from the training rows, the most frequent first."""
        cells = texts(train)
        frequency = cells[cells != ""].value_counts()
        # Equal counts in alphabetical order: the same data give the same file.
        ordered = sorted(frequency.index, key=lambda text: (-int(frequency[text]), text))
        kept = ordered[:MOST_CATEGORIES]
        extra = [OTHER] if len(ordered) > len(kept) else []
        missing = [MISSING] if (cells == "").any() else []
        return cls(name, (*kept, *extra, *missing))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        return tuple(f"{self.name} = {category}" for category in self.categories)

    def transform(self, column: pd.Series) -> NDArray[np.float32]:
        """Returns the inputs, one row for each cell."""
        cells = texts(column)
        cells = cells.where(cells != "", MISSING)
        cells = cells.where(cells.isin(self.categories) | (cells == MISSING), OTHER)
        return np.stack([cells == category for category in self.categories], 1).astype(np.float32)


Column = NumberColumn | TextColumn
