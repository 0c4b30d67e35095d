"""Columns of numbers and categories as the inputs of a network.

What is learnt from the rows is kept as arrays: scales, medians, edges of bins, categories. A row
becomes few numbers (`Inputs.matrix`); the network itself expands them (`expanded`), so that many
rows need little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument

FROM_DTYPE = "from_dtype"
_MOST_CATEGORIES = 64  # of a column; the others, the rarest, count as one
_ROWS_FOR_MEANS = 20_000
_ROWS_AT_A_TIME = 4096  # what they become on the way stays in the processor's cache
_STEEPEST = 1e30  # one over the width of a bin; a product with it is no infinity
_MOST_INPUTS = 1024  # of all numbers together, about


@dataclass(frozen=True)
class Group:
    """Columns side by side that are expanded alike.

    Attributes:
        kind: "as it is"; "ramps": how much of each bin lies below the number; "one of": 1 for the
            category, 0 for the others.
        columns: How many.
        width: Inputs that each becomes.
    """

    kind: str
    columns: int
    width: int


Constants = tuple[NDArray[np.float32], ...]
"""Of each group that is expanded, in turn: of ramps, the lower edges and one over the widths of the
bins; and the means that are taken off."""


def expanded(x: Any, groups: Sequence[Group], constants: Sequence[Any], xp: Any) -> Any:
    """Expands the columns; `xp` is NumPy or `keras.ops`.

    `clip((x - low) / width, 0, 1)` for each bin of a number, less its mean: a sum of these, with
    weights, is any line with a bend at each edge.

    Source: Gorishniy, Rubachev and Babenko 2022, arXiv 2203.05556, section 3.1.

    >>> low, slope, mean = [[0.0, 1.0]], [[1.0, 0.5]], [[0.0, 0.1]]
    >>> groups = [Group("ramps", 1, 2), Group("one of", 1, 2)]
    >>> expanded(np.array([[2.0, 1.0]]), groups, [low, slope, mean, [[0.0, 0.0]]], np)
    array([[1. , 0.4, 0. , 1. ]])
    """
    parts, first, left = [], 0, iter(constants)
    for group in groups:
        part = x[:, first : first + group.columns]
        first += group.columns
        if group.kind != "as it is":
            one = part[:, :, None]
            if group.kind == "ramps":
                low, slope, mean = next(left), next(left), next(left)
                wide = xp.clip((one - low) * slope, 0.0, 1.0) - mean
            else:
                mean, places = next(left), xp.arange(group.width, dtype="float32")
                wide = xp.subtract(xp.equal(one, places), mean)
            part = xp.reshape(wide, (-1, group.columns * group.width))
        parts.append(part)
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=1)


class Inputs:
    """The columns of a table as inputs, learnt from rows.

    Attributes:
        groups: How the network expands them.
        constants: The bins of the numbers, and means.
    """

    def __init__(
        self,
        x: NDArray[np.float64],
        categories: Sequence[int | None],
        weights: NDArray[np.float64],
        *,
        bins: int,
        standardize: bool,
    ) -> None:
        """Learns from rows: NaN is missing, a category is its number.

        Args:
            x: The rows.
            categories: How many categories each column has; None for one of numbers.
            weights: How much each row counts, for mean and scale.
            bins: Most bins of a number; 0 leaves numbers as they are.
            standardize: Whether numbers come to mean 0 and scale 1, those far out to below 3.
        """
        numbers = [i for i, count in enumerate(categories) if count is None]
        self._numbers, self._standardize = numbers, standardize
        values = x[:, numbers]
        holes = np.isnan(values)
        self._indicated = np.flatnonzero(holes.any(axis=0))
        self._medians = np.array([_median(column) for column in values.T])
        values = np.where(holes, self._medians, values)
        self._mean = np.average(values, axis=0, weights=weights)
        scale = np.sqrt(np.average((values - self._mean) ** 2, axis=0, weights=weights))
        # A column without spread: what is left of its digits is no scale.
        flat = scale <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(self._mean), 1e-300)
        self._scale = np.where(flat, 1.0, scale)
        bins = min(bins, _MOST_INPUTS // max(len(numbers), 1))
        edges = [_edges(z, bins) for z in self._standard(values).T] if bins > 1 else []
        widths = [_rounded_up(len(edge) - 1) for edge in edges]
        self._order = np.argsort(widths, kind="stable") if edges else np.arange(len(numbers))
        self._texts = [i for i, count in enumerate(categories) if count is not None]
        counts = [_rounded_up(categories[i] or 1) for i in self._texts]
        self._texts = [self._texts[i] for i in np.argsort(counts, kind="stable")]
        groups = _groups("ramps", widths) if edges else [Group("as it is", len(numbers), 1)]
        groups += [Group("as it is", len(self._indicated), 1), *_groups("one of", counts)]
        self.groups = tuple(group for group in groups if group.columns)
        self.constants = self._constants(x[:: max(len(x) // _ROWS_FOR_MEANS, 1)], edges, widths)

    def matrix(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """Returns what the network expands: numbers, where some were missing, categories."""
        found = np.empty((len(x), sum(group.columns for group in self.groups)), np.float32)
        for start in range(0, len(x), _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            values = x[rows, self._numbers]
            holes = np.isnan(values)
            standard = self._standard(np.where(holes, self._medians, values))[:, self._order]
            parts = [standard, holes[:, self._indicated], x[rows, self._texts]]
            np.concatenate(parts, axis=1, out=found[rows], casting="same_kind")
        return found

    def _constants(
        self, x: NDArray[np.float64], edges: Sequence[NDArray[np.float32]], widths: Sequence[int]
    ) -> Constants:
        """The bins, and the means of what these rows are expanded to."""
        bins, matrix, first = iter(_ramps(edges, widths)), self.matrix(x), 0
        constants: list[NDArray[np.float32]] = []
        for group in self.groups:
            part = matrix[:, first : first + group.columns]
            first += group.columns
            if group.kind == "as it is":
                continue
            mine = [next(bins), next(bins)] if group.kind == "ramps" else []
            zero = np.zeros((group.columns, group.width), np.float32)
            wide = expanded(part, [group], (*mine, zero), np)
            constants += [*mine, wide.mean(axis=0, dtype=np.float64).astype(np.float32)]
            constants[-1] = constants[-1].reshape(zero.shape)
        return tuple(constants)

    def _standard(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self._standardize:
            return values
        scaled = (values - self._mean) / self._scale
        return scaled / np.sqrt(1 + (scaled / 3) ** 2)  # no outlier is more than 3


def _median(column: NDArray[np.float64]) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else 0.0


def _edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float32]:
    """Edges of bins with as many rows each; every value, where these are few.

    A value that many rows have counts as one bin of them, so that the others keep theirs.
    """
    distinct, rows = np.unique(values.astype(np.float32), return_counts=True)
    if len(distinct) > bins + 1:
        counted = rows.astype(np.float64)
        for _ in range(8):
            counted = np.minimum(rows, counted.sum() / bins)
        middles = np.cumsum(counted) - counted / 2
        cuts = np.linspace(middles[0], middles[-1], bins + 1)
        distinct = np.unique(np.interp(cuts, middles, distinct).astype(np.float32))
    return np.append(distinct, distinct[-1] + 1) if len(distinct) == 1 else distinct


def _rounded_up(width: int) -> int:
    """To a power of two: networks of a few more or less are then of one shape."""
    return 1 << (width - 1).bit_length()


def _groups(kind: str, widths: Sequence[int]) -> list[Group]:
    return [Group(kind, widths.count(width), width) for width in sorted({*widths})]


def _ramps(edges: Sequence[NDArray[np.float32]], widths: Sequence[int]) -> list[Any]:
    """The bins of each width; where there are fewer, the rest of them stay at 0."""
    ramps = []
    for width in sorted({*widths}):
        mine = [edge for edge, wide in zip(edges, widths, strict=True) if wide == width]
        low, slope = np.zeros((2, len(mine), width), np.float32)
        for i, edge in enumerate(mine):
            steepest = np.minimum(1 / np.diff(edge.astype(np.float64)), _STEEPEST)
            low[i, : len(edge) - 1], slope[i, : len(edge) - 1] = edge[:-1], steepest
        ramps += [low, slope]
    return ramps


class Categories:
    """Which columns hold categories, and the number of each, learnt from a table.

    A category that was not there is that of the rare ones if there are such, else none of them.

    Attributes:
        counts: How many each column has; None for one of numbers. Empty, if none has any.
    """

    def __init__(self, x: Any, chosen: Any) -> None:
        self._codes: dict[int, dict[Any, int]] = {}
        places = _chosen(x, chosen)
        self.counts: list[int | None] = [None] * np.shape(x)[1] if places else []
        for i in places:
            numbers, values = _factorized(_column(x, i))
            rows = np.bincount(numbers[numbers >= 0], minlength=len(values))
            frequent = np.argsort(-rows, kind="stable")
            codes = {values[k]: min(n, _MOST_CATEGORIES) for n, k in enumerate(frequent)}
            if (numbers < 0).any():
                few = len(codes) < _MOST_CATEGORIES  # else that number is the one of the rare
                codes[None] = len(codes) if few else _MOST_CATEGORIES + 1
            self._codes[i], self.counts[i] = codes, max([*codes.values(), 0]) + 1

    def __bool__(self) -> bool:
        return bool(self._codes)

    def numbers(self, x: Any) -> Any:
        """Returns the table as floats, each category as its number, -1 for an unknown one.

        Raises:
            ValueError: A column holds dates, or something else that is no number.
        """
        refuse_dates("X", "numbers and categories", x)
        if not self and _ready(x):
            return x
        found = np.empty(np.shape(x), order="F")  # as pandas holds them: none is copied
        for i in range(len(found.T)):
            column = _column(x, i)
            if i not in self._codes:
                found[:, i] = _floats(column)
                continue
            codes = self._codes[i]
            numbers, values = _factorized(column)
            rare = _MOST_CATEGORIES if _MOST_CATEGORIES in codes.values() else -1
            known = [codes.get(value, rare) for value in values] + [codes.get(None, -1)]
            found[:, i] = np.array(known)[numbers]
        return found if not hasattr(x, "iloc") else type(x)(found, columns=x.columns, copy=False)


def _chosen(x: Any, chosen: Any) -> list[int]:
    """The places of the columns that hold categories."""
    names = [*x.columns] if _is_frame(x) else None
    allowed = '"from_dtype", None, or names, places or flags of columns of X'
    if chosen is None or (isinstance(chosen, str) and chosen == FROM_DTYPE):
        frame = chosen is not None and names is not None
        return [i for i in range(len(names or ())) if frame and _holds_texts(x.iloc[:, i])]
    if isinstance(chosen, str) or not isinstance(chosen, (Sequence, np.ndarray)):
        raise bad_argument("categorical_features", allowed, chosen)
    wanted = [*np.asarray(chosen).tolist()]
    columns = len(names) if names is not None else np.shape(x)[1]
    if wanted and all(isinstance(one, bool) for one in wanted) and len(wanted) == columns:
        return np.flatnonzero(wanted).tolist()
    places = [names.index(one) if names and one in names else one for one in wanted]
    fitting = (isinstance(i, int) and not isinstance(i, bool) and 0 <= i < columns for i in places)
    if not all(fitting):
        raise bad_argument("categorical_features", allowed, chosen)
    return sorted({*places})


def _holds_texts(column: Any) -> bool:
    kind = str(column.dtype)
    if kind == "object":
        return any(isinstance(value, str) for value in column)
    # Arrow has texts of two lengths, and a kind of categories.
    return kind == "category" or kind.startswith(("str", "large_string", "dictionary"))


def _is_frame(x: Any) -> bool:
    return hasattr(x, "iloc") and hasattr(x, "columns")  # a Series has no columns


def _column(x: Any, i: int) -> Any:
    return x.iloc[:, i] if hasattr(x, "iloc") else np.asarray(x, dtype=object)[:, i]


def _factorized(column: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """The number of each cell's value, -1 where it is missing, and the values."""
    if hasattr(column, "factorize"):
        numbers, values = column.factorize()
        return numbers, list(values)
    values = dict[Any, int]()
    numbers = [
        -1 if cell is None or cell != cell else values.setdefault(cell, len(values))  # noqa: PLR0124
        for cell in column
    ]
    return np.array(numbers, dtype=np.int64), [*values]


def refuse_dates(name: str, allowed: str, values: Any) -> None:
    """Of other values the unit may differ, and a missing date would be a number."""
    one = [("dtype", getattr(values, "dtype", None))]
    kinds = values.dtypes.items() if _is_frame(values) else one
    for part, kind in kinds:
        if getattr(kind, "kind", "") in ("m", "M"):
            instead = f"{allowed}; of a date, parts or days as numbers"
            raise bad_argument(name, instead, f"{part}: {kind}")


def _ready(x: Any) -> bool:
    """Whether scikit-learn reads the table itself: of objects it takes no pandas.NA."""
    return not _is_frame(x) or all(kind.kind in "biufc" for kind in x.dtypes)


def _floats(column: Any) -> NDArray[np.float64]:
    if not hasattr(column, "iloc"):
        return column.astype(np.float64)
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        received = f"{column.name}: {error}"
        raise bad_argument("X", "numbers and categories", received) from error
