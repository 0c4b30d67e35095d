"""What a notebook's user is shown after a range test: the verdict and the curve."""

from __future__ import annotations

from cyclerate._errors import require
from cyclerate.finder import RangeTestResult


def show(result: RangeTestResult) -> None:
    """Prints the result and draws its curve, in a window or a notebook where there is one.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    pyplot = require("matplotlib.pyplot", "plot")
    print(result)  # noqa: T201 - the purpose of this function
    result.plot()
    if pyplot.get_backend().lower() != "agg":  # which has nowhere to show it
        pyplot.show()
